//! Several databases as one store: opening them, and moving slots between them.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use im_core::model::Slot;
use im_core::port::{Holdings, Phase, Shard};
use im_store_sharded::{MoveError, Mover, Sharded};
use im_store_sql::{Synchronous, redacted};

use crate::cli::ShardsCommand;
use crate::error::ServerError;
use crate::given::Given;
use crate::store::{Opened, open_database};

/// How often a move that failed for a database's sake is tried again.
const TRIES_MAX: u32 = 10;
/// The wait before that.
const WAIT: Duration = Duration::from_secs(1);

/// Why a file is none.
const NO_SQLITE: &str =
    "a SQLite file is one process's own: postgres:// and mysql:// can be shards";

/// Slots as people write them: `0-511,600`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots(Vec<Slot>);

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let slot = |text: &str| text.trim().parse().ok().and_then(Slot::new);
        let mut slots = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (slot(first), slot(last)) else {
                let last = Slot::COUNT - 1;
                return Err(format!("must be slots from 0 to {last}: 0-511,600"));
            };
            if first > last {
                return Err(format!("{part} has its larger end first"));
            }
            slots.extend(Slot::all().filter(|slot| (first..=last).contains(slot)));
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(Self(slots))
    }
}

/// Opens databases as one store.
///
/// # Errors
/// When one of them can't be opened, or they don't belong together.
pub(crate) async fn open_shards(urls: &[String]) -> Result<(Vec<Opened>, Sharded), ServerError> {
    if urls.is_empty() {
        return Err(ServerError::setting("shards", "names no database"));
    }
    if urls.iter().any(|url| url.starts_with("sqlite:")) {
        return Err(ServerError::setting("shards", NO_SQLITE));
    }
    let mut opened = Vec::with_capacity(urls.len());
    for url in urls {
        opened.push(open_database(url, Synchronous::Full).await?);
    }
    let shards: Option<Vec<Arc<dyn Shard>>> = opened.iter().map(Opened::shard).collect();
    let Some(shards) = shards else {
        return Err(ServerError::setting("shards", NO_SQLITE));
    };
    let sharded = Sharded::open(shards).await;
    let sharded = sharded.map_err(|error| ServerError::setting("shards", error.to_string()))?;
    Ok((opened, sharded))
}

/// `im-server shards …`
///
/// # Errors
/// When the databases can't be opened, or a slot does not move.
pub(crate) fn act(given: &Given, command: ShardsCommand) -> Result<(), ServerError> {
    let Some(urls) = &given.shards else {
        let what =
            "which databases? Give all of them in their order, with commas: --shards URL,URL";
        return Err(ServerError::setting("shards", what));
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let (_, sharded) = open_shards(&urls.0).await?;
        match command {
            ShardsCommand::Status => {
                let held = sharded.holdings().await.map_err(MoveError::from)?;
                Ok(std::io::stdout().write_all(status(&urls.0, &held).as_bytes())?)
            }
            ShardsCommand::Move { slots, to } => {
                let count = slots.0.len();
                for slot in slots.0 {
                    move_slot(&sharded, slot, to).await?;
                }
                Ok(writeln!(
                    std::io::stdout(),
                    "{count} slots are in database {to}"
                )?)
            }
        }
    })
}

/// Moves a slot; a database that is away for a moment is waited for.
async fn move_slot(sharded: &Sharded, slot: Slot, to: usize) -> Result<(), MoveError> {
    let id = RandomState::new().hash_one(slot);
    let mut mover = Mover::new(sharded, slot, to, id)?;
    let mut tries = 0;
    loop {
        match mover.run().await {
            Err(MoveError::Port(error)) if error.is_retryable() && tries < TRIES_MAX => {
                tries += 1;
                tracing::warn!(%slot, %error, "the move goes on in a moment");
                tokio::time::sleep(WAIT).await;
            }
            Ok(()) => {
                tracing::info!(%slot, to, "moved");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// What each database holds, a line each.
fn status(urls: &[String], held: &[Holdings]) -> String {
    let mut text = String::new();
    for (at, (url, held)) in urls.iter().zip(held).enumerate() {
        let of = |is: fn(&Phase) -> bool| {
            let some = held.slots.iter().filter(|held| is(&held.phase));
            some.map(|held| held.slot).collect::<Vec<_>>()
        };
        let _ = write!(text, "{at}  {}  ", redacted(url));
        let open = of(|phase| *phase == Phase::Open);
        let _ = write!(text, "{} slots: {}", open.len(), ranges(&open));
        for (word, slots) in [
            ("closed", of(|phase| matches!(phase, Phase::Closed { .. }))),
            (
                "arriving",
                of(|phase| matches!(phase, Phase::Arriving { .. })),
            ),
            ("to be removed", of(|phase| *phase == Phase::Gone)),
        ] {
            if !slots.is_empty() {
                let _ = write!(text, "; {word}: {}", ranges(&slots));
            }
        }
        text.push('\n');
    }
    text
}

/// Slots in order, as [`Slots`] reads them.
fn ranges(slots: &[Slot]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for slot in slots.iter().map(|slot| slot.number()) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    let range = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let words: Vec<_> = ranges.iter().map(range).collect();
    if words.is_empty() {
        return "none".to_owned();
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_as_they_are_written() {
        let table = [
            ("0-3", "0-3"),
            ("7", "7"),
            ("600, 0-2,1-5", "0-5,600"),
            ("0-1023", "0-1023"),
        ];
        for (text, expected) in table {
            let Slots(slots) = text.parse().unwrap();
            assert_eq!(ranges(&slots), expected);
        }
        for bad in ["", "x", "1024", "3-1", "1-", "-1", "1,,2", "0-1024"] {
            assert!(bad.parse::<Slots>().is_err(), "{bad}");
        }
    }
}
