//! A simulated server inside this process, on a thread of its own: for tests and for the client's self-check.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::config::SimConfig;
use super::server::{ServeError, bind};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct RunningSim {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// Starts a server on a free port and returns once it listens.
///
/// # Errors
/// As [`bind`], and [`ServeError::System`] when there can be no thread or runtime.
pub fn spawn(config: SimConfig) -> Result<RunningSim, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let bound = {
        let _inside = runtime.enter();
        bind(config, 0)?
    };
    let address = bound.address();
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        runtime.block_on(bound.serve(async {
            // Dropping the sender stops the server as well.
            let _ = stopped.await;
        }))
    };
    let thread = std::thread::Builder::new()
        .name("sweep-sim".to_owned())
        .spawn(serve);
    Ok(RunningSim {
        address,
        stop: Some(stop),
        thread: Some(thread.map_err(ServeError::System)?),
    })
}

impl RunningSim {
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it and says how it ended: also when it had died by itself.
    ///
    /// # Errors
    /// What ended it before.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ServeError> {
        self.stop.take();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for RunningSim {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Whoever wants to know how it ended calls `stop`.
            let _ = self.end();
        }
    }
}
