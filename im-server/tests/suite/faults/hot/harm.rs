//! What is done to a tier, a database and nodes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::{SILENCE, services};
use super::PEOPLE;
use crate::cluster::Place;
use crate::process::Server;

/// How long the database is away: longer than the tier takes messages for without it (15 s).
const COLD_AWAY: Duration = Duration::from_secs(30);
/// What Redis may lose that writes to the disk once a second.
const UNWRITTEN: Duration = Duration::from_secs(1);
/// The database and the tier, as `scripts/services` knows them.
const DATABASE: &str = "mysql";
const TIER: &str = "redis";

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The tier: SIGKILL, and a new start.
    Kill,
    /// The tier: SIGSTOP for [`SILENCE`].
    Pause,
    /// Everything that the tier holds is gone.
    Flush,
    /// The tier's machine loses its power: what it wrote in the last second is gone.
    Rewind,
    /// The same, and the database was silent, so that nothing of it had got there.
    RewindUnflushed,
    /// SIGKILL to the node that flushes, and a new start.
    Flusher,
    /// The database: SIGSTOP for [`COLD_AWAY`].
    ColdAway,
}

/// The append-only file that Redis writes now.
fn append_only_file() -> PathBuf {
    let dir = std::env::var("IMKIT_SERVICES_DIR").unwrap();
    let offset = std::env::var("IMKIT_SERVICES_PORT_OFFSET").unwrap();
    let dir = PathBuf::from(dir).join(format!("offset-{offset}/{TIER}/appendonlydir"));
    let files = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let written = files.filter(|it| it.to_str().is_some_and(|it| it.ends_with(".incr.aof")));
    written.max().unwrap()
}

/// When Redis writes to the disk what it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fsync {
    /// Before it answers.
    Always,
    /// Once a second, as it does when nobody says otherwise.
    EverySecond,
}

impl Fsync {
    async fn set(self) {
        let policy = match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        };
        services(&["ctl", TIER, "CONFIG", "SET", "appendfsync", policy]).await;
    }
}

/// Three nodes with a tier.
pub(super) struct Cluster {
    pub(super) place: Place,
    fsync: Fsync,
    pub(super) nodes: Vec<Server>,
    started: usize,
}

impl Cluster {
    pub(super) async fn start(place: Place, fsync: Fsync) -> Self {
        fsync.set().await;
        let mut cluster = Self {
            place,
            fsync,
            nodes: Vec::new(),
            started: 0,
        };
        for _ in PEOPLE {
            let node = cluster.one("127.0.0.1:0");
            cluster.nodes.push(node);
        }
        cluster
    }

    // The name of one that was killed is free only when its lease is over: each has its own.
    fn one(&mut self, listen: &str) -> Server {
        self.started += 1;
        self.place.node(&format!("n{}", self.started), listen)
    }

    /// The sum of a metric over each node.
    pub(super) fn metric(&self, name: &str) -> Vec<u64> {
        let of = |node: &Server| {
            let text = node.get("/metrics").body;
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(key, _)| *key == name);
            found.map_or(0, |(_, number)| number.parse::<f64>().unwrap() as u64)
        };
        self.nodes.iter().map(of).collect()
    }

    /// The node that flushes most.
    async fn flusher(&self) -> usize {
        let before = self.metric("im_hot_flushed_total");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = self.metric("im_hot_flushed_total");
        let grown = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before);
        let most = grown.enumerate().max_by_key(|(_, grown)| *grown);
        most.unwrap().0
    }

    /// Does harm; when it ended.
    pub(super) async fn strike(&mut self, fault: Fault) -> Instant {
        match fault {
            Fault::Kill => {
                services(&["kill", TIER]).await;
                services(&["up", TIER]).await;
                self.fsync.set().await;
            }
            Fault::Pause => {
                services(&["pause", TIER]).await;
                tokio::time::sleep(SILENCE).await;
                services(&["resume", TIER]).await;
            }
            Fault::Flush => services(&["ctl", TIER, "FLUSHALL"]).await,
            Fault::Rewind => rewind().await,
            Fault::RewindUnflushed => {
                services(&["pause", DATABASE]).await;
                rewind().await;
                services(&["resume", DATABASE]).await;
            }
            Fault::Flusher => {
                let at = self.flusher().await;
                let listen = self.nodes[at].address.to_string();
                self.nodes[at].signal(libc::SIGKILL);
                self.nodes[at].wait();
                self.nodes[at] = self.one(&listen);
            }
            Fault::ColdAway => {
                services(&["pause", DATABASE]).await;
                tokio::time::sleep(COLD_AWAY).await;
                services(&["resume", DATABASE]).await;
            }
        }
        Instant::now()
    }
}

/// What the tier wrote in the last second is gone, as after a loss of power.
async fn rewind() {
    let file = append_only_file();
    let length = std::fs::metadata(&file).unwrap().len();
    tokio::time::sleep(UNWRITTEN).await;
    services(&["kill", TIER]).await;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    assert!(file.metadata().unwrap().len() > length, "nothing is lost");
    file.set_len(length).unwrap();
    services(&["up", TIER]).await;
}
