//! What a webhook says about an entry.

use im_core::frame::entry_value;
use im_core::model::{Entry, Family, Kind, Value};

use crate::text::rfc3339;

/// An event, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The same for every attempt: by it a receiver knows what it has had.
    pub(super) id: String,
    /// Which event.
    pub(super) kind: String,
    /// Canonical JSON text.
    pub(super) body: String,
}

impl Event {
    pub(super) fn of(entry: &Entry) -> Self {
        let kind = name(entry.body.kind());
        let body = Value::object([
            ("type", Value::from(kind.as_str())),
            ("timestamp", rfc3339(entry.at).into()),
            ("data", entry_value(entry)),
        ]);
        Self {
            id: format!("msg_{}", entry.id),
            kind,
            body: body.to_json(),
        }
    }
}

/// The event of a kind of entries; those without a name of their own are called by their kind.
fn name(kind: Kind) -> String {
    let named = match kind {
        _ if kind.family() == Family::Say => "message.sent",
        Kind::Edit => "message.edited",
        Kind::Recall => "message.recalled",
        Kind::React => "message.reacted",
        Kind::Pin => "message.pinned",
        Kind::Erased => "message.erased",
        Kind::Member => "conversation.members",
        Kind::Group => "conversation.changed",
        Kind::Announce => "conversation.announced",
        _ => return format!("entry.{}", kind.as_str()),
    };
    named.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use im_core::model::{
        Body, CmId, ConversationId, Mentions, MessageId, NewEntry, Seq, Timestamp, UserId,
    };

    #[test]
    fn an_event_is_the_entry_as_clients_get_it() {
        let entry = NewEntry {
            id: MessageId(7),
            from: UserId::new("al").unwrap(),
            at: Timestamp(0),
            cm_id: CmId::new("m1").ok(),
            digest: 9,
            body: Body::text("hi"),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        let event = Event::of(&entry.at(ConversationId::new("g").unwrap(), Seq(3)));
        assert_eq!(event.id, "msg_7");
        assert_eq!(event.kind, "message.sent");
        assert_eq!(
            event.body,
            r#"{"data":{"at":0,"body":{"kind":"text","text":"hi"},"cm_id":"m1","conv":"g","#
                .to_owned()
                + r#""from":"al","id":"7","seq":3},"timestamp":"1970-01-01T00:00:00.000Z","#
                + r#""type":"message.sent"}"#
        );
    }
}
