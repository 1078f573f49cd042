//! TCP ports of this host: finding a free one, refusing an occupied one, and who listens where.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::procfs;

/// How often a port is looked at while its release is awaited.
const POLL: Duration = Duration::from_millis(20);

/// Ports handed out in this process and not given back. Between choosing a port and the server's binding it lie
/// seconds, in which the kernel would hand the same one to another session.
static RESERVED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port for one server; given back when dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct FreePort(u16);

impl FreePort {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.0
    }
}

impl Drop for FreePort {
    fn drop(&mut self) {
        RESERVED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

/// A port that nothing listens on and that no other session of this process has.
pub fn free_port() -> io::Result<FreePort> {
    loop {
        let port = match bind_all(0) {
            Ok(port) => port,
            // A kernel without IPv6: what listens over that is in another network namespace.
            Err(_) => bind_ipv4(0)?,
        };
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.insert(port) {
            return Ok(FreePort(port));
        }
    }
}

/// Binds the port, or with 0 one that the kernel chooses, on all addresses of both families, as servers listen, and lets
/// go of it. Without reuse, so that whatever has it, on whatever address, is in the way: no table of sockets need be
/// read, which takes the kernel milliseconds.
fn bind_all(port: u16) -> io::Result<u16> {
    let probe = socket(AddressFamily::INET6)?;
    rustix::net::sockopt::set_ipv6_v6only(&probe, false)?;
    rustix::net::bind(&probe, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(SocketAddrV6::try_from(rustix::net::getsockname(&probe)?)?.port())
}

fn bind_ipv4(port: u16) -> io::Result<u16> {
    let probe = socket(AddressFamily::INET)?;
    rustix::net::bind(&probe, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    Ok(SocketAddrV4::try_from(rustix::net::getsockname(&probe)?)?.port())
}

/// The port of a server that runs already; nothing where another session of this process has it.
pub fn taken_port(port: u16) -> Option<FreePort> {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    reserved.insert(port).then(|| FreePort(port))
}

/// A socket that is bound but never listens: a fork in another thread holds it a moment longer than this one does,
/// and a listening one would look like a foreign server then.
fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Something listens there.
    #[error("port {port} is occupied by {}; end it, or let sweep choose the port", holder.as_deref().unwrap_or("a process of another user or container"))]
    Occupied {
        port: u16,
        /// `pid 123 (python3)`, when it may be seen.
        holder: Option<String>,
    },
    /// The operating system does not let this user listen there.
    #[error("bind port {port}: {source}")]
    Refused { port: u16, source: io::Error },
}

/// Makes sure that a server can listen on the port, on whatever address it chooses.
pub fn ensure_free(port: u16) -> Result<(), PortError> {
    let occupied = || PortError::Occupied {
        port,
        holder: holder(port),
    };
    if !listeners(port).is_empty() {
        return Err(occupied());
    }
    // The tables may be hidden or incomplete; binding asks the kernel itself. Reuse, as servers do, so that
    // connections that an earlier server closed do not count.
    let bind = || {
        let probe = socket(AddressFamily::INET)?;
        rustix::net::sockopt::set_socket_reuseaddr(&probe, true)?;
        Ok(rustix::net::bind(
            &probe,
            &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port),
        )?)
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => occupied(),
        _ => PortError::Refused { port, source },
    })
}

/// Waits until nothing listens on the port any more, `limit` at most.
pub async fn wait_released(port: u16, limit: Duration) -> Result<(), PortError> {
    let deadline = Instant::now() + limit;
    loop {
        match ensure_free(port) {
            Err(PortError::Occupied { .. }) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            outcome => return outcome,
        }
    }
}

/// Waits until nobody is connected to the port any more, `limit` at most; whether it has come to that.
///
/// A connection that its client has dropped counts until the server has noticed.
pub async fn wait_unused(port: u16, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while is_used(port) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

fn is_used(port: u16) -> bool {
    tables()
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .any(|line| is_connection(line, port))
}

/// Whether a line of `/proc/net/tcp` or `tcp6` is the server's end of a connection to the port, established (01) or
/// dropped by the client alone (08).
fn is_connection(line: &str, port: u16) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next().and_then(|address| address.split_once(':'));
    let state = fields.nth(1);
    local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
        && matches!(state, Some("01" | "08"))
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address it listens on.
    pub address: IpAddr,
    /// Its socket's inode.
    pub inode: u64,
}

impl Listener {
    /// Whether a connection to 127.0.0.1 can reach it.
    pub fn answers_loopback(&self) -> bool {
        match self.address.to_canonical() {
            IpAddr::V4(address) => address.is_unspecified() || address == Ipv4Addr::LOCALHOST,
            IpAddr::V6(address) => address.is_unspecified(),
        }
    }
}

/// All sockets of this network namespace that listen on the port, over IPv4 and IPv6.
pub fn listeners(port: u16) -> Vec<Listener> {
    tables()
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| parse(line, port))
        .collect()
}

