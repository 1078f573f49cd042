//! One small HTTP/1.1 request to a server on this host: readiness and resets. The load client has its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// As much of an answer's body as is read; more is an error.
const BODY_LIMIT: usize = 256 * 1024;

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no connection to 127.0.0.1:{port}: {source}")]
    Connect { port: u16, source: std::io::Error },
    #[error("`{0}` is no path of a URL")]
    Path(String),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Sends a request without a body to `127.0.0.1:port` and reads the whole answer, `limit` at most.
pub async fn request(method: Method, port: u16, path: &str, limit: Duration) -> Result<Answer, HttpError> {
    timeout(limit, exchange(method, port, path))
        .await
        .unwrap_or(Err(HttpError::TimedOut(limit)))
}

async fn exchange(method: Method, port: u16, path: &str) -> Result<Answer, HttpError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(CONTENT_LENGTH, 0)
        .body(Empty::<Bytes>::new())
        .map_err(|_| HttpError::Path(path.to_owned()))?;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let stream = stream.map_err(|source| HttpError::Connect { port, source })?;
    let broken = |error: hyper::Error| HttpError::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
        let body = body
            .map_err(|error| HttpError::Broken(error.to_string()))?
            .to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    // The connection is driven here, so that nothing of it outlives this call.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    }
}
