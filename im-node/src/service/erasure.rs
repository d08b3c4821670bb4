//! Erasing a person: what they said, what is kept of them, their places in conversations, and the
//! key that their words were sealed with. It is begun with a fact, and done bit by bit by whichever
//! node finds that due, so that a crash takes nothing of it back. The fact stays: nobody is that
//! user again.

use std::sync::Arc;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    ConversationId, Entry, Fact, FactKey, FactOwner, FactTable, Member, Role, Seq, Stamps,
    Timestamp, UserId, Value, direct_id,
};
use im_core::port::{
    Commit, FactQuery, LogQuery, MemberChange, MemberOp, MembershipLine, PortError, Put, Rejected,
    Was, Write,
};
use im_core::rule::{Mark, MemberEvent, MemberEventOp};

use super::clear::is_said;
use super::facts::{put_on, remove, set};
use super::params::{Params, bad};
use super::table::Call;
use crate::appender::{failure, port_failure};
use crate::node::Inner;
use crate::router::BusMessage;

/// Pages of logs read before it is noted how far it is.
const PAGES_MAX: usize = 50;
/// Entries of a page.
const PAGE: usize = 200;
/// Bytes of bodies of a page.
const PAGE_BYTES: usize = 1 << 20;
/// Facts removed in one commit.
const FACTS: usize = 100;
/// Members among whom a new owner is looked for.
const HEIRS_MAX: usize = 500;
/// How long a node has for a part before another one may take over.
const LEASE_MS: u64 = 30_000;
/// How often leaving is decided anew because the members changed meanwhile.
const TRIES_MAX: u32 = 8;

fn key(user: &UserId) -> FactKey {
    FactKey::new(FactTable::Erasure, user.as_str(), "")
}

/// `me.erase`: everything that is the caller's goes, for good. `confirm` is their own id.
pub(super) async fn erase(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let user = &call.caller.user;
    if params.text("confirm")? != user.as_str() {
        return Err(bad("confirm", "must be the id of the user who is erased"));
    }
    call.inner.begin_erasure(user).await?;
    Ok(Value::object([("state", Value::from("erasing"))]))
}

/// How far an erasure is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    /// Grows with every note, so that of two nodes one goes on.
    turn: u64,
    /// Conversations up to there are done.
    stamps: Stamps,
    /// In the next one, entries up to there.
    log: Option<(ConversationId, Seq)>,
    /// Nothing is left to do.
    done: bool,
}

impl Progress {
    fn to_json(&self) -> String {
        let mut fields = vec![
            ("turn", Value::from(self.turn)),
            ("stamps", self.stamps.to_string().into()),
        ];
        if let Some((conv, seq)) = &self.log {
            fields.push(("conv", conv.as_str().into()));
            fields.push(("seq", seq.0.into()));
        }
        if self.done {
            fields.push(("done", true.into()));
        }
        Value::object(fields).to_json()
    }

    fn read(text: &str) -> Option<Self> {
        let value = Value::from_json(text).ok()?;
        let count = |field| u64::try_from(value.get(field)?.as_int()?).ok();
        let conv = value.get("conv").and_then(Value::as_text);
        let conv = conv.and_then(|conv| ConversationId::new(conv.to_owned()).ok());
        Some(Self {
            turn: count("turn")?,
            stamps: value.get("stamps")?.as_text()?.parse().ok()?,
            log: conv.zip(count("seq").map(Seq)),
            done: value.get("done").is_some(),
        })
    }
}

impl Inner {
    /// Whether a user was erased, or is being erased.
    pub(crate) async fn is_erased(&self, user: &UserId) -> Result<bool, PortError> {
        let found = self.store.facts(&FactQuery::One(key(user))).await?;
        Ok(!found.is_empty())
    }

    /// Refuses who was erased.
    pub(crate) async fn not_erased(&self, user: &UserId) -> Result<(), Failure> {
        let is_erased = self.is_erased(user).await;
        if is_erased.map_err(|error| port_failure(&error))? {
            return Err(Failure::new(ErrorCode::Forbidden, "this user was erased"));
        }
        Ok(())
    }

    /// From here on the user is nobody; the rest follows.
    pub(crate) async fn begin_erasure(&self, user: &UserId) -> Result<(), Failure> {
        let key = key(user);
        let begun = Write::Put(Put {
            to: Some((Progress::default().to_json(), Some(self.clock.timestamp()))),
            was: Was::Absent,
            key,
        });
        let commit = Commit {
            conv: direct_id(user, user),
            expect_version: None,
            actor: None,
            writes: vec![begun],
        };
        match self.appender.commit(commit).await {
            // It was begun before.
            Ok(_) | Err(Rejected::Conflict) => Ok(()),
            Err(rejected) => Err(failure(&rejected)),
        }
    }

