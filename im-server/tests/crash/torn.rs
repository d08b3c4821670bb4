//! Damaged files: a store that opens on one gives a gapless beginning of the log, or it does not
//! open.

use std::error::Error as _;
use std::fs;
use std::path::Path;

use im_core::model::{ConversationId, Seq};
use im_core::port::{LogQuery, PortErrorKind, Store as _};
use im_store_sql::SqliteStore;
use tempfile::TempDir;

use super::Logs;

/// Copies of one file that are damaged in each way.
const CUTS: u32 = 6;
const FLIPS: u32 = 6;
const FILE_CUTS: u32 = 2;

const FILE: &str = "test.db";
const WAL: &str = "test.db-wal";

/// The store's files as a kill left them.
pub(super) fn copy(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for name in [FILE, WAL] {
        // Without a log everything is in the file.
        if folder.join(name).exists() {
            fs::copy(folder.join(name), copy.path().join(name)).unwrap();
        }
    }
    copy
}

/// Damages copies of a copy and looks what the store makes of them.
pub(super) async fn check(copy: &TempDir, logs: &Logs) {
    // Opening changes the files, so each look is at a copy of its own.
    let whole = lengths(&self::copy(copy.path()), logs).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut refused, mut shorter, mut same) = (0, 0, 0);
    for round in 0..CUTS + FLIPS + FILE_CUTS {
        let damaged = self::copy(copy.path());
        let name = if round < CUTS + FLIPS {
            WAL
        } else {
            // With everything in the file and nothing in the log.
            lengths(&damaged, logs).await.unwrap();
            FILE
        };
        let path = damaged.path().join(name);
        let mut bytes = fs::read(&path).unwrap_or_default();
        if bytes.is_empty() {
            continue;
        }
        let at = rng.usize(0..bytes.len());
        if (CUTS..CUTS + FLIPS).contains(&round) {
            bytes[at] ^= 1 << rng.u32(0..8);
        } else {
            bytes.truncate(at);
        }
        fs::write(&path, bytes).unwrap();
        match lengths(&damaged, logs).await {
            Err(why) => {
                assert!(!why.is_empty());
                refused += 1;
            }
            Ok(found) if found == whole => same += 1,
            Ok(_) => shorter += 1,
        }
    }
    println!("damaged copies: {refused} refused, {shorter} a shorter log, {same} as before");
}

/// How long each log is; `Err` with the store's words when it refuses. Fails when a log is no
/// beginning of the true one.
async fn lengths(folder: &TempDir, logs: &Logs) -> Result<Vec<usize>, String> {
    let address = format!("sqlite://{}", folder.path().join(FILE).display());
    let store = SqliteStore::connect(&address)
        .await
        .map_err(|error| error.to_string())?;
    let mut lengths = Vec::new();
    for (conv, log) in logs {
        let found = read(&store, conv).await?;
        assert!(found.len() <= log.len(), "more than was written");
        for (entry, expected) in found.iter().zip(log) {
            // The digest stays in the store.
            let mut expected = im_core::model::Entry::clone(expected);
            expected.new.digest = entry.digest;
            assert_eq!(*entry, expected, "no beginning of the log");
        }
        lengths.push(found.len());
    }
    // A store that found damage may not be able to tidy up.
    let _ = store.close().await;
    Ok(lengths)
}

async fn read(
    store: &SqliteStore,
    conv: &ConversationId,
) -> Result<Vec<im_core::model::Entry>, String> {
    let mut all = Vec::new();
    loop {
        let seq = Seq(all.len() as u64);
        let query = LogQuery::After {
            seq,
            limit: 1_000,
            bytes: 1 << 20,
        };
        let page = store.log(conv, query).await.map_err(|error| {
            assert_eq!(error.kind(), PortErrorKind::Corrupt, "{:?}", error.source());
            error.to_string()
        })?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    // The head that is told must be the end of what is read.
    let view = store
        .view(conv, &[])
        .await
        .map_err(|error| error.to_string())?;
    let head = view.map_or(0, |view| view.conversation.head.0);
    assert_eq!(head, all.len() as u64, "a silent gap at the end");
    Ok(all)
}
