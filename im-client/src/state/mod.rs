//! The state file: what a client must not forget over a crash of its process or machine.
//!
//! A log of changes, each with a checksum. Pending sends and their first tries are synced to the
//! disk before a frame leaves; cursors and tokens are only written, since forgetting the last of
//! them means that entries come again. A torn end is cut off at the next start. When the log has
//! grown it is written anew beside the old one and renamed over it, so that one of the two is
//! always whole.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use im_core::frame::{ClientFrame, Codec, decode_client, encode_client};
use im_core::machine::{Cursor, PendingDraft};
use im_core::model::{CmId, ConversationId, Draft, Timestamp, UserId};

use self::record::Record;
use crate::error::StateError;

/// What a state file begins with.
const MAGIC: &[u8] = b"imkit-client 1\n";
/// A file is written anew when it is larger than this, and than twice what it was when it was
/// last written anew.
const COMPACT_BYTES: u64 = 256 * 1_024;

/// What a file held.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) user: Option<UserId>,
    pub(crate) since: Option<String>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) pending: Vec<PendingDraft>,
}

/// An open state file. Its methods append to a buffer; [`write`](Self::write) writes it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
    /// Held while the client lives. A file of its own: the state file is renamed over.
    _lock: File,
    buffer: Vec<u8>,
    must_sync: bool,
    len: u64,
    compacted: u64,
    user: Option<UserId>,
    since: Option<String>,
    cursors: BTreeMap<ConversationId, Cursor>,
    /// Pending sends whose first try the file holds.
    tried: BTreeSet<CmId>,
}