    /// Goes on with an erasure that is due.
    pub(crate) async fn erase_due(self: &Arc<Self>, fact: &Fact) -> Result<(), Failure> {
        let progress = Progress::read(&fact.value).unwrap_or_default();
        let Ok(user) = UserId::new(fact.key.owner.clone()) else {
            return self.end(fact, Vec::new()).await;
        };
        let until = self.clock.timestamp().plus_ms(LEASE_MS);
        let Some((fact, mut progress)) = self.note(fact, progress, Some(until)).await? else {
            // Another node does it.
            return Ok(());
        };
        self.shut_out(&user);
        let is_through = self.erase_logs(&user, &mut progress).await?;
        if is_through {
            self.erase_facts(&user).await?;
            self.delete_key(&user).await?;
            progress.done = true;
            tracing::info!("a user was erased");
        }
        let next = (!is_through).then(|| self.clock.timestamp());
        self.note(&fact, progress, next).await.map(drop)
    }

    /// Notes how far it is, and when it goes on; `None` when another node noted something.
    async fn note(
        &self,
        fact: &Fact,
        mut progress: Progress,
        at: Option<Timestamp>,
    ) -> Result<Option<(Fact, Progress)>, Failure> {
        progress.turn += 1;
        let noted = Fact {
            key: fact.key.clone(),
            value: progress.to_json(),
            at,
        };
        let write = put_on(fact, Some((noted.value.clone(), at)));
        let is_ours = self.commit_due(fact, vec![write]).await?;
        Ok(is_ours.then_some((noted, progress)))
    }

    fn shut_out(&self, user: &UserId) {
        self.hub.revoke(user, None, self.settings.reconnect_ms);
        self.publish(&BusMessage::Revoked {
            user: user.clone(),
            device: None,
        });
    }

    /// Some pages of their conversations; whether all are done.
    async fn erase_logs(&self, user: &UserId, progress: &mut Progress) -> Result<bool, Failure> {
        for _ in 0..PAGES_MAX {
            let list = self.store.memberships(user, &progress.stamps, 1, false);
            let list = list.await.map_err(|error| port_failure(&error))?;
            let Some(line) = list.lines.first() else {
                progress.stamps = list.stamps;
                if list.more {
                    continue;
                }
                return Ok(true);
            };
            let conv = &line.conversation.id;
            let from = match progress.log.take() {
                Some((known, seq)) if known == *conv => seq,
                _ => Seq(0),
            };
            match self.erase_page(user, line, from).await? {
                Some(next) => progress.log = Some((conv.clone(), next)),
                None => {
                    self.part_with(user, line).await?;
                    progress.stamps = list.stamps;
                }
            }
        }
        Ok(false)
    }

