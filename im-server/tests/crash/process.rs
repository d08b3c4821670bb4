//! A server as a process of its own, killed when it is dropped.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SECRET: &str = "test-secret-of-more-than-thirty-two-bytes";
/// What it says when it listens.
const READY: &str = "im-server listens on http://";

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts on the store in `folder`, on a port that the system chooses.
    pub(crate) fn start(folder: &Path) -> Self {
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_im-server"))
            .args(["--listen", "127.0.0.1:0", "--store", &store])
            .args(["--jwt-secret", SECRET, "--sends-per-s", "1000000"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix(READY)
            .and_then(|rest| rest.split(',').next());
        Self {
            address: address.and_then(|text| text.parse().ok()).unwrap(),
            child,
        }
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

/// A token for a user.
pub(crate) fn token(user: &str) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_im-server"))
        .args(["token", user, "--jwt-secret", SECRET])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
