//! A server as a process of its own, gone with the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::http;

/// How long a process may take to start, or to end.
const DEADLINE: Duration = Duration::from_secs(60);
/// A good secret.
pub(crate) const SECRET: &str = "test-secret-of-more-than-thirty-two-bytes";

/// The binary with these arguments and no variables but those given.
pub(crate) fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_im-server"));
    let kept = ["PATH", "TMPDIR", "HOME"].map(|name| (name, std::env::var_os(name)));
    command.args(arguments).env_clear().stdin(Stdio::null());
    for (name, value) in kept {
        command.envs(value.map(|value| (name, value)));
    }
    command.envs(variables.iter().copied());
    command
}

/// What a command that ends by itself said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs to the end.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    run_in(Path::new("."), arguments, variables)
}

/// Runs to the end in a folder.
pub(crate) fn run_in(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let output = command(arguments, variables)
        .current_dir(folder)
        .output()
        .unwrap();
    Said {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it printed before it listened, for a demo.
    pub(crate) greeting: String,
    err: Option<std::thread::JoinHandle<String>>,
}

impl Server {
    /// Starts on a store in `folder`, on a port that the system chooses.
    pub(crate) fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let fixed = [
            "--listen",
            "127.0.0.1:0",
            "--store",
            &store,
            "--jwt-secret",
            SECRET,
        ];
        Self::spawn(
            command(&[&fixed[..], arguments].concat(), variables),
            "im-server listens on ",
        )
    }

    /// Starts on what the variables say.
    pub(crate) fn start_with(variables: &[(&str, &str)]) -> Self {
        let command = command(&["--listen", "127.0.0.1:0"], variables);
        Self::spawn(command, "im-server listens on ")
    }

    /// Starts a node of a cluster, on what the variables say.
    pub(crate) fn start_node(
        listen: &str,
        variables: &[(&str, &str)],
        prefix: &str,
        node: &str,
    ) -> Self {
        let arguments = ["--listen", listen, "--node", node, "--bus-prefix", prefix];
        // As an operator should: what is secret does not stand on the command line.
        let variables = [variables, &[("IMKIT_JWT_SECRET", SECRET)]].concat();
        Self::spawn(command(&arguments, &variables), "im-server listens on ")
    }

    /// The same on a port that was chosen.
    pub(crate) fn start_at(listen: &str, folder: &Path) -> Self {
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let arguments = [
            "--listen",
            listen,
            "--store",
            &store,
            "--jwt-secret",
            SECRET,
        ];
        Self::spawn(command(&arguments, &[]), "im-server listens on ")
    }

    /// Starts on a disk of its own of so many MiB, in memory, one of which a file `ballast` takes;
    /// gives where that stands, too. `None` where the system lets nobody but root mount one.
    pub(crate) fn on_small_disk(folder: &Path, mib: u32) -> Option<(Self, PathBuf)> {
        // The disk is the process's own: it is gone with it, however it ends.
        let mut unshare = Command::new("unshare");
        let may = unshare.args(["-rm", "true"]).status();
        if !may.is_ok_and(|status| status.success()) {
            return None;
        }
        let script = format!(
            "mount -t tmpfs -o size={mib}m none \"$1\" && cd \"$1\" && \
             head -c 1048576 /dev/zero > ballast && shift && exec \"$@\""
        );
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, "sh"]).arg(folder);
        command.arg(env!("CARGO_BIN_EXE_im-server"));
        command.args(["--listen", "127.0.0.1:0", "--store", &store]);
        command.args(["--jwt-secret", SECRET, "--sends-per-s", "100000"]);
        let server = Self::spawn(command, "im-server listens on ");
        // Its disk as seen from outside.
        let root = PathBuf::from(format!("/proc/{}/root", server.child.id()));
        let inside = folder.strip_prefix("/").unwrap();
        let ballast = root.join(inside).join("ballast");
        Some((server, ballast))
    }

    /// Starts with at most so many open files.
    pub(crate) fn with_files(folder: &Path, files: u32) -> Self {
        let script = format!("ulimit -n {files} && exec \"$@\"");
        let store = format!("sqlite://{}", folder.join("test.db").display());
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_im-server")]);
        command.args(["--listen", "127.0.0.1:0", "--store", &store]);
        command.args(["--jwt-secret", SECRET]);
        Self::spawn(command, "im-server listens on ")
    }

    /// Starts a demo.
    pub(crate) fn demo() -> Self {
        let mut server = Self::spawn(
            command(&["--demo", "--listen", "127.0.0.1:0"], &[]),
            "Ctrl-C ends it.",
        );
        let link = server.links().into_iter().next().unwrap();
        let address = link
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap();
        server.address = address.parse().unwrap();
        server
    }

    fn spawn(mut command: Command, ready: &'static str) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut err = child.stderr.take().unwrap();
        let err = std::thread::spawn(move || {
            let mut text = String::new();
            // A log that is no UTF-8 would fail the test that reads it.
            let _ = err.read_to_string(&mut text);
            text
        });
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = out.lines().map_while(Result::ok);
            let mut text = String::new();
            for line in lines.by_ref() {
                text.push_str(&line);
                text.push('\n');
                if line.starts_with(ready) {
                    break;
                }
            }
            let _ = tell.send(text);
            // What else it says is read, so that it is never held up by it.
            lines.for_each(drop);
        });
        let greeting = told.recv_timeout(DEADLINE).unwrap();
        let rest = greeting.split(ready).nth(1).unwrap_or_default();
        let address = rest.trim_start_matches("http://").split(',').next();
        let address = address.and_then(|address| address.parse().ok());
        Self {
            child,
            address: address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            greeting,
            err: Some(err),
        }
    }

    /// The links of a demo.
    pub(crate) fn links(&self) -> Vec<String> {
        let words = self.greeting.split_whitespace();
        words
            .filter(|word| word.contains("?token="))
            .map(str::to_owned)
            .collect()
    }

    /// The memory that the process holds, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> http::Answer {
        http::get(self.address, path)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        let pid = self.child.id().to_string();
        let name = format!("-{signal}");
        let sent = Command::new("kill").args([&name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it, and gives everything that it logged.
    pub(crate) fn logs(mut self) -> String {
        self.signal(libc::SIGTERM);
        self.wait();
        self.err.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token for a user, minted by the binary with the tests' secret.
pub(crate) fn token(user: &str) -> String {
    let said = run(&["token", user, "--jwt-secret", SECRET], &[]);
    assert!(said.ok, "{}", said.err);
    said.out.trim().to_owned()
}