/// The sockets of this network namespace, over IPv4 and IPv6.
fn tables() -> [String; 2] {
    ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default())
}

/// Reads one line of `/proc/net/tcp` or `tcp6`, if it is a listener (state 0A) on the port.
fn parse(line: &str, port: u16) -> Option<Listener> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, hex_port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != "0A" || u16::from_str_radix(hex_port, 16).ok()? != port {
        return None;
    }
    Some(Listener {
        address: parse_address(address)?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The kernel prints an address as 32-bit words in the host's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let words: Vec<[u8; 4]> = words.collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        v6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(v6.concat()).ok()?).into()),
    }
}

/// Which of `pids` have one of these sockets open.
pub fn owners(sockets: &[Listener], pids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let names: Vec<String> = sockets
        .iter()
        .map(|socket| format!("socket:[{}]", socket.inode))
        .collect();
    let owns = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| names.iter().any(|name| target.as_os_str() == name.as_str()))
    };
    if names.is_empty() {
        Vec::new()
    } else {
        pids.into_iter().filter(owns).collect()
    }
}

/// The processes that listen on the port, as far as this user may see.
pub fn listener_owner(port: u16) -> Vec<u32> {
    let sockets = listeners(port);
    owners(&sockets, procfs::all().iter().map(|process| process.identity.pid))
}

/// `pid 123 (python3)`, the port's first listener.
fn holder(port: u16) -> Option<String> {
    listener_owner(port)
        .into_iter()
        .find_map(procfs::read)
        .map(|process| process.label())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn tables_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0";
        let found = parse(line, 8080).unwrap();
        assert_eq!((found.address, found.inode), (Ipv4Addr::LOCALHOST.into(), 4242));
        assert!(found.answers_loopback());
        assert_eq!(parse(line, 8081), None);
        assert_eq!(parse(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(
            parse_address("00000000000000000000000001000000").unwrap(),
            IpAddr::from(Ipv6Addr::LOCALHOST)
        );
        assert_eq!(
            parse_address("0000000000000000FFFF00000100007F")
                .unwrap()
                .to_canonical(),
            IpAddr::from(Ipv4Addr::LOCALHOST)
        );
        assert_eq!(parse_address("zz"), None);
    }

    #[test]
    fn reserved_ports_differ() {
        let ports: Vec<FreePort> = (0..50).map(|_| free_port().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(FreePort::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }

    #[test]
    fn no_port_is_chosen_that_somebody_listens_on_whatever_the_address() {
        if bind_all(0).is_err() {
            return; // There is no IPv6 here.
        }
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let taken = bind_all(listener.local_addr().unwrap().port()).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{address}");
        }
    }

    #[test]
    fn an_occupied_port_is_refused_with_its_holder_whatever_address_it_is_on() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert!(address.starts_with('['), "IPv4 is there");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let Err(PortError::Occupied {
                holder: Some(holder), ..
            }) = ensure_free(port)
            else {
                panic!("{address} is not seen")
            };
            assert!(
                holder.contains(&format!("pid {}", std::process::id())),
                "{holder}"
            );
            assert!(listener_owner(port).contains(&std::process::id()));
        }
    }

    #[test]
    fn a_port_that_is_taken_is_taken_once() {
        let port = free_port().unwrap();
        assert_eq!(taken_port(port.number()), None);
        let number = port.number();
        drop(port);
        let taken = taken_port(number);
        assert_eq!(taken.as_ref().map(FreePort::number), Some(number));
    }

    #[tokio::test]
    async fn a_connection_counts_until_both_ends_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(wait_unused(port, Duration::ZERO).await);
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(!wait_unused(port, Duration::ZERO).await);
        drop(client);
        assert!(
            !wait_unused(port, Duration::ZERO).await,
            "the server has not noticed"
        );
        drop(server);
        assert!(wait_unused(port, Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn a_release_is_seen_and_a_holder_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = wait_released(port, Duration::ZERO).await;
        assert!(matches!(held, Err(PortError::Occupied { .. })));
        drop(listener);
        wait_released(port, Duration::from_secs(10)).await.unwrap();
    }
}
