//! Who was removed gets nothing above the removal's own entry, neither pushed nor pulled, until
//! they are in again: then it is part of the history that the conversation shows or hides.

use im_core::frame::ServerFrame;
use im_core::machine::InboxEvent;
use im_core::model::{ConversationId, Seq, UserId};

use super::pushed_in_order::line_of;
use super::{Event, Invariant, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Removed;

fn check(
    seen: &Seen,
    user: &UserId,
    how: &str,
    conv: &ConversationId,
    seq: Seq,
) -> Result<(), String> {
    // Of what is not there others tell.
    let Some(log) = seen
        .truth
        .log(conv)
        .filter(|_| seq <= seen.truth.head(conv))
    else {
        return Ok(());
    };
    if log.may_see(user, seq) {
        return Ok(());
    }
    Err(format!(
        "{user} was {how} {conv} {seq}, which is not theirs to see"
    ))
}

impl Invariant for Removed {
    fn name(&self) -> &'static str {
        "the removed get nothing later"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Down { wire, frame } => {
                let Some(user) = seen.user(*wire) else {
                    return Ok(());
                };
                match frame {
                    ServerFrame::Entry(entry) => {
                        check(seen, user, "pushed", &entry.conv, entry.seq)
                    }
                    ServerFrame::Page(page) => page
                        .entries
                        .iter()
                        .try_for_each(|it| check(seen, user, "paged", &it.conv, it.seq)),
                    ServerFrame::Synced(synced) => synced.convs.iter().try_for_each(|line| {
                        check(seen, user, "listed", &line.conv, line.last_seq)
                    }),
                    ServerFrame::Event(event) => match line_of(event) {
                        Some(line) if line.last_seq > Seq(0) && line.last_seq >= line.first_seq => {
                            check(seen, user, "told of", &line.conv, line.last_seq)
                        }
                        _ => Ok(()),
                    },
                    _ => Ok(()),
                }
            }
            Event::Inbox {
                client,
                event: InboxEvent::Entry(entry),
            } => match seen.users.get(*client) {
                Some(user) => check(seen, user, "handed", &entry.conv, entry.seq),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
