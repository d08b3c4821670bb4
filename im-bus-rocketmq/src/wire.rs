//! A connection that speaks RocketMQ's protocol: requests and answers, in any order.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use im_link::{At, ConnectError, Task};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::login::Login;

/// The most requests that wait to be written; the bus has bounds on what is on its way, before.
const UNWRITTEN_MAX: usize = 64;
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Of a command: it is an answer.
const ANSWER: u32 = 1;
/// Who asks has no right to.
const NO_PERMISSION: u32 = 16;
/// A version from which on a name server writes JSON that is JSON.
const VERSION: u32 = 493;

/// What a request says beside its body.
pub(crate) type Fields = BTreeMap<&'static str, String>;
type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<Answer>>>>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u32,
    pub(crate) fields: HashMap<String, String>,
    pub(crate) body: Bytes,
    /// In the server's words; not shown.
    remark: String,
}

impl Answer {
    /// Whether it is about who asks. Before version 5 only its words say so.
    pub(crate) fn is_denied(&self) -> bool {
        self.code == NO_PERMISSION || self.remark.contains("AclException")
    }

    /// A number that it has to have.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name)?.parse().ok()
    }
}

#[derive(Serialize)]
struct Request<'a> {
    code: u32,
    language: &'static str,
    version: u32,
    opaque: u32,
    flag: u32,
    #[serde(rename = "extFields")]
    fields: &'a Fields,
}

#[derive(Deserialize)]
struct Head {
    code: u32,
    opaque: u32,
    #[serde(default)]
    flag: u32,
    #[serde(rename = "extFields", default)]
    fields: Option<HashMap<String, String>>,
    #[serde(default)]
    remark: Option<String>,
}

/// A connection.
pub(crate) struct Wire {
    login: Option<Login>,
    requests: mpsc::Sender<Bytes>,
    waiting: Waiting,
    next: AtomicU32,
    pub(crate) closed: Arc<Notify>,
    _tasks: [Task; 2],
}

impl Wire {
    /// Connects; `addr` is host and port.
    pub(crate) async fn open(
        at: &At,
        addr: &str,
        login: Option<Login>,
    ) -> Result<Self, ConnectError> {
        let broken = |error: io::Error| ConnectError::unreachable(at, format!("{addr}: {error}"));
        let socket = TcpStream::connect(addr).await.map_err(broken)?;
        socket.set_nodelay(true).map_err(broken)?;
        let (read, write) = socket.into_split();
        let (requests, unwritten) = mpsc::channel(UNWRITTEN_MAX);
        let (waiting, closed) = (Waiting::default(), Arc::new(Notify::new()));
        let reading = {
            let (waiting, closed) = (Arc::clone(&waiting), Arc::clone(&closed));
            async move {
                // Whatever it is, there will be no further answer.
                let _ = read_answers(read, &waiting).await;
                waiting.lock().clear();
                closed.notify_one();
            }
        };
        let writing = async move {
            // The reader hears of it.
            let _ = write_requests(write, unwritten).await;
        };
        Ok(Self {
            login,
            requests,
            waiting,
            next: AtomicU32::new(0),
            closed,
            _tasks: [Task::spawn(reading), Task::spawn(writing)],
        })
    }

    /// Asks; `None` when the connection is over. Safe to drop while it waits.
    pub(crate) async fn ask(&self, code: u32, mut fields: Fields, body: &[u8]) -> Option<Answer> {
        if let Some(login) = &self.login {
            login.sign(&mut fields, body);
        }
        let opaque = self.next.fetch_add(1, Ordering::Relaxed);
        let head = serde_json::to_vec(&Request {
            code,
            language: "OTHER",
            version: VERSION,
            opaque,
            flag: 0,
            fields: &fields,
        });
        let frame = frame(&head.ok()?, body)?;
        let (done, answer) = oneshot::channel();
        self.waiting.lock().insert(opaque, done);
        self.requests.send(frame).await.ok()?;
        answer.await.ok()
    }
}

/// Its length, the head's, the head, the body.
fn frame(head: &[u8], body: &[u8]) -> Option<Bytes> {
    let mut frame = BytesMut::with_capacity(8 + head.len() + body.len());
    frame.put_u32(u32::try_from(4 + head.len() + body.len()).ok()?);
    frame.put_u32(u32::try_from(head.len()).ok()?);
    frame.put_slice(head);
    frame.put_slice(body);
    Some(frame.freeze())
}

async fn write_requests(
    write: OwnedWriteHalf,
    mut unwritten: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let mut write = BufWriter::new(write);
    while let Some(frame) = unwritten.recv().await {
        write.write_all(&frame).await?;
        while let Ok(frame) = unwritten.try_recv() {
            write.write_all(&frame).await?;
        }
        write.flush().await?;
    }
    Ok(())
}

async fn read_answers(read: OwnedReadHalf, waiting: &Waiting) -> io::Result<()> {
    let mut read = BufReader::new(read);
    loop {
        let length = read.read_u32().await?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = BytesMut::zeroed(length);
        read.read_exact(&mut frame).await?;
        let Some((head, body)) = parse(frame.freeze()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // The broker has questions, too, of which a bus needs none.
        if head.flag & ANSWER == 0 {
            continue;
        }
        if let Some(done) = waiting.lock().remove(&head.opaque) {
            // Who does not wait any more has given up.
            let _ = done.send(Answer {
                code: head.code,
                fields: head.fields.unwrap_or_default(),
                body,
                remark: head.remark.unwrap_or_default(),
            });
        }
    }
}

fn parse(mut frame: Bytes) -> Option<(Head, Bytes)> {
    // The first byte says how the head is written: 0 is JSON, which is what we asked in.
    let head_bytes = usize::try_from(frame.get_u32()).ok()?;
    if head_bytes > frame.len() {
        return None;
    }
    let head = frame.split_to(head_bytes);
    Some((serde_json::from_slice(&head).ok()?, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_refused() {
        let good = frame(br#"{"code":1,"opaque":7,"flag":1}"#, b"body").unwrap();
        let (head, body) = parse(good.slice(4..)).unwrap();
        assert_eq!((head.code, head.opaque, &*body), (1, 7, &b"body"[..]));
        for bad in [
            &b"\0\0\0\x09{}"[..],
            b"\0\0\0\x02{}",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
        ] {
            assert!(parse(Bytes::from_static(bad)).is_none(), "{bad:?}");
        }
    }
}
