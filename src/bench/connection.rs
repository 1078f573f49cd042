//! Kept-alive HTTP/1.1 connections, opened ahead of need, that stamp every socket read.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::clock::Clock;

type Body = Full<Bytes>;

/// One connection to the server, with no other task behind it: whoever waits on it also drives it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    pub(super) driver: Driver,
    read_at: Arc<AtomicU64>,
}

/// hyper's half that moves the bytes.
///
/// Driving it inside the task that consumes the answer saves a task switch an event over spawning it.
pub(super) struct Driver(Option<Pin<Box<http1::Connection<StampedSocket, Body>>>>);

impl Connection {
    async fn open(addrs: &[SocketAddr], clock: Clock) -> io::Result<Self> {
        let stream = TcpStream::connect(addrs).await?;
        stream.set_nodelay(true)?;
        let read_at = Arc::new(AtomicU64::new(0));
        let socket = StampedSocket {
            inner: TokioIo::new(stream),
            clock,
            read_at: Arc::clone(&read_at),
        };
        let (sender, driver) = http1::handshake(socket).await.map_err(io::Error::other)?;
        Ok(Self {
            sender,
            driver: Driver(Some(Box::pin(driver))),
            read_at,
        })
    }

    /// When the last socket read returned, in the run's clock.
    pub(super) fn read_at_us(&self) -> u64 {
        self.read_at.load(Ordering::Relaxed)
    }

    /// Whether another request may be sent; false when the server has closed it meanwhile.
    async fn is_ready(&mut self) -> bool {
        self.driver.during(self.sender.ready()).await.is_ok()
    }
}

impl Driver {
    /// Waits for `work`, moving this connection's bytes meanwhile.
    ///
    /// A broken connection is not reported here: hyper hands its error to the request or the body under way.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Some(driver) = &mut self.0
                && driver.as_mut().poll(cx).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// A socket that notes when each read returned, before anything looks at what was read.
pub(super) struct StampedSocket {
    inner: TokioIo<TcpStream>,
    clock: Clock,
    read_at: Arc<AtomicU64>,
}

impl Read for StampedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: ReadBufCursor) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.read_at.store(self.clock.now_us(), Ordering::Relaxed);
        }
        read
    }
}

impl Write for StampedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        bufs: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// The connections that no request holds.
pub(super) struct Pool {
    addrs: Vec<SocketAddr>,
    clock: Clock,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(addrs: Vec<SocketAddr>, clock: Clock) -> Self {
        Self {
            addrs,
            clock,
            idle: Mutex::default(),
        }
    }

    /// Opens `count` connections, one after the other: a burst of them overflows a server's accept queue, and a lost
    /// SYN comes back a second later.
    pub(super) async fn fill(&self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            let connection = Connection::open(&self.addrs, self.clock).await?;
            self.put(connection);
        }
        Ok(())
    }

    /// An idle connection that still stands, if there is one.
    pub(super) async fn idle(&self) -> Option<Connection> {
        while let Some(mut connection) = self.pop() {
            if connection.is_ready().await {
                return Some(connection);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn open(&self) -> io::Result<Connection> {
        let mut connection = Connection::open(&self.addrs, self.clock).await?;
        if connection.is_ready().await {
            return Ok(connection);
        }
        Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the server closed the connection at once",
        ))
    }

    pub(super) fn put(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
