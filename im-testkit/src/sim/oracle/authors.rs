//! What stands in a log was written by who was a member then, and was not muted: also in a race.

use im_core::model::{Family, Kind, Seq};

use super::{Event, Invariant, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Authors;

impl Invariant for Authors {
    fn name(&self) -> &'static str {
        "only members write"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        let Event::Stored(entry) = event else {
            return Ok(());
        };
        let (conv, seq, from) = (&entry.conv, entry.seq, &entry.new.from);
        if entry.body.kind() == Kind::Group && seq == Seq(1) {
            return Ok(());
        }
        let Some(log) = seen.truth.log(conv) else {
            return Err(format!("{conv} has an entry and no log"));
        };
        if !log.was_in(from, seq) || !(seq == Seq(1) || log.was_in(from, Seq(seq.0 - 1))) {
            return Err(format!("{from} wrote {conv} {seq} and was no member"));
        }
        let says = entry.body.kind().family() == Family::Say;
        match log.muted(from) {
            Some(until) if says && entry.at < until => Err(format!(
                "{from} said {conv} {seq} at {} and was muted until {until}",
                entry.at
            )),
            _ => Ok(()),
        }
    }
}
