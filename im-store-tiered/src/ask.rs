//! Ids that the tier does not know: the store is asked whether they were used.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use im_core::model::{CmId, ConversationId, Seq, UserId};
use im_core::port::{Commit, Committed, HotCommit, LogQuery, PortError, PortErrorKind, Rejected};
use im_core::rule::commit::{Stored, duplicate_at};

use crate::Inner;
use crate::append::{Answers, Todo};

/// Questions that are asked at once.
const ASKING_MAX: usize = 8;

/// The largest id of each sender in each log, `None` for who has none.
type Floors = BTreeMap<(ConversationId, UserId), Option<CmId>>;

impl Inner {
    /// Asks about all commits of these logs. Those that were sent before are answered; the others
    /// say that they are new, if the log begins in the tier where it did then.
    pub(crate) async fn ask_all(
        &self,
        batch: &[Commit],
        asked: &BTreeMap<ConversationId, Seq>,
        todo: &mut Todo,
        answers: &mut Answers,
    ) {
        let about: Vec<_> = todo.commits.iter().collect();
        let about = about.into_iter().filter(|it| asked.contains_key(&it.conv));
        let floors = match self.floors(about).await {
            Ok(floors) => floors,
            Err(error) => {
                let rest = std::mem::take(todo);
                for (at, hot) in rest.at.into_iter().zip(rest.commits) {
                    if asked.contains_key(&hot.conv) {
                        answers[at] = Some(Err(error.clone().into()));
                    } else {
                        todo.push(at, hot);
                    }
                }
                return;
            }
        };
        let rest = std::mem::take(todo);
        let questions = rest.at.into_iter().zip(rest.commits).map(|(at, hot)| {
            let floors = &floors;
            async move {
                let answer = match asked.contains_key(&hot.conv) {
                    true => self.ask(&batch[at], &hot, floors).await,
                    false => Ok(None),
                };
                (at, hot, answer)
            }
        });
        let mut questions = futures_util::stream::iter(questions).buffered(ASKING_MAX);
        while let Some((at, mut hot, answer)) = questions.next().await {
            match answer {
                Ok(None) => {
                    if let Some(first) = asked.get(&hot.conv) {
                        say_new(&mut hot, *first, &floors);
                    }
                    todo.push(at, hot);
                }
                Ok(Some(committed)) => answers[at] = Some(Ok(committed)),
                Err(rejected) => answers[at] = Some(Err(rejected)),
            }
        }
    }

    async fn floors(&self, about: impl Iterator<Item = &HotCommit>) -> Result<Floors, PortError> {
        let mut senders = Floors::new();
        for commit in about {
            let entries = commit.entries.iter().filter(|it| it.cm_id.is_some());
            senders.extend(entries.map(|it| ((commit.conv.clone(), it.from.clone()), None)));
        }
        let questions = senders.into_keys().map(|(conv, sender)| async move {
            let query = LogQuery::Newest {
                sender: sender.clone(),
            };
            let newest = self.cold.log(&conv, query).await?;
            let newest = newest.into_iter().next().and_then(|it| it.new.cm_id);
            Ok(((conv, sender), newest))
        });
        let found = futures_util::stream::iter(questions).buffered(ASKING_MAX);
        found.try_collect().await
    }

    /// What a commit got that was sent before.
    async fn ask(
        &self,
        commit: &Commit,
        hot: &HotCommit,
        floors: &Floors,
    ) -> Result<Option<Committed>, Rejected> {
        let mut found = Vec::new();
        for (sender, cm_id) in ids(hot) {
            let floor = floors.get(&(hot.conv.clone(), sender.clone()));
            let may_be = floor.is_some_and(|floor| Some(cm_id) <= floor.as_ref());
            found.push(match may_be {
                true => self.stored(&commit.conv, sender, cm_id).await?,
                false => None,
            });
        }
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let view = self.cold.view(&commit.conv, &[]).await?;
        let version = view.map_or(Seq(0), |view| view.conversation.version);
        duplicate(commit, found, version)
    }

    /// What a commit got of which the tier knows that it was sent: at least some of its ids. The
    /// entries of the others may be among those that the tier keeps no longer.
    pub(crate) async fn sent(
        &self,
        commit: &Commit,
        hot: &HotCommit,
        mut found: Vec<Option<Stored>>,
        version: Seq,
    ) -> Result<Committed, Rejected> {
        for (found, (sender, cm_id)) in found.iter_mut().zip(ids(hot)) {
            if found.is_none() {
                *found = self.stored(&commit.conv, sender, cm_id).await?;
            }
        }
        duplicate(commit, found, version)?
            .ok_or_else(|| PortError::new(PortErrorKind::Internal).into())
    }

    /// What stands under an id.
    async fn stored(
        &self,
        conv: &ConversationId,
        sender: &UserId,
        cm_id: &CmId,
    ) -> Result<Option<Stored>, PortError> {
        let query = LogQuery::Sent {
            sender: sender.clone(),
            cm_id: cm_id.clone(),
        };
        Ok(self.log(conv, query).await?.first().map(Stored::from))
    }
}

/// The ids of a commit's entries, of those that have one.
fn ids(hot: &HotCommit) -> impl Iterator<Item = (&UserId, &CmId)> {
    let entries = hot.entries.iter();
    entries.filter_map(|it| Some((&it.from, it.cm_id.as_ref()?)))
}

/// The answer to a commit under whose ids this was found, in their order.
fn duplicate(
    commit: &Commit,
    found: Vec<Option<Stored>>,
    version: Seq,
) -> Result<Option<Committed>, Rejected> {
    let mut found = found.into_iter();
    duplicate_at(commit, version, |_, _| found.next().flatten())
}

/// The store has none of the commit's ids.
fn say_new(hot: &mut HotCommit, first: Seq, floors: &Floors) {
    hot.asked = Some(first);
    hot.floors.clear();
    for entry in hot.entries.iter().filter(|it| it.cm_id.is_some()) {
        let floor = floors.get(&(hot.conv.clone(), entry.from.clone()));
        if !hot.floors.iter().any(|(user, _)| *user == entry.from) {
            let floor = floor.cloned().flatten();
            hot.floors.push((entry.from.clone(), floor));
        }
    }
}