    /// Erases what they said in a page of a log; the place to go on from, if there is more.
    async fn erase_page(
        &self,
        user: &UserId,
        line: &MembershipLine,
        from: Seq,
    ) -> Result<Option<Seq>, Failure> {
        let query = LogQuery::After {
            seq: from,
            limit: PAGE,
            bytes: PAGE_BYTES,
        };
        let conv = &line.conversation.id;
        let page = self.store.log(conv, query).await;
        let page = page.map_err(|error| port_failure(&error))?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(None);
        };
        let own = |entry: &&Entry| entry.from == *user && is_said(entry.body.kind());
        let seqs = page.iter().filter(own).map(|entry| entry.seq).collect();
        let reactions = Mark::reactions_of(user);
        let range = (first.seq, last.seq);
        self.clear(
            conv,
            range,
            seqs,
            |what| what.starts_with(&reactions),
            Vec::new(),
        )
        .await?;
        let end = line.member.left_seq.unwrap_or(line.conversation.head);
        Ok((last.seq < end).then_some(last.seq))
    }

    /// Leaves a conversation; what they owned alone another one owns from then on: the first
    /// admin, else the first member, in the order of their ids.
    async fn part_with(&self, user: &UserId, line: &MembershipLine) -> Result<(), Failure> {
        if !line.member.is_in() {
            return Ok(());
        }
        let conv = &line.conversation.id;
        for _ in 0..TRIES_MAX {
            let view = self.view(conv, std::slice::from_ref(user)).await?;
            let Some(view) = view else { return Ok(()) };
            let Some(me) = view.members.first().filter(|me| me.is_in()) else {
                return Ok(());
            };
            let mut writes = Vec::new();
            if me.role == Role::Owner
                && let Some(heir) = self.heir(conv, user).await?
            {
                let role = MemberOp::Role(Role::Owner);
                let event = MemberEventOp::Role(Role::Owner);
                writes.extend(self.member_writes(user, event, role, heir));
            }
            let leaves = (MemberEventOp::Leave, MemberOp::Remove);
            writes.extend(self.member_writes(user, leaves.0, leaves.1, user.clone()));
            let commit = Commit {
                conv: conv.clone(),
                expect_version: Some(view.conversation.version),
                actor: None,
                writes,
            };
            match self.appender.commit(commit).await {
                Ok(_) => return Ok(()),
                Err(Rejected::Conflict) => {}
                Err(rejected) => return Err(failure(&rejected)),
            }
        }
        Err(failure(&Rejected::Conflict))
    }

    fn member_writes(
        &self,
        by: &UserId,
        event: MemberEventOp,
        op: MemberOp,
        user: UserId,
    ) -> [Write; 2] {
        let users = vec![user.clone()];
        let body = MemberEvent { op: event, users }.to_body();
        let change = Write::Member(MemberChange { user, op });
        [self.server_entry(by, body), change]
    }

    async fn heir(&self, conv: &ConversationId, user: &UserId) -> Result<Option<UserId>, Failure> {
        let members = self.store.members(conv, None, HEIRS_MAX).await;
        let members = members.map_err(|error| port_failure(&error))?;
        let mut others: Vec<&Member> = members.iter().filter(|it| it.user != *user).collect();
        // Stable: of one role the order stays.
        others.sort_by_key(|member| std::cmp::Reverse(member.role));
        Ok(others.first().map(|heir| heir.user.clone()))
    }

    /// Removes everything that is kept of them beside the logs, and of theirs with others. Whom
    /// others block they go on blocking.
    async fn erase_facts(&self, user: &UserId) -> Result<(), Failure> {
        for table in FactTable::ALL.iter().copied() {
            match table.owner() {
                FactOwner::User if !stays(table) => self.remove_own(user, table).await?,
                FactOwner::Pair => self.remove_pairs(user, table).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn remove_own(&self, user: &UserId, table: FactTable) -> Result<(), Failure> {
        loop {
            let facts = self.facts(&all_of(user, table)).await?;
            if facts.is_empty() {
                return Ok(());
            }
            let writes = facts.into_iter().map(|fact| remove(fact.key));
            self.put_all(direct_id(user, user), writes.collect())
                .await?;
        }
    }

    async fn remove_pairs(&self, user: &UserId, table: FactTable) -> Result<(), Failure> {
        loop {
            let facts = self.facts(&all_of(user, table)).await?;
            if facts.is_empty() {
                return Ok(());
            }
            for fact in facts {
                let Ok(other) = UserId::new(fact.key.key.clone()) else {
                    continue;
                };
                let pairs = FactTable::ALL.iter().copied();
                let pairs = pairs.filter(|table| table.owner() == FactOwner::Pair);
                let both = pairs.flat_map(|table| {
                    let key = |a: &UserId, b: &UserId| FactKey::new(table, a.as_str(), b.as_str());
                    [remove(key(user, &other)), remove(key(&other, user))]
                });
                let place = direct_id(user, &other);
                self.put_all(place.clone(), both.collect()).await?;
                self.forget_barrier(place);
            }
        }
    }

    /// Deletes the key that their words were sealed with, if they were: what is left of them in
    /// backups is gone with it.
    async fn delete_key(&self, user: &UserId) -> Result<(), Failure> {
        let key = FactKey::new(FactTable::DataKey, user.as_str(), "");
        if self.fact(&key).await?.is_none() {
            return Ok(());
        }
        let gone = Value::object([("gone", Value::from(self.clock.timestamp().0))]);
        let write = set(key, gone.to_json());
        self.put_all(direct_id(user, user), vec![write]).await
    }

    /// Commits what needs no version.
    pub(super) async fn put_all(
        &self,
        conv: ConversationId,
        writes: Vec<Write>,
    ) -> Result<(), Failure> {
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes,
        };
        let done = self.appender.commit(commit).await;
        done.map(drop).map_err(|rejected| failure(&rejected))
    }
}

/// What stays of a user who was erased: that they were, and that their key is deleted.
const fn stays(table: FactTable) -> bool {
    matches!(table, FactTable::Erasure | FactTable::DataKey)
}

fn all_of(user: &UserId, table: FactTable) -> FactQuery {
    FactQuery::Of {
        table,
        owner: user.as_str().to_owned(),
        after: None,
        below: None,
        limit: FACTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_is_read_as_it_was_noted() {
        let conv = ConversationId::new("g\"1").unwrap();
        for log in [None, Some((conv, Seq(9)))] {
            let progress = Progress {
                turn: 3,
                stamps: Stamps::one(im_core::model::Stamp(7)),
                done: log.is_none(),
                log,
            };
            assert_eq!(Progress::read(&progress.to_json()), Some(progress));
        }
    }
}
