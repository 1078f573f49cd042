//! A run is ended early through a [`Cancel`].

use std::sync::Arc;

use tokio::sync::watch;

/// A switch that can be thrown once, from any thread; clones share it.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once [`Self::cancel`] was called.
    pub async fn cancelled(&self) {
        // The sender lives as long as this method's receiver, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|thrown| *thrown).await;
    }
}
