//! Forwarding: messages that the caller can read, said again in another conversation.

use im_core::frame::{ErrorCode, Failure, ServerFrame};
use im_core::model::{
    Body, CmId, ConversationId, Draft, Entry, Kind, Mentions, Seq, Target, UserId, Value,
};
use im_core::port::{LogQuery, Rejected};
use im_core::rule::forward::{ITEMS_MAX, can_be_forwarded, first_said, forwarded, item};
use im_core::rule::{Mark, mark_key};

use super::messages::without_t;
use super::params::{Params, bad, checked_text};
use super::send::target_id;
use super::table::Call;
use crate::appender::{failure, port_failure};

/// Messages that one call says again one by one: each counts as a send.
const ONE_BY_ONE_MAX: usize = 30;
/// Characters of the title of a merged message.
const TITLE_CHARS_MAX: usize = 255;

/// `messages.forward`: messages of a conversation, in their order, one by one or merged into one.
/// Of one that was edited, it is the text of now. The `cm_id` makes a retry safe; one by one, the
/// n-th is sent as `cm_id.n`.
pub(super) async fn forward(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let from = params.conv()?;
    let merge = params.flag("merge")?;
    let title = checked_text(&mut params, "title", TITLE_CHARS_MAX)?;
    let most = if merge { ITEMS_MAX } else { ONE_BY_ONE_MAX };
    let places = params.places("seqs", most)?;
    let to = target(&mut params)?;
    let cm_id = params.text("cm_id")?;
    let sent = if merge {
        vec![call.merge(&from, &places, to, &cm_id, title).await?]
    } else {
        let mut sent = Vec::with_capacity(places.len());
        for (n, seq) in places.iter().enumerate() {
            let cm_id = checked_id(&format!("{cm_id}.{n}"))?;
            sent.push(call.say_again(&from, *seq, to.clone(), cm_id).await?);
        }
        sent
    };
    Ok(Value::object([("sent", Value::from(sent))]))
}

fn target(params: &mut Params) -> Result<Target, Failure> {
    let (user, conv) = (params.opt_user("to_user")?, params.opt_text("to_conv")?);
    match (user, conv) {
        (Some(user), None) => Ok(Target::User(user)),
        (None, Some(conv)) => ConversationId::new(conv)
            .map(Target::Conversation)
            .map_err(|error| bad("to_conv", &error.to_string())),
        _ => Err(bad("to_conv", "or to_user: exactly one is needed")),
    }
}

fn checked_id(cm_id: &str) -> Result<CmId, Failure> {
    CmId::new(cm_id.to_owned()).map_err(|error| bad("cm_id", &error.to_string()))
}

impl Call<'_> {
    async fn say_again(
        &self,
        from: &ConversationId,
        seq: Seq,
        to: Target,
        cm_id: CmId,
    ) -> Result<Value, Failure> {
        if let Some(sent) = self.said(&to, &cm_id, from, &[seq]).await? {
            return Ok(sent);
        }
        let (entry, text) = self.readable(from, seq).await?;
        self.send(to, cm_id, forwarded(&entry, text.as_deref()))
            .await
    }

    async fn merge(
        &self,
        from: &ConversationId,
        places: &[Seq],
        to: Target,
        cm_id: &str,
        title: Option<String>,
    ) -> Result<Value, Failure> {
        let cm_id = checked_id(cm_id)?;
        if let Some(sent) = self.said(&to, &cm_id, from, places).await? {
            return Ok(sent);
        }
        let mut items = Vec::with_capacity(places.len());
        for seq in places {
            let (entry, text) = self.readable(from, *seq).await?;
            items.push(item(&entry, text.as_deref()));
        }
        let mut fields = vec![("items", Value::from(items))];
        fields.extend(title.map(|title| ("title", title.into())));
        self.send(to, cm_id, Body::of(Kind::Merged, fields)).await
    }

    /// What was stored under a `cm_id` already: what it was made of may have changed since. It must
    /// be made of the same messages.
    async fn said(
        &self,
        to: &Target,
        cm_id: &CmId,
        from: &ConversationId,
        places: &[Seq],
    ) -> Result<Option<Value>, Failure> {
        let user = &self.caller.user;
        let query = LogQuery::Sent {
            sender: user.clone(),
            cm_id: cm_id.clone(),
        };
        let found = self.inner.store.log(&target_id(user, to), query).await;
        let Some(entry) = found.map_err(|error| port_failure(&error))?.pop() else {
            return Ok(None);
        };
        if !self.is_of(&entry.body, from, places).await? {
            return Err(failure(&Rejected::CmIdReused));
        }
        Ok(Some(sent(ServerFrame::Sent {
            cm_id: cm_id.clone(),
            conv: entry.conv.clone(),
            seq: entry.seq,
            id: entry.id,
            at: entry.at,
            dup: true,
        })))
    }

    /// Whether a stored body was made of these messages, as far as they and it are still there.
    async fn is_of(
        &self,
        body: &Body,
        from: &ConversationId,
        places: &[Seq],
    ) -> Result<bool, Failure> {
        let said: Vec<Value> = match (body.kind(), first_said(body)) {
            (Kind::Erased, _) => return Ok(true),
            (Kind::Merged, _) => match body.value().take("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            (_, Some(first)) => vec![first],
            // What the caller said in their own words.
            (_, None) => return Ok(false),
        };
        if said.len() != places.len() {
            return Ok(false);
        }
        for (said, seq) in said.iter().zip(places) {
            let Some(entry) = self.inner.entry(from, *seq).await? else {
                continue;
            };
            let first = match body.kind() {
                Kind::Merged => None,
                _ => first_said(&entry.body),
            };
            let expected = first.unwrap_or_else(|| item(&entry, None));
            let same = |field| said.get(field) == expected.get(field);
            if entry.body.kind() != Kind::Erased && !(same("at") && same("from")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A message that the caller can read and that can be said again, and what it says now if it
    /// was edited.
    async fn readable(
        &self,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<(Entry, Option<String>), Failure> {
        let (first, last) = self.seen(conv).await?;
        let entry = match (first..=last).contains(&seq) {
            true => self.inner.entry(conv, seq).await?,
            false => None,
        };
        let entry = entry.filter(|entry| entry.body.kind() != Kind::Erased);
        let entry = entry.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such entry"))?;
        if !can_be_forwarded(entry.body.kind()) {
            let words = format!("the entry at {seq} is none that can be forwarded");
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        // It is meant to be gone, and elsewhere it would stay.
        if entry.expires_at.is_some() {
            let words = format!("the entry at {seq} ends by itself, and is not forwarded");
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        let edited = self.inner.fact(&mark_key(conv.as_str(), seq, "e")).await?;
        let edited = edited.and_then(|fact| Mark::read(&fact.key.key, &fact.value));
        let text = match edited {
            Some((_, Mark::Edit(edit))) => Some(edit.text),
            _ => None,
        };
        Ok((entry, text))
    }

    async fn send(&self, to: Target, cm_id: CmId, body: Body) -> Result<Value, Failure> {
        let draft = Draft {
            cm_id,
            to,
            body,
            reply_to: None,
            mentions: Mentions::None,
            expires_ms: None,
        };
        let user: &UserId = &self.caller.user;
        let (conv, appended) = self.inner.send_and_wait(user, &draft).await?;
        Ok(sent(ServerFrame::Sent {
            cm_id: draft.cm_id,
            conv,
            seq: appended.seq,
            id: appended.id,
            at: appended.at,
            dup: appended.dup,
        }))
    }
}

fn sent(frame: ServerFrame) -> Value {
    without_t(frame.to_value())
}
