//! Rows as they come, whatever the database, and the model as they hold it.

use std::sync::Arc;

use im_core::model::{
    Body, CmId, Conversation, ConversationId, ConversationKind, Entry, Epoch, Fact, Holder, Kind,
    Member, Mentions, MessageId, NewEntry, Role, Seq, Slot, Stamp, Timestamp, UserId,
};
use im_core::port::PortError;

use super::statement::Arg;
use crate::error::corrupt;
use crate::mentions::{read_mentions, write_mentions};

/// The columns of a conversation, in the order of [`Fields::conversation`].
pub(super) const CONVERSATION: &str = "c.no, c.id, c.kind, c.title, c.epoch, c.head, c.version, \
     c.first_seq, c.member_count, c.hide_history, c.speaks, c.erasures, c.holder, c.stamp";
/// The columns of a member, in the order of [`Fields::member`].
pub(super) const MEMBER: &str = "m.user_id, m.role, m.first_seq, m.left_seq, m.version, \
     m.muted_until, m.delivered_seq, m.read_seq, m.stamp";
/// The columns of an entry, in the order of [`Fields::entry`].
pub(super) const ENTRY: &str = "e.seq, e.id, e.sender, e.at, e.cm_id, e.digest, e.kind, e.body, \
     e.reply_to, e.mentions, e.expires_at";

/// The columns of a fact, in the order of [`Fields::fact`].
pub(super) const FACT: &str = "f.kind, f.owner, f.fact_key, f.value, f.at";

/// A value that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// An integer of any size.
    Int(i64),
    /// A text, or bytes that are one.
    Text(String),
}

/// A row that came.
pub type Row = Vec<Cell>;

/// A row's values, taken one after the other.
#[derive(Debug)]
pub(super) struct Fields(std::vec::IntoIter<Cell>);

impl From<Row> for Fields {
    fn from(row: Row) -> Self {
        Self(row.into_iter())
    }
}

impl Fields {
    /// The next value, not taken.
    pub(super) fn peek(&self) -> Option<&Cell> {
        self.0.as_slice().first()
    }

