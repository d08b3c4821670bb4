//! A batch, and what of it goes to the hot tier.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use im_core::model::{ConversationId, Holder, Seq};
use im_core::port::{
    Appended, Commit, Committed, HotAnswer, HotCommit, LogQuery, PortError, PortErrorKind, Rejected,
};
use im_core::rule::commit::conflicts;
use tokio::time::Instant;

use crate::Inner;
use crate::plan::{hot_commit, rounds};

/// How long a commit goes on being tried when others are in its way.
const APPEND_WAIT: Duration = Duration::from_secs(4);
/// How long one waits for a log that is on its way to the cold store.
pub(crate) const CLOSED_WAIT: Duration = Duration::from_millis(5);
/// Logs that are warmed at once.
const WARMING_MAX: usize = 8;

/// The answers of a batch, as far as they are known.
pub(crate) type Answers = Vec<Option<Result<Committed, Rejected>>>;

/// Commits for the hot tier that have no answer yet, with their places in the batch.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    pub(crate) at: Vec<usize>,
    pub(crate) commits: Vec<HotCommit>,
}

impl Todo {
    pub(crate) fn push(&mut self, at: usize, commit: HotCommit) {
        self.at.push(at);
        self.commits.push(commit);
    }
}

/// Logs that answers of the tier stand on, and the number under which it gave all of them; `None`
/// when it was not one.
type Reached = BTreeMap<ConversationId, Option<Holder>>;

/// What one call of the tier left to do.
#[derive(Debug, Default)]
struct Left {
    again: Todo,
    /// Logs that the tier has not, and whether anything is appended to them.
    cold: BTreeMap<ConversationId, bool>,
    /// The tier did not answer for these.
    unanswered: Vec<(usize, PortError)>,
    closed: BTreeSet<ConversationId>,
    /// Logs of which the tier may have lost the end.
    doubtful: BTreeSet<ConversationId>,
    /// Logs of which the store must be asked, and where they begin in the tier.
    asked: BTreeMap<ConversationId, Seq>,
}

impl Left {
    fn note_wait(&mut self, conv: &ConversationId, wait: &HotAnswer) {
        let logs = match wait {
            HotAnswer::Closed => &mut self.closed,
            HotAnswer::Doubtful => &mut self.doubtful,
            _ => return,
        };
        logs.insert(conv.clone());
    }
}

