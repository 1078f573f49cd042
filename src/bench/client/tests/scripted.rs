//! A server that answers each request with a script of raw bytes and mishaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::Endpoint;

#[derive(Clone)]
pub(super) struct Script(pub(super) Vec<Step>);

#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Ends the connection in order.
    Close,
    /// Ends it with a TCP reset.
    Reset,
    /// Keeps it open and says nothing more.
    Hang,
}

pub(super) const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

pub(super) fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

pub(super) fn text(text: &str) -> String {
    event(&format!(r#"{{"choices":[{{"index":0,"text":"{text}"}}]}}"#))
}

/// One HTTP chunk; the empty one ends the body.
pub(super) fn chunked(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// A whole event stream, a chunk for each part; the last step ends it.
pub(super) fn stream(parts: &[&str]) -> Script {
    let mut steps = vec![Step::Send(HEAD.into())];
    steps.extend(parts.iter().map(|part| Step::Send(chunked(part.as_bytes()))));
    steps.push(Step::Send(chunked(b"")));
    Script(steps)
}

pub(super) struct ScriptedServer {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU32,
    requests: watch::Sender<u32>,
    in_flight: AtomicU32,
    most_in_flight: AtomicU32,
}

impl ScriptedServer {
    /// `script`: the answer to the n-th request.
    pub(super) async fn start(script: impl Fn(u32) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, script) = (Arc::new(Seen::default()), Arc::new(script));
        let for_all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, script) = (Arc::clone(&for_all), Arc::clone(&script));
                seen.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { serve(BufReader::new(socket), &seen, &*script).await });
            }
        });
        Self { port, seen }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    pub(super) fn connections(&self) -> u32 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> u32 {
        *self.seen.requests.borrow()
    }

    pub(super) async fn wait_for_requests(&self, count: u32) {
        self.seen
            .requests
            .subscribe()
            .wait_for(|seen| *seen >= count)
            .await
            .unwrap();
    }

    pub(super) fn most_in_flight(&self) -> u32 {
        self.seen.most_in_flight.load(Ordering::Relaxed)
    }

    /// Forgets how many were in flight.
    pub(super) fn forget(&self) {
        self.seen.most_in_flight.store(0, Ordering::Relaxed);
    }
}

/// Serves one connection until it ends; `None` is that end.
async fn serve(
    mut socket: BufReader<TcpStream>,
    seen: &Seen,
    script: &(dyn Fn(u32) -> Script + Send + Sync),
) -> Option<()> {
    socket.get_ref().set_nodelay(true).ok()?;
    loop {
        read_request(&mut socket).await?;
        let mut number = 0;
        seen.requests.send_modify(|count| {
            number = *count;
            *count += 1;
        });
        let in_flight = seen.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        let steps = script(number).0;
        // The client may send its next request once it has the last bytes, so this one ends before they leave.
        let last = steps.iter().rposition(|step| matches!(step, Step::Send(_)));
        for (position, step) in steps.into_iter().enumerate() {
            if Some(position) == last {
                seen.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            match step {
                Step::Send(bytes) => {
                    socket.get_mut().write_all(&bytes).await.ok()?;
                    tokio::task::yield_now().await;
                }
                Step::Close => return None,
                Step::Reset => {
                    rustix::net::sockopt::set_socket_linger(socket.get_ref(), Some(Duration::ZERO)).ok()?;
                    return None;
                }
                Step::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read_request(socket: &mut BufReader<TcpStream>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .map(|_| ())
}
