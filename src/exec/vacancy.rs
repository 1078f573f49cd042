//! A session's place, which it may give back before its results are kept.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use crate::schedule::Placement;

/// The place of one session.
#[derive(Debug)]
pub(super) struct Vacancy {
    placement: Placement,
    is_left: AtomicBool,
    told: UnboundedSender<Placement>,
}

impl Vacancy {
    /// Whoever has the other end of `told` hears when it is left.
    pub(super) fn new(placement: Placement, told: UnboundedSender<Placement>) -> Self {
        Self {
            placement,
            is_left: AtomicBool::new(false),
            told,
        }
    }

    /// Nothing runs there any more.
    pub(super) fn leave(&self) {
        if !self.is_left.swap(true, Ordering::Relaxed) {
            let _ = self.told.send(self.placement.clone());
        }
    }

    /// The place, unless it was left.
    pub(super) fn held(&self) -> Option<&Placement> {
        (!self.is_left.load(Ordering::Relaxed)).then_some(&self.placement)
    }
}
