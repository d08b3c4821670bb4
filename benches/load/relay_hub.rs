//! Who is connected to the relay, and to whom a message goes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::ws::Utf8Bytes;

use crate::json;

/// Frames that may wait for one connection. A peer that falls further behind is cut off: a relay
/// without a log has nothing to let it catch up from.
const QUEUE: usize = 32 << 10;

/// Who is here and which conversations there are.
#[derive(Default)]
pub(crate) struct Hub {
    users: Mutex<HashMap<String, Arc<User>>>,
    convs: Mutex<HashMap<String, Arc<Conv>>>,
}

struct User {
    name: String,
    peers: Mutex<Vec<Arc<Peer>>>,
}

struct Conv {
    name: String,
    inner: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    seq: u64,
    members: Vec<Arc<User>>,
}

/// One connection's queue.
pub(crate) struct Peer {
    user: Arc<User>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: Vec<Utf8Bytes>,
    waker: Option<Waker>,
    cut_off: bool,
}

impl Peer {
    /// Swaps what waits into the empty `frames`, or leaves the waker when nothing does; false
    /// when this peer was cut off.
    pub(crate) fn take(&self, frames: &mut Vec<Utf8Bytes>, waker: &Waker) -> bool {
        let mut queue = lock(&self.queue);
        if queue.frames.is_empty() {
            if !queue
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
            {
                queue.waker = Some(waker.clone());
            }
        } else {
            std::mem::swap(&mut queue.frames, frames);
        }
        !queue.cut_off
    }

    fn push(&self, frame: Utf8Bytes) {
        let mut queue = lock(&self.queue);
        if queue.frames.len() >= QUEUE {
            queue.cut_off = true;
            return;
        }
        queue.frames.push(frame);
        if queue.frames.len() == 1
            && let Some(waker) = &queue.waker
        {
            waker.wake_by_ref();
        }
    }
}