    pub(super) fn opt_int(&mut self) -> Result<Option<i64>, PortError> {
        match self.0.next() {
            Some(Cell::Int(value)) => Ok(Some(value)),
            Some(Cell::Null) => Ok(None),
            _ => Err(corrupt("a number is none")),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, PortError> {
        self.opt_int()?
            .ok_or_else(|| corrupt("a number is missing"))
    }

    fn opt_text(&mut self) -> Result<Option<String>, PortError> {
        match self.0.next() {
            Some(Cell::Text(value)) => Ok(Some(value)),
            Some(Cell::Null) => Ok(None),
            _ => Err(corrupt("a text is none")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, PortError> {
        self.opt_text()?.ok_or_else(|| corrupt("a text is missing"))
    }

    pub(super) fn number(&mut self) -> Result<u64, PortError> {
        u64::try_from(self.int()?).map_err(|_| corrupt("a number is negative"))
    }

    pub(super) fn seq(&mut self) -> Result<Seq, PortError> {
        self.number().map(Seq)
    }

    pub(super) fn stamp(&mut self) -> Result<Stamp, PortError> {
        self.number().map(Stamp)
    }

    fn opt_seq(&mut self) -> Result<Option<Seq>, PortError> {
        Ok(self.opt_int()?.map(|value| Seq(value.unsigned_abs())))
    }

    fn opt_time(&mut self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.opt_int()?.map(Timestamp))
    }

    pub(super) fn user(&mut self) -> Result<UserId, PortError> {
        UserId::new(self.text()?).map_err(|_| corrupt("a user id is none"))
    }

    pub(super) fn conv(&mut self) -> Result<ConversationId, PortError> {
        ConversationId::new(self.text()?).map_err(|_| corrupt("a conversation id is none"))
    }

    pub(super) fn cm_id(&mut self) -> Result<Option<CmId>, PortError> {
        let id = self.opt_text()?.map(CmId::new).transpose();
        id.map_err(|_| corrupt("a cm_id is none"))
    }

    /// A fact, from [`FACT`].
    pub(super) fn fact(&mut self) -> Result<Fact, PortError> {
        let (kind, owner, key) = (self.text()?, self.text()?, self.text()?);
        crate::fact::read(&kind, owner, key, self.text()?, self.opt_int()?)
    }

    fn role(&mut self) -> Result<Role, PortError> {
        Role::parse(&self.text()?).ok_or_else(|| corrupt("a role is none"))
    }

    /// A conversation with its number and its stamp, from [`CONVERSATION`].
    pub(super) fn conversation(&mut self) -> Result<(i64, Conversation, Stamp), PortError> {
        let no = self.int()?;
        let id = self.conv()?;
        let kind = ConversationKind::parse(&self.text()?);
        let conversation = Conversation {
            id,
            kind: kind.ok_or_else(|| corrupt("a kind of conversation is none"))?,
            title: self.opt_text()?,
            epoch: Epoch(self.number()?),
            head: self.seq()?,
            version: self.seq()?,
            first_seq: self.seq()?,
            member_count: u32::try_from(self.number()?).unwrap_or(u32::MAX),
            hide_history: self.int()? != 0,
            speaks: self.role()?,
            erasures: self.number()?,
            holder: Holder(self.number()?),
        };
        Ok((no, conversation, self.stamp()?))
    }

    /// A member and their stamp, from [`MEMBER`].
    pub(super) fn member(&mut self) -> Result<(Member, Stamp), PortError> {
        let user = self.user()?;
        let role = self.role()?;
        let member = Member {
            user,
            role,
            first_seq: self.seq()?,
            left_seq: self.opt_seq()?,
            version: self.seq()?,
            muted_until: self.opt_time()?,
            delivered: self.seq()?,
            read: self.seq()?,
        };
        Ok((member, self.stamp()?))
    }

    /// An entry from [`ENTRY`].
    pub(super) fn entry(&mut self, conv: &ConversationId) -> Result<Entry, PortError> {
        let seq = self.seq()?;
        let id = MessageId(self.int()? as u64);
        let from = self.user()?;
        let at = Timestamp(self.int()?);
        let cm_id = self.cm_id()?;
        let digest = self.int()? as u64;
        let kind = Kind::parse(&self.text()?).ok_or_else(|| corrupt("a kind of entry is none"))?;
        let body = Body::from_stored(kind, Arc::from(self.text()?));
        let reply_to = self.opt_seq()?;
        let mentions = self.opt_text()?;
        let new = NewEntry {
            id,
            from,
            at,
            cm_id,
            digest,
            body,
            reply_to,
            mentions: mentions.map_or(Ok(Mentions::None), |text| read_mentions(&text))?,
            expires_at: self.opt_time()?,
        };
        Ok(Entry {
            conv: conv.clone(),
            seq,
            new,
        })
    }
}

/// A conversation's values, but for its number.
pub(super) fn conversation(conversation: &Conversation, stamp: Stamp) -> Vec<Arg> {
    vec![
        (&conversation.id).into(),
        conversation.kind.as_str().into(),
        Arg::Text(conversation.title.as_deref().map(Arc::from)),
        (conversation.epoch.0 as i64).into(),
        conversation.head.into(),
        conversation.version.into(),
        conversation.first_seq.into(),
        i64::from(conversation.member_count).into(),
        i64::from(conversation.hide_history).into(),
        conversation.speaks.as_str().into(),
        (conversation.erasures as i64).into(),
        (conversation.holder.0 as i64).into(),
        (stamp.0 as i64).into(),
        i64::from(Slot::of(&conversation.id).number()).into(),
    ]
}

/// A member's values.
pub(super) fn member(no: i64, member: &Member, stamp: Stamp) -> Vec<Arg> {
    vec![
        no.into(),
        Arc::<str>::from(&member.user).into(),
        member.role.as_str().into(),
        member.first_seq.into(),
        Arg::Int(member.left_seq.map(|seq| seq.0 as i64)),
        member.version.into(),
        Arg::Int(member.muted_until.map(|at| at.0)),
        member.delivered.into(),
        member.read.into(),
        (stamp.0 as i64).into(),
    ]
}

/// An entry's values.
pub(super) fn entry(no: i64, entry: &Entry) -> Vec<Arg> {
    new_entry(no, entry.seq, &entry.new)
}

/// The values of an entry that gets that place.
pub(super) fn new_entry(no: i64, seq: Seq, entry: &NewEntry) -> Vec<Arg> {
    vec![
        no.into(),
        seq.into(),
        (entry.id.0 as i64).into(),
        Arc::<str>::from(&entry.from).into(),
        entry.at.0.into(),
        Arg::Text(entry.cm_id.as_ref().map(Arc::from)),
        (entry.digest as i64).into(),
        entry.body.kind().as_str().into(),
        Arc::clone(entry.body.json()).into(),
        Arg::Int(entry.reply_to.map(|seq| seq.0 as i64)),
        Arg::Text(write_mentions(&entry.mentions).map(Arc::from)),
        Arg::Int(entry.expires_at.map(|at| at.0)),
    ]
}
