//! nginx as a store of objects, by WebDAV's `PUT`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::project::wait_until;

/// The server, ended when it is dropped.
pub(crate) struct Nginx {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Nginx {
    /// `None`: there is no nginx here with that module.
    pub(crate) fn start() -> Option<Self> {
        let told = Command::new("nginx")
            .arg("-V")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        if !String::from_utf8_lossy(&told.stderr).contains("http_dav_module") {
            return None;
        }
        let folder = TempDir::with_prefix("sweep-nginx-").unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let root = folder.path().display();
        let user = match rustix::process::geteuid().is_root() {
            true => "user root;",
            false => "",
        };
        let configuration = format!(
            "\
daemon off; {user} worker_processes 1; pid {root}/pid; error_log {root}/error.log;
events {{}}
http {{
    access_log {root}/access.log;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root}/objects;
        location / {{ dav_methods PUT; create_full_put_path on; client_max_body_size 1g; }}
    }}
}}
"
        );
        fs::create_dir(folder.path().join("objects")).unwrap();
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(file)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self {
            folder,
            process,
            port,
        };
        wait_until("nginx to listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
        });
        Some(nginx)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/team/cache", self.port)
    }

    /// Where its objects of the kind `records` or `blobs` lie.
    pub(crate) fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let mut waiting = vec![self.folder.path().join("objects/team/cache/v1").join(kind)];
        let mut found = Vec::new();
        while let Some(next) = waiting.pop() {
            for entry in fs::read_dir(&next).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => waiting.push(path),
                    false => found.push(path),
                }
            }
        }
        found
    }

    /// How many requests it has logged.
    pub(crate) fn requests(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("access.log"));
        log.map_or(0, |log| log.lines().count())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, not KILL: its worker ends with it.
        let pid = i32::try_from(self.process.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