impl Hub {
    pub(crate) fn join(&self, name: &str) -> Arc<Peer> {
        let user = self.user(name);
        let peer = Arc::new(Peer {
            user: Arc::clone(&user),
            queue: Mutex::default(),
        });
        lock(&user.peers).push(Arc::clone(&peer));
        let at = now_ms();
        let welcome = format!(
            concat!(
                r#"{{"t":"welcome","user":"{name}","device":"{name}","conn":"1","node":"relay","#,
                r#""now":{at},"heartbeat_ms":30000,"#,
                r#""limits":{{"window":256,"sends_per_s":1000000}}}}"#
            ),
            name = name,
            at = at,
        );
        peer.push(welcome.into());
        peer
    }

    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        lock(&peer.user.peers).retain(|other| !Arc::ptr_eq(other, peer));
    }

    /// Handles one frame of a client; what it doesn't know it ignores.
    pub(crate) fn handle(&self, peer: &Peer, frame: &Utf8Bytes) {
        let mut fields = Fields::default();
        if fields.read(frame.as_bytes()).is_none() {
            return;
        }
        match fields.t {
            br#""send""# => drop(self.send(peer, &fields)),
            br#""req""# => drop(self.request(peer, &fields)),
            _ => {}
        }
    }

    fn send(&self, peer: &Peer, send: &Fields<'_>) -> Option<()> {
        let conv = self.target(peer, send.to)?;
        let (at, from) = (now_ms(), &peer.user.name);
        let cm_id = str::from_utf8(send.cm_id).ok()?;
        let body = str::from_utf8(send.body).ok()?;
        let mut sent = String::with_capacity(128);
        let mut entry = String::with_capacity(send.body.len() + 160);
        // The lock covers the pushes too, or entries could overtake each other.
        let mut log = lock(&conv.inner);
        log.seq += 1;
        let (seq, name) = (log.seq, &conv.name);
        // Writing to a string can't fail.
        let _ = write!(
            sent,
            r#"{{"t":"sent","cm_id":{cm_id},"conv":"{name}","seq":{seq},"id":"{seq}","at":{at}}}"#
        );
        let _ = write!(
            entry,
            concat!(
                r#"{{"t":"entry","conv":"{name}","seq":{seq},"id":"{seq}","from":"{from}","#,
                r#""at":{at},"cm_id":{cm_id},"body":{body}}}"#
            ),
            name = name,
            seq = seq,
            from = from,
            at = at,
            cm_id = cm_id,
            body = body,
        );
        peer.push(sent.into());
        let entry = Utf8Bytes::from(entry);
        for member in &log.members {
            for peer in lock(&member.peers).iter() {
                peer.push(entry.clone());
            }
        }
        Some(())
    }

    fn request(&self, peer: &Peer, request: &Fields<'_>) -> Option<()> {
        let id = str::from_utf8(request.id).ok()?;
        let create = request.method == br#""groups.create""#;
        let conv = if create {
            let mut convs = lock(&self.convs);
            let name = format!("g{}", convs.len());
            let conv = Arc::new(Conv {
                name: name.clone(),
                inner: Mutex::default(),
            });
            lock(&conv.inner).members.push(Arc::clone(&peer.user));
            convs.insert(name, Arc::clone(&conv));
            conv
        } else {
            let name = json::field(request.params, "conv").and_then(json::text)?;
            Arc::clone(lock(&self.convs).get(str::from_utf8(name).ok()?)?)
        };
        let list = json::field(request.params, if create { "members" } else { "users" })?;
        json::elements(list, |member| {
            if let Some(Ok(member)) = json::text(member).map(str::from_utf8) {
                let user = self.user(member);
                lock(&conv.inner).members.push(user);
            }
        })?;
        let name = &conv.name;
        peer.push(format!(r#"{{"t":"res","id":{id},"value":{{"conv":"{name}"}}}}"#).into());
        Some(())
    }

    /// The conversation that `to` names; a direct one is made when it is new.
    fn target(&self, peer: &Peer, to: &[u8]) -> Option<Arc<Conv>> {
        if let Some(conv) = json::field(to, "conv").and_then(json::text) {
            return lock(&self.convs)
                .get(str::from_utf8(conv).ok()?)
                .map(Arc::clone);
        }
        let other = json::field(to, "user").and_then(json::text)?;
        let other = self.user(str::from_utf8(other).ok()?);
        let (a, b) = if other.name < peer.user.name {
            (&other, &peer.user)
        } else {
            (&peer.user, &other)
        };
        let name = format!("d-{}-{}", a.name, b.name);
        let mut convs = lock(&self.convs);
        let conv = convs.entry(name.clone()).or_insert_with(|| {
            let members = vec![Arc::clone(a), Arc::clone(b)];
            Arc::new(Conv {
                name,
                inner: Mutex::new(Log { seq: 0, members }),
            })
        });
        Some(Arc::clone(conv))
    }

    fn user(&self, name: &str) -> Arc<User> {
        let mut users = lock(&self.users);
        if let Some(user) = users.get(name) {
            return Arc::clone(user);
        }
        let user = Arc::new(User {
            name: name.to_owned(),
            peers: Mutex::default(),
        });
        users.insert(name.to_owned(), Arc::clone(&user));
        user
    }
}

/// The fields that the relay reads, as JSON spells their values.
#[derive(Default)]
struct Fields<'a> {
    t: &'a [u8],
    cm_id: &'a [u8],
    to: &'a [u8],
    body: &'a [u8],
    id: &'a [u8],
    method: &'a [u8],
    params: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(&mut self, frame: &'a [u8]) -> Option<()> {
        json::fields(frame, |key, value| match key {
            b"t" => self.t = value,
            b"cm_id" => self.cm_id = value,
            b"to" => self.to = value,
            b"body" => self.body = value,
            b"id" => self.id = value,
            b"method" => self.method = value,
            b"params" => self.params = value,
            _ => {}
        })
    }
}

fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

/// Locks; a panic elsewhere leaves nothing half done that matters to a relay.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
