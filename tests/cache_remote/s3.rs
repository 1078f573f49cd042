//! An S3 server: `moto_server`, a Python package that answers as S3 does and checks what signed requests look like.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The server with a bucket, ended when it is dropped.
pub(crate) struct S3 {
    process: Child,
    port: u16,
}

impl S3 {
    /// `None`: there is no such server here.
    pub(crate) fn start() -> Option<Self> {
        let spawned = Command::new("moto_server")
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = spawned.ok()?;
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        // Running on http://127.0.0.1:40123
        let port = loop {
            let line = lines.next()?.unwrap();
            if let Some((_, port)) = line.split_once("Running on http://127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
        };
        // Whatever else it says must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        let s3 = Self { process, port };
        s3.make_bucket();
        Some(s3)
    }

    fn make_bucket(&self) {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let request =
            "PUT /results HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// What `sweep` needs to be told to find it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIDSWEEPTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }
}

/// A value that must be found nowhere.
pub(crate) const SECRET: &str = "a-secret-access-key-that-nobody-may-see";

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
