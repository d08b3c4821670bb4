//! A server as a process of its own, killed when it is dropped.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SECRET: &str = "test-secret-of-more-than-thirty-two-bytes";
/// Ports below those that the kernel chooses from.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// What it says when it listens.
const READY: &str = "im-server listens on http://";

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts on the store in `folder`, at an address where one may have been killed just now.
    pub(crate) fn start(folder: &Path, listen: SocketAddr) -> Self {
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_im-server"))
            .args(["--listen", &listen.to_string(), "--store", &store])
            .args(["--jwt-secret", SECRET, "--sends-per-s", "1000000"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with(READY), "{line}");
        Self { child }
    }
}

impl Drop for Server {
    /// SIGKILL; the process is gone when this returns.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that is free, and stays so while the server is away: the kernel gives no such port to
/// anybody who doesn't ask for it.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A token for a user.
pub(crate) fn token(user: &str) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_im-server"))
        .args(["token", user, "--jwt-secret", SECRET])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
