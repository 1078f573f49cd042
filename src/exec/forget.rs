//! What a server goes through before the next point: at rest, ready, and with nothing left of what it served before.

use hyper::Method;

use super::measure::LAST_WORDS;
use super::ready::ReadyError;
use super::server::{ResetError, Server};
use super::started::End;
use super::trouble::Trouble;
use crate::config::recipe::{HttpCall, Reset};

/// Waits until the server is ready. One that is adopted may still be at work for a client that is gone.
pub(super) async fn ready(server: &Server, is_adopted: bool) -> Result<(), Trouble> {
    if is_adopted && !server.idle().await {
        return Err(Trouble::own("it is still at work on requests of before"));
    }
    server.ready().await.map_err(|error| match error {
        ReadyError::Died {
            end: End::Machinery(reason),
            ..
        } => Trouble::Machinery(reason),
        error => Trouble::own(error),
    })
}

fn died_between(server: &Server, end: End) -> Trouble {
    match end {
        End::Machinery(reason) => Trouble::Machinery(reason),
        end => Trouble::Own(format!(
            "it died between two points ({end}); its last words:\n{}",
            server.last_words(LAST_WORDS)
        )),
    }
}

/// Makes the server forget what earlier points left in it.
pub(super) async fn reset(server: &Server, reset: Option<&Reset>, simulated: bool) -> Result<(), Trouble> {
    if let Some(end) = server.end() {
        return Err(died_between(server, end));
    }
    let call = match reset {
        // Whatever the engine's way is, the simulator in its place has a cache of its own to empty.
        _ if simulated => HttpCall("POST /reset_prefix_cache".to_owned()),
        Some(Reset { http: Some(call), .. }) => call.clone(),
        Some(_) => return Ok(()),
        None => return Err(Trouble::own("its recipe has no reset")),
    };
    let (method, path) = call.parts();
    let method = if method == "POST" {
        Method::POST
    } else {
        Method::GET
    };
    let Err(error) = server.reset(method, path).await else {
        return Ok(());
    };
    if let ResetError::NoAnswer { .. } = error
        && let Some(end) = server.death().await
    {
        return Err(died_between(server, end));
    }
    Err(Trouble::Own(format!("it could not be reset: {error}")))
}
