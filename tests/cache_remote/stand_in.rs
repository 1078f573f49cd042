//! A web server of the test's own that keeps objects in memory, counts what is asked of it, and misbehaves as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As a web server ought to.
    Honest,
    /// Takes the request and never answers.
    Silent,
    /// 503, always.
    Failing,
    /// Answers each question for an object with other bytes.
    Junk,
    /// Has other bytes of the same number for each blob.
    Swapped,
    /// Gives each object with its last byte missing.
    Short,
    /// Takes nothing.
    Full,
}

#[derive(Default)]
struct State {
    manner: Option<Manner>,
    objects: BTreeMap<String, Bytes>,
    gets: usize,
    puts: usize,
}

/// The server, stopped when it is dropped.
pub(crate) struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StandIn {
    pub(crate) fn new(manner: Manner) -> Self {
        Self::listening(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), manner)
    }

    fn listening(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        hold(&state).manner = Some(manner);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = state.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/cache", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        hold(&self.state).manner = Some(manner);
    }

    /// How many objects of the kind `records` or `blobs` it has.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let part = format!("/v1/{kind}/");
        let state = hold(&self.state);
        state.objects.keys().filter(|path| path.contains(&part)).count()
    }

    /// Questions and objects since it was asked the last time.
    pub(crate) fn requests(&self) -> (usize, usize) {
        let mut state = hold(&self.state);
        (std::mem::take(&mut state.gets), std::mem::take(&mut state.puts))
    }

    /// Everything that it was given, as one.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let state = hold(&self.state);
        let objects = state.objects.iter();
        objects
            .flat_map(|(path, bytes)| [path.as_bytes(), &bytes[..]].concat())
            .collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn hold(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, state.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away in the middle of a request is part of the test.
            let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let sent = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let manner = {
        let mut state = hold(&state);
        match head.method {
            Method::PUT => state.puts += 1,
            _ => state.gets += 1,
        }
        state.manner.unwrap()
    };
    if manner == Manner::Silent {
        // Longer than any test waits; the client gives up first, or the server is stopped.
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    let answered = |status: StatusCode, body: Bytes| {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok(response)
    };
    match (manner, &head.method) {
        (Manner::Failing, _) => answered(StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"not now")),
        (Manner::Full, &Method::PUT) => {
            answered(StatusCode::INSUFFICIENT_STORAGE, Bytes::from_static(b"no room"))
        }
        (_, &Method::PUT) => {
            hold(&state).objects.insert(path, sent);
            answered(StatusCode::CREATED, Bytes::new())
        }
        (Manner::Junk, _) => answered(StatusCode::OK, Bytes::from_static(b"<html>log in first</html>")),
        (_, _) => {
            let found = hold(&state).objects.get(&path).cloned();
            match found {
                None => answered(StatusCode::NOT_FOUND, Bytes::new()),
                Some(bytes) if manner == Manner::Swapped && path.contains("/blobs/") => {
                    let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
                    answered(StatusCode::OK, other.into())
                }
                Some(bytes) if manner == Manner::Short => {
                    answered(StatusCode::OK, bytes.slice(..bytes.len() - 1))
                }
                Some(bytes) => answered(StatusCode::OK, bytes),
            }
        }
    }
}
