//! A member: a program on `im-client` and its state file, in a process of its own that is killed
//! and started again. What its stream handed to it, and what became of its sends, it writes into a
//! journal that outlives it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use im_client::{Client, Event, Sending, Sent};
use im_core::machine::{Backoff, OutboxConfig, OutboxEvent};
use im_core::model::{CmId, ConversationId, DeviceId, Draft, Target};
use tokio::time::interval;

use crate::journal::{self, Line};
use crate::process::token;

/// Un-answered messages of one member.
const WINDOW: usize = 8;
/// A member writes once in so long.
const PACE: Duration = Duration::from_millis(5);
/// Waits before a client connects again: the server is away for a moment only.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
/// What a process must know to be a member.
const SETUP: &str = "IMKIT_CRASH_MEMBER";
/// In the members' folder: nothing new is to be written.
const STOP: &str = "stop";

/// A member's process, seen from the test.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    setup: String,
    journal: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// Starts a member whose files are in `folder`. `in_order`: its sends are never on their way
    /// two at a time to one conversation.
    pub(crate) fn start(
        name: &'static str,
        folder: &Path,
        url: &str,
        convs: &[ConversationId],
        in_order: bool,
    ) -> Self {
        let token = token(name);
        let convs: Vec<&str> = convs.iter().map(ConversationId::as_str).collect();
        let folder_text = folder.display();
        let convs = convs.join(",");
        let mut member = Self {
            name,
            setup: format!("{name} {url} {token} {in_order} {convs} {folder_text}"),
            journal: folder.join(format!("{name}.journal")),
            child: None,
        };
        member.spawn();
        member
    }

    /// SIGKILL, at whatever it is just doing; then it is started again on what it left.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.spawn();
    }

    /// What its lives have written so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        journal::read(&self.journal)
    }

    fn spawn(&mut self) {
        // This very test binary, which runs the one test below.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "member::is_a_process_of_its_own", "--ignored"])
            .env(SETUP, &self.setup)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by failing: what it wrote tells.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells the members of `folder` that nothing new is to be written.
pub(crate) fn stop(folder: &Path) {
    File::create(folder.join(STOP)).unwrap();
}

#[test]
#[ignore = "a process that the crash test starts"]
fn is_a_process_of_its_own() {
    let Ok(setup) = std::env::var(SETUP) else {
        return;
    };
    let parts: Vec<&str> = setup.splitn(6, ' ').collect();
    let &[name, url, token, in_order, convs, folder] = parts.as_slice() else {
        panic!("{setup}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let program = Program::start(name, url, token, in_order == "true", Path::new(folder)).await;
        let convs = convs.split(',').map(|conv| conv.parse().unwrap());
        program.run(&convs.collect::<Vec<_>>()).await;
    });
}

/// The member itself.
struct Program {
    name: String,
    client: Client,
    events: im_client::Events,
    journal: File,
    stop: PathBuf,
    /// The last message that was meant to be sent.
    last: u64,
    /// Of those of earlier lives, the ones that the client may not have got.
    unsure: BTreeSet<u64>,
}

impl Program {
    async fn start(name: &str, url: &str, token: &str, in_order: bool, folder: &Path) -> Self {
        let path = folder.join(format!("{name}.journal"));
        journal::cut_torn_end(&path);
        let before = journal::read(&path);
        let (mut last, mut unsure) = (0, BTreeSet::new());
        for line in &before {
            match line {
                Line::Means(number) => {
                    last = *number;
                    unsure.insert(last);
                }
                Line::Gave(number) => drop(unsure.remove(number)),
                _ => {}
            }
        }
        let per_target = if in_order { 1 } else { usize::MAX };
        let (client, events) = Client::builder(url)
            .token(token)
            .device(DeviceId::new("d").unwrap())
            .state_file(folder.join(format!("{name}.state")))
            .reconnect(RECONNECT)
            .outbox(OutboxConfig {
                per_target,
                ..OutboxConfig::default()
            })
            .start()
            .await
            .unwrap();
        let mut options = OpenOptions::new();
        Self {
            name: name.to_owned(),
            client,
            events,
            last,
            unsure,
            journal: options.append(true).create(true).open(path).unwrap(),
            stop: folder.join(STOP),
        }
    }

    /// Writes and reads until it is killed.
    async fn run(mut self, convs: &[ConversationId]) {
        self.note(&Line::Starts);
        let mut sending = FuturesUnordered::new();
        // What the client has got all the same is awaited, or recognised by its id. The others that
        // have no answer yet are the state file's to bring back.
        for number in std::mem::take(&mut self.unsure) {
            sending.push(self.give(convs, number).await);
        }
        let (mut pace, mut idle) = (interval(PACE), false);
        loop {
            let stopped = self.stop.exists();
            if stopped && sending.is_empty() && !std::mem::replace(&mut idle, true) {
                self.note(&Line::Idle);
            }
            tokio::select! {
                event = self.events.next() => self.on_event(event.unwrap()),
                Some(outcome) = sending.next() => {
                    let sent: Result<Sent, _> = outcome;
                    self.on_sent(&sent.unwrap());
                }
                _ = pace.tick(), if stopped || sending.len() < WINDOW => {
                    if !stopped {
                        self.last += 1;
                        self.note(&Line::Means(self.last));
                        sending.push(self.give(convs, self.last).await);
                    }
                }
            }
        }
    }

    /// A message: its text is its id.
    async fn give(&mut self, convs: &[ConversationId], number: u64) -> Sending {
        let id = format!("{}-{number}", self.name);
        let conv = convs[number as usize % convs.len()].clone();
        let to = Target::Conversation(conv);
        let draft = Draft::text(CmId::new(id.as_str()).unwrap(), to, id);
        let sending = self.client.queue(draft).await.unwrap();
        self.note(&Line::Gave(number));
        sending
    }

    fn on_sent(&mut self, sent: &Sent) {
        self.note(&Line::Sent {
            cm_id: sent.cm_id.as_str().to_owned(),
            conv: sent.conv.clone(),
            seq: sent.seq.0,
            dup: sent.dup,
        });
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => self.note(&Line::Got {
                conv: entry.conv.clone(),
                seq: entry.seq.0,
                from: entry.from.as_str().to_owned(),
                cm_id: entry.cm_id.as_ref().map(|cm_id| cm_id.as_str().to_owned()),
            }),
            // Of a send from before the kill.
            Event::Send(OutboxEvent::Sent {
                cm_id,
                conv,
                seq,
                dup,
                ..
            }) => self.note(&Line::Sent {
                cm_id: cm_id.as_str().to_owned(),
                conv,
                seq: seq.0,
                dup,
            }),
            Event::Connected(_) => self.note(&Line::Connected),
            Event::Conversation(_) | Event::Disconnected | Event::Synced => {}
            Event::Receipt { .. } => {}
            odd => self.note(&Line::Odd(format!("{odd:?}"))),
        }
    }

    /// One write, so that a kill leaves a line whole or torn at the end.
    fn note(&mut self, line: &Line) {
        self.journal.write_all(line.to_text().as_bytes()).unwrap();
    }
}