impl Inner {
    pub(crate) async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let mut answers: Answers = batch.iter().map(|_| None).collect();
        for round in rounds(batch) {
            if round.is_hot {
                self.append(batch, &round.at, &mut answers).await;
            } else {
                self.direct(batch, &round.at, &mut answers).await;
            }
        }
        let answers = answers.into_iter();
        answers
            .map(|it| it.unwrap_or_else(|| Err(away())))
            .collect()
    }

    async fn append(&self, batch: &[Commit], at: &[usize], answers: &mut Answers) {
        let mut todo = Todo::default();
        for at in at {
            todo.push(*at, hot_commit(&batch[*at]));
        }
        let deadline = Instant::now() + APPEND_WAIT;
        let mut forced = BTreeSet::new();
        let mut reached = Reached::new();
        while !todo.at.is_empty() && Instant::now() < deadline {
            let mut left = self.try_append(batch, todo, answers, &mut reached).await;
            if !left.closed.is_empty() {
                tokio::time::sleep(CLOSED_WAIT).await;
            }
            todo = left.again;
            let late = left.closed.iter().filter(|conv| self.closed.is_late(conv));
            let stuck = left.doubtful.iter().chain(late);
            left.unanswered
                .extend(self.go_on_with(stuck, &mut todo).await);
            if !left.asked.is_empty() {
                self.ask_all(batch, &left.asked, &mut todo, answers).await;
            }
            if !left.unanswered.is_empty() {
                self.without_tier(batch, left.unanswered, answers).await;
            }
            if !left.cold.is_empty() {
                self.place_cold(batch, left.cold, &mut todo, &mut forced, answers)
                    .await;
            }
        }
        if self.is_cached() {
            self.nudge.notify_one();
        } else if !reached.is_empty() {
            self.confirm(batch, at, &reached, answers).await;
        }
    }

    /// One call of the tier; what has an answer then gets it.
    async fn try_append(
        &self,
        batch: &[Commit],
        todo: Todo,
        answers: &mut Answers,
        reached: &mut Reached,
    ) -> Left {
        let found = self.hot.append(&todo.commits).await;
        let mut left = Left::default();
        for ((at, mut hot), answer) in todo.at.into_iter().zip(todo.commits).zip(found) {
            let commit = &batch[at];
            let answer = match answer {
                Ok(HotAnswer::Done {
                    first,
                    version,
                    holder,
                }) => {
                    note_reached(reached, commit, Some(holder));
                    Ok(done(commit, first, version))
                }
                Ok(HotAnswer::Sent { found, version }) => {
                    note_reached(reached, commit, None);
                    self.sent(commit, &hot, found, version).await
                }
                Ok(HotAnswer::Conflict) => Err(Rejected::Conflict),
                Ok(HotAnswer::Busy) => {
                    metrics::counter!("im_hot_busy_total").increment(1);
                    Err(PortError::new(PortErrorKind::Busy).into())
                }
                Ok(HotAnswer::Ask { first }) => {
                    left.asked.insert(commit.conv.clone(), first);
                    left.again.push(at, hot);
                    continue;
                }
                Ok(HotAnswer::Version(known)) => match self.is_still(commit, &mut hot, known).await
                {
                    Ok(true) => {
                        left.again.push(at, hot);
                        continue;
                    }
                    Ok(false) => Err(Rejected::Conflict),
                    Err(error) => {
                        left.unanswered.push((at, error));
                        continue;
                    }
                },
                Ok(HotAnswer::Cold) => {
                    left.cold.insert(commit.conv.clone(), false);
                    left.again.push(at, hot);
                    continue;
                }
                Ok(wait @ (HotAnswer::Closed | HotAnswer::Doubtful | HotAnswer::Later)) => {
                    left.note_wait(&commit.conv, &wait);
                    left.again.push(at, hot);
                    continue;
                }
                Err(error) => {
                    left.unanswered.push((at, error));
                    continue;
                }
            };
            if answer.is_ok() {
                self.closed.is_open(&commit.conv);
            }
            answers[at] = Some(answer);
        }
        for hot in &left.again.commits {
            if let Some(appends) = left.cold.get_mut(&hot.conv) {
                *appends |= !hot.entries.is_empty();
            }
        }
        left
    }

    /// Lets logs go on that stand still. Those with which that fails are tried again, or, where the
    /// store alone can answer, taken from what is to be done with the tier: it may be one that can
    /// be read, and takes nothing.
    async fn go_on_with(
        &self,
        stuck: impl Iterator<Item = &ConversationId>,
        todo: &mut Todo,
    ) -> Vec<(usize, PortError)> {
        let mut failed = BTreeMap::new();
        for conv in stuck {
            if let Err(error) = self.take_over(conv).await {
                failed.insert(conv, error);
            }
        }
        if failed.is_empty() {
            return Vec::new();
        }
        if self.is_cached() {
            tokio::time::sleep(CLOSED_WAIT).await;
            return Vec::new();
        }
        let mut unanswered = Vec::new();
        let all = std::mem::take(todo);
        for (at, hot) in all.at.into_iter().zip(all.commits) {
            match failed.get(&hot.conv) {
                Some(error) => unanswered.push((at, error.clone())),
                None => todo.push(at, hot),
            }
        }
        unanswered
    }

    /// The tier does not answer. Answers that say *cached* can't be given then; others can.
    async fn without_tier(
        &self,
        batch: &[Commit],
        unanswered: Vec<(usize, PortError)>,
        answers: &mut Answers,
    ) {
        if !self.is_cached() {
            let at: Vec<_> = unanswered.into_iter().map(|(at, _)| at).collect();
            return self.direct(batch, &at, answers).await;
        }
        for (at, error) in unanswered {
            answers[at] = Some(Err(error.into()));
        }
    }

    /// Warms logs that are appended to often; what is for others goes to the cold store at once.
    async fn place_cold(
        &self,
        batch: &[Commit],
        cold: BTreeMap<ConversationId, bool>,
        todo: &mut Todo,
        forced: &mut BTreeSet<ConversationId>,
        answers: &mut Answers,
    ) {
        let (hot, mut direct): (Vec<_>, BTreeSet<_>) = (
            cold.iter()
                .filter(|(conv, appends)| {
                    forced.contains(*conv) || **appends && self.touched.is_second(conv)
                })
                .map(|(conv, _)| conv.clone())
                .collect(),
            cold.keys().cloned().collect(),
        );
        let warming = hot.into_iter().map(|conv| async {
            let warmed = self.warm(&conv).await;
            (conv, warmed)
        });
        let mut failed = BTreeMap::new();
        let mut warming = futures_util::stream::iter(warming).buffer_unordered(WARMING_MAX);
        while let Some((conv, warmed)) = warming.next().await {
            match warmed {
                Ok(true) => drop(direct.remove(&conv)),
                // It does not exist, which the cold store is to say.
                Ok(false) => {}
                // The store alone can answer.
                Err(_) if !self.is_cached() => {}
                Err(error) => {
                    direct.remove(&conv);
                    failed.insert(conv, error);
                }
            }
        }
        let mut at_direct = Vec::new();
        let rest = std::mem::take(todo);
        for (at, hot) in rest.at.into_iter().zip(rest.commits) {
            if let Some(error) = failed.get(&hot.conv) {
                answers[at] = Some(Err(error.clone().into()));
            } else if direct.contains(&hot.conv) {
                at_direct.push((at, hot));
            } else {
                todo.push(at, hot);
            }
        }
        let commits: Vec<_> = at_direct.iter().map(|(at, _)| batch[*at].clone()).collect();
        if commits.is_empty() {
            return;
        }
        let found = self.cold.commit(&commits).await;
        for ((at, hot), answer) in at_direct.into_iter().zip(found) {
            if is_fenced(&answer) {
                // It became hot meanwhile, or was hot and the tier forgot it.
                forced.insert(hot.conv.clone());
                todo.push(at, hot);
            } else {
                answers[at] = Some(answer);
            }
        }
    }

    /// Whether a commit that was decided on another version than the tier's is good all the same:
    /// then it is brought up to the store's.
    async fn is_still(
        &self,
        commit: &Commit,
        hot: &mut HotCommit,
        known: Seq,
    ) -> Result<bool, PortError> {
        let users: Vec<_> = commit.actor.iter().cloned().collect();
        let Some(view) = self.cold.view(&commit.conv, &users).await? else {
            return Ok(false);
        };
        let member = view.members.first();
        if conflicts(commit, Some(&view.conversation), member) {
            return Ok(false);
        }
        if view.conversation.version != known {
            // The store took the log back while the tier was away.
            self.take_over(&commit.conv).await?;
        }
        hot.expect_version = Some(view.conversation.version);
        Ok(true)
    }

    /// Brings what was appended to the cold store before it is answered.
    async fn confirm(
        &self,
        batch: &[Commit],
        at: &[usize],
        reached: &Reached,
        answers: &mut Answers,
    ) {
        let convs: Vec<_> = reached.keys().cloned().collect();
        let cold = self.flush_logs(&convs).await.unwrap_or_default();
        for at in at {
            let conv = &batch[*at].conv;
            let (Some(Ok(committed)), Some(holder)) = (&answers[*at], reached.get(conv)) else {
                continue;
            };
            let last = committed.appended.iter().map(|it| it.seq).max();
            let is_there = match cold.get(conv) {
                // The same life of the log: what stands there is what was answered.
                Some((flushed, cold)) if Some(*flushed) == *holder && last <= Some(*cold) => true,
                Some(_) => self.is_cold(conv, committed).await,
                None => false,
            };
            if !is_there {
                answers[*at] = Some(Err(away()));
            }
        }
    }

    /// Whether the cold store has what was appended, where it was. The tier may have forgotten it
    /// meanwhile, and have put something else in its place.
    async fn is_cold(&self, conv: &ConversationId, committed: &Committed) -> bool {
        for it in &committed.appended {
            let query = LogQuery::After {
                seq: Seq(it.seq.0.saturating_sub(1)),
                limit: 1,
                bytes: usize::MAX,
            };
            let there = self.cold.log(conv, query).await;
            let there = there.ok().and_then(|there| there.into_iter().next());
            if there.is_none_or(|there| (there.seq, there.new.id) != (it.seq, it.id)) {
                return false;
            }
        }
        true
    }
}

/// Notes that an answer stands on a log.
fn note_reached(reached: &mut Reached, commit: &Commit, holder: Option<Holder>) {
    let known = reached.entry(commit.conv.clone()).or_insert(holder);
    if *known != holder {
        *known = None;
    }
}

fn done(commit: &Commit, first: Seq, version: Seq) -> Committed {
    let places = (first.0..)
        .map(Seq)
        .zip(im_core::rule::commit::appends(commit));
    let appended = places.map(|(seq, entry)| Appended {
        seq,
        id: entry.id,
        at: entry.at,
        dup: false,
    });
    Committed {
        appended: appended.collect(),
        version,
        created: false,
    }
}

pub(crate) fn is_fenced<T>(answer: &Result<T, Rejected>) -> bool {
    matches!(answer, Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Fenced)
}

pub(crate) fn away() -> Rejected {
    PortError::new(PortErrorKind::Unavailable).into()
}
