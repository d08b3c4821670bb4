//! When every fault is over, all is well by itself: every send is answered, and everybody who is
//! connected stands at the head of each of their conversations.

use im_core::model::{Seq, Target, Timestamp, UserId};

use super::{Event, Invariant, Report, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Healed;

/// What is not well yet.
pub(super) fn check(seen: &Seen, reports: &[Report], earliest: Timestamp) -> Result<(), String> {
    for report in reports {
        let Report {
            client,
            connected,
            sends,
            calls,
            node: _,
            cursors,
        } = report;
        if !connected {
            return Err(format!("c{client} is not connected"));
        }
        let Some(user) = seen.users.get(*client) else {
            continue;
        };
        let waits = |to: &&Target| !is_muted(seen, user, to, earliest);
        if let Some(to) = sends.iter().find(waits) {
            return Err(format!("c{client} waits for a send to {to:?}"));
        }
        if *calls > 0 {
            return Err(format!("c{client} waits for {calls} calls"));
        }
        for line in seen.truth.lines_of(user) {
            let conv = &line.conversation.id;
            let cursor = cursors.iter().find(|cursor| cursor.conv == *conv);
            let (last, left) = match line.member.left_seq {
                Some(left) => (left, true),
                None => (line.conversation.head, false),
            };
            match cursor {
                // One who left before this device first synced need not know of it.
                None if left => {}
                None if last < line.member.first_seq => {}
                None => return Err(format!("c{client} does not know {conv}")),
                Some(cursor) if cursor.left != left => {
                    return Err(format!("c{client} takes {conv} for left: {}", cursor.left));
                }
                Some(cursor) if cursor.seq != last && !left => {
                    let at = cursor.seq;
                    return Err(format!("c{client} stands at {conv} {at}, not at {last}"));
                }
                Some(_) => {}
            }
        }
        let beyond = cursors
            .iter()
            .find(|cursor| cursor.seq > seen.truth.head(&cursor.conv).max(Seq(0)));
        if let Some(cursor) = beyond {
            return Err(format!("c{client} is beyond {}", cursor.conv));
        }
    }
    Ok(())
}

/// Who is muted is told to try again when they are not.
fn is_muted(seen: &Seen, user: &UserId, to: &Target, earliest: Timestamp) -> bool {
    let Target::Conversation(conv) = to else {
        return false;
    };
    let until = seen.truth.log(conv).and_then(|log| log.muted(user));
    until.is_some_and(|until| until > earliest)
}

impl Invariant for Healed {
    fn name(&self) -> &'static str {
        "all heals by itself"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Healed {
                reports,
                earliest,
                unwell,
            } => {
                check(seen, reports, *earliest)?;
                unwell.clone().map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }
}