impl StateFile {
    /// Opens or makes a file, and cuts off a torn end. Blocks.
    pub(crate) fn open(path: &Path) -> Result<(Self, Restored), StateError> {
        let io = |source| StateError::Io {
            path: path.to_owned(),
            source,
        };
        let lock = lock(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (records, good) = read_all(path, &bytes)?;
        if good < bytes.len() {
            tracing::warn!(
                cut = bytes.len() - good,
                "the state file's torn end is cut off"
            );
            file.set_len(good as u64).map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        if good == 0 {
            file.write_all(MAGIC).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        sync_folder(path).map_err(io)?;
        let restored = replay(records).map_err(|at| damaged(path, at))?;
        let len = good.max(MAGIC.len()) as u64;
        let state = Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            buffer: Vec::new(),
            must_sync: false,
            len,
            compacted: len,
            user: restored.user.clone(),
            since: restored.since.clone(),
            cursors: restored
                .cursors
                .iter()
                .map(|cursor| (cursor.conv.clone(), cursor.clone()))
                .collect(),
            tried: restored
                .pending
                .iter()
                .filter(|send| send.first_try.is_some())
                .map(|send| send.draft.cm_id.clone())
                .collect(),
        };
        Ok((state, restored))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose state this is.
    pub(crate) const fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    pub(crate) fn set_user(&mut self, user: UserId) {
        self.append(&Record::User { user: user.clone() });
        self.user = Some(user);
    }

    /// A send to keep until [`done`](Self::done). To be synced.
    pub(crate) fn draft(&mut self, draft: &Draft) {
        self.append(&draft_record(draft));
        self.must_sync = true;
    }

    /// A send leaves for the first time. To be synced.
    pub(crate) fn tried(&mut self, cm_id: &CmId, at: Timestamp) {
        if self.tried.insert(cm_id.clone()) {
            let cm_id = cm_id.clone();
            self.append(&Record::Tried { cm_id, at });
            self.must_sync = true;
        }
    }

    pub(crate) fn done(&mut self, cm_id: CmId) {
        self.tried.remove(&cm_id);
        self.append(&Record::Done { cm_id });
    }

    pub(crate) fn cursor(&mut self, cursor: Cursor) {
        self.append(&cursor_record(&cursor));
        self.cursors.insert(cursor.conv.clone(), cursor);
    }

    pub(crate) fn since(&mut self, token: String) {
        self.since = Some(token.clone());
        self.append(&Record::Since { token });
    }

    /// Whether there is something to write, and whether it must be synced before anything leaves.
    pub(crate) const fn dirty(&self) -> (bool, bool) {
        (!self.buffer.is_empty(), self.must_sync)
    }

    /// Whether the file should be written anew.
    pub(crate) fn is_large(&self) -> bool {
        let len = self.len + self.buffer.len() as u64;
        len > COMPACT_BYTES && len > 2 * self.compacted
    }

    /// Writes what was appended; syncs if something of it must be. Blocks.
    pub(crate) fn write(&mut self) -> Result<(), StateError> {
        let written = self.try_write();
        written.map_err(|source| StateError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Writes the file anew with these pending sends, in their order. Blocks.
    pub(crate) fn compact(&mut self, pending: &[PendingDraft]) -> Result<(), StateError> {
        let written = self.try_compact(pending);
        written.map_err(|source| StateError::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn append(&mut self, record: &Record) {
        record.write(&mut self.buffer);
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        if std::mem::take(&mut self.must_sync) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn try_compact(&mut self, pending: &[PendingDraft]) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        if let Some(user) = self.user.clone() {
            Record::User { user }.write(&mut bytes);
        }
        for PendingDraft { draft, first_try } in pending {
            draft_record(draft).write(&mut bytes);
            if let Some(at) = *first_try {
                let cm_id = draft.cm_id.clone();
                Record::Tried { cm_id, at }.write(&mut bytes);
            }
        }
        for cursor in self.cursors.values() {
            cursor_record(cursor).write(&mut bytes);
        }
        if let Some(token) = self.since.clone() {
            Record::Since { token }.write(&mut bytes);
        }
        let fresh = beside(&self.path, ".new");
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        sync_folder(&self.path)?;
        self.file = file;
        self.buffer.clear();
        self.must_sync = false;
        self.len = bytes.len() as u64;
        self.compacted = self.len;
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, StateError> {
    let name = beside(path, ".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let lock = options.open(&name).map_err(|source| StateError::Io {
        path: name.clone(),
        source,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StateError::Io { path: name, source }),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn damaged(path: &Path, at: usize) -> StateError {
    StateError::Damaged {
        path: path.to_owned(),
        at: at as u64,
    }
}

/// Makes a rename or a new file last, where folders can be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Records, each with where it stands.
type Records = Vec<(usize, Record)>;

/// The records of a file, and up to where they are good.
fn read_all(path: &Path, bytes: &[u8]) -> Result<(Records, usize), StateError> {
    if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) {
        return Ok((Vec::new(), 0));
    }
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged(path, 0))?;
    let mut records = Vec::new();
    while let Some((record, len)) = Record::read(rest) {
        records.push((bytes.len() - rest.len(), record));
        rest = &rest[len..];
    }
    let good = bytes.len() - rest.len();
    // What a crash tears is the end. With a good record after it, it is not the end.
    if (1..rest.len()).any(|at| Record::read(&rest[at..]).is_some()) {
        return Err(damaged(path, good));
    }
    Ok((records, good))
}

/// What the records add up to, or where one stands that is none of this version's.
fn replay(records: Records) -> Result<Restored, usize> {
    let mut restored = Restored::default();
    let mut cursors = BTreeMap::new();
    let mut order = 0_u64;
    let mut pending: BTreeMap<CmId, (u64, PendingDraft)> = BTreeMap::new();
    for (at, record) in records {
        match record {
            Record::User { user } => restored.user = Some(user),
            Record::Since { token } => restored.since = Some(token),
            Record::Done { cm_id } => {
                pending.remove(&cm_id);
            }
            Record::Tried { cm_id, at: first } => {
                if let Some((_, send)) = pending.get_mut(&cm_id) {
                    send.first_try = Some(first);
                }
            }
            Record::Draft { frame } => {
                let frame = decode_client(Codec::Json, frame.as_bytes());
                let Ok(ClientFrame::Send(draft)) = frame else {
                    return Err(at);
                };
                order += 1;
                let first_try = None;
                let send = PendingDraft { draft, first_try };
                pending.insert(send.draft.cm_id.clone(), (order, send));
            }
            Record::Cursor {
                conv,
                epoch,
                seq,
                head,
                left,
            } => {
                let cursor = Cursor {
                    conv: conv.clone(),
                    epoch,
                    seq,
                    head,
                    left,
                };
                cursors.insert(conv, cursor);
            }
        }
    }
    let mut pending: Vec<_> = pending.into_values().collect();
    pending.sort_by_key(|(order, _)| *order);
    restored.pending = pending.into_iter().map(|(_, send)| send).collect();
    restored.cursors = cursors.into_values().collect();
    Ok(restored)
}

fn draft_record(draft: &Draft) -> Record {
    let frame = encode_client(Codec::Json, &ClientFrame::Send(draft.clone()));
    Record::Draft {
        frame: String::from_utf8_lossy(&frame).into_owned(),
    }
}

fn cursor_record(cursor: &Cursor) -> Record {
    Record::Cursor {
        conv: cursor.conv.clone(),
        epoch: cursor.epoch,
        seq: cursor.seq,
        head: cursor.head,
        left: cursor.left,
    }
}

#[cfg(test)]
mod tests;
