//! A way to a server that breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Passes bytes between those who connect to it and a server. Of the answers that are longer than `limit` bytes the
/// first `cuts` end there.
pub(crate) struct CuttingProxy {
    pub(crate) host: String,
    cuts_left: Arc<AtomicUsize>,
}

impl CuttingProxy {
    pub(crate) fn start(to: SocketAddr, limit: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let cuts_left = Arc::new(AtomicUsize::new(cuts));
        let left = cuts_left.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let client = stream.unwrap();
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let (to_server, from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(from_client, to_server, None));
                let left = left.clone();
                thread::spawn(move || pass(server, client, Some((limit, &left))));
            }
        });
        Self { host, cuts_left }
    }

    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts_left.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: Option<(usize, &AtomicUsize)>) {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        passed += read;
        let may_cut = |(limit, left): (usize, &AtomicUsize)| {
            let take = |left: usize| left.checked_sub(1);
            passed > limit
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
        };
        if cut.is_some_and(may_cut) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
