//! Many at once: gapless, each once, and stamps that never cover what could not be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use im_core::model::{ConversationId, Seq, Stamps};
use im_core::port::Rejected;
use tokio::task::JoinSet;

use super::kit::*;

/// How many tasks write at once.
const TASKS: usize = 16;
/// How many commits each of them makes.
const EACH: usize = 20;
/// How many versions each task wins.
const WINS: usize = 4;
/// How often a task tries to win; of each round of all tasks one wins.
const TRIES_MAX: usize = TASKS * WINS * 20;

/// More pages than one round of reading can have: each covers a change, and these are all.
const PAGES_MAX: usize = TASKS * EACH * 4;

/// Runs a task of each number, all at once; what each gave.
async fn at_once<T, F>(task: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        tasks.spawn(task(n));
    }
    tasks.join_all().await
}

fn whole_log() -> Vec<u64> {
    (1..=(TASKS * EACH) as u64).collect()
}

/// Tasks that append to one conversation leave a log without a gap, each entry once and where the
/// answer said, each task's in its order.
pub async fn one_conversation_from_many_tasks_has_no_gap(store: Shared) {
    group(&store, "g", &["al"]).await;
    let all = at_once(|task| {
        let store = Arc::clone(&store);
        async move {
            let mut places = Vec::new();
            for n in 0..EACH {
                let text = format!("{task} {n}");
                let done = say(&store, "g", &format!("u{task}"), &text).await;
                places.push((done.seq, text));
            }
            places
        }
    });
    let mut expected = BTreeMap::new();
    for places in all.await {
        assert!(places.is_sorted_by_key(|(seq, _)| *seq));
        for (seq, text) in places {
            assert_eq!(expected.insert(seq, text), None, "{seq} was given twice");
        }
    }
    let found = log(&store, "g").await;
    assert_eq!(seqs(&found), whole_log());
    let found: BTreeMap<_, _> = found.iter().map(|it| (it.seq, text_of(it))).collect();
    assert_eq!(found, expected);
}

/// Tasks that write batches over the same conversations in different orders don't hinder one
/// another.
pub async fn many_conversations_from_many_tasks_have_no_gap(store: Shared) {
    let groups: Vec<_> = (0..8).map(|n| format!("g{n}")).collect();
    for id in &groups {
        group(&store, id, &["al", "bo"]).await;
    }
    at_once(|task| {
        let (store, mut groups) = (Arc::clone(&store), groups.clone());
        if task % 2 == 0 {
            // Half of the tasks from the other end: the order in which rows are locked.
            groups.reverse();
        }
        async move {
            for n in 0..EACH {
                let say = |id: &String| Change::to(id).say("al", &format!("{task} {n}"));
                let changes = groups.iter().map(|id| say(id).read("bo", n as u64));
                let batch: Vec<_> = changes.map(Change::commit).collect();
                for answer in store.commit(&batch).await {
                    answer.expect("nothing is wrong with it");
                }
            }
        }
    })
    .await;
    for id in &groups {
        let found = log(&store, id).await;
        assert_eq!(seqs(&found), whole_log());
        let texts: BTreeSet<_> = found.iter().map(text_of).collect();
        assert_eq!(texts.len(), TASKS * EACH, "each once");
    }
}

/// The same send from many tasks at once is stored once, and all get the same answer.
pub async fn the_same_send_from_many_tasks_is_stored_once(store: Shared) {
    group(&store, "g", &["al"]).await;
    for n in 1..=EACH as u64 {
        let answers = at_once(|_| {
            let store = Arc::clone(&store);
            async move {
                let entry = sent("al", &format!("m{n}"), &n.to_string());
                Change::to("g").append(entry).done(&store).await.appended[0]
            }
        });
        let answers = answers.await;
        let firsts = answers.iter().filter(|it| !it.dup).count();
        assert_eq!(firsts, 1, "exactly one is the first");
        for it in &answers {
            assert_eq!(
                (it.seq, it.id, it.at),
                (Seq(n), answers[0].id, answers[0].at)
            );
        }
    }
    let expected: Vec<_> = (1..=EACH).map(|n| n.to_string()).collect();
    assert_eq!(texts(&store, "g").await, expected);
}

/// The same conversation made from many tasks is made once, and nobody's entry is lost.
pub async fn a_conversation_made_by_many_tasks_is_one(store: Shared) {
    for round in 0..EACH {
        let id = format!("g{round}");
        let answers = at_once(|task| {
            let (store, id) = (Arc::clone(&store), id.clone());
            async move {
                let change = Change::to(&id).create(&["al", "bo"]).expect(Seq(0));
                change.say("al", &task.to_string()).done(&store).await
            }
        });
        let made = answers.await.iter().filter(|it| it.created).count();
        assert_eq!(made, 1);
        assert_eq!(texts(&store, &id).await.len(), TASKS);
        assert_eq!(conversation(&store, &id).await.member_count, 2);
    }
}

/// The same request from many tasks is done once.
pub async fn a_request_of_many_tasks_is_done_once(store: Shared) {
    for round in 0..EACH {
        let key = answer("al", &format!("k{round}"));
        let answers = at_once(|task| {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move {
                let change = Change::to(&format!("g{round}")).create(&["al"]);
                let change = change.record(&key, &task.to_string(), NEVER);
                change.on(&store).await
            }
        });
        let answers = answers.await;
        let done = answers.iter().filter(|it| it.is_ok()).count();
        assert_eq!(done, 1);
        let first = recorded(&store, &key, AT).await;
        for refused in answers.into_iter().filter_map(Result::err) {
            let Rejected::Done(value) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(Some(value), first);
        }
    }
}

/// Of those who decided on one version exactly one comes through; all come through in the end.
pub async fn one_of_many_wins_a_version(store: Shared) {
    group(&store, "g", &["al"]).await;
    let won = at_once(|task| win(Arc::clone(&store), task)).await;
    let versions: BTreeSet<_> = won.into_iter().flatten().collect();
    assert_eq!(versions.len(), TASKS * WINS, "no version is won twice");
    assert_eq!(log(&store, "g").await.len(), TASKS * WINS);
    let version = conversation(&store, "g").await.version;
    assert_eq!(version, Seq((TASKS * WINS) as u64));
}

/// Changes the title, each time on the version read; the versions that it was won on.
async fn win(store: Shared, task: usize) -> Vec<Seq> {
    let mut won = Vec::new();
    for _ in 0..TRIES_MAX {
        let version = conversation(&store, "g").await.version;
        let change = Change::to("g").title(&task.to_string()).tell("titled");
        match change.expect(version).on(&store).await {
            Ok(_) => won.push(version),
            Err(Rejected::Conflict) => {}
            Err(other) => panic!("{other:?}"),
        }
        if won.len() == WINS {
            return won;
        }
    }
    panic!("no way through in {TRIES_MAX} tries");
}

/// Who reads a list in pages while others write misses nothing: a stamp never covers a change
/// that could not be seen when it was given.
pub async fn a_list_read_while_others_write_misses_nothing(store: Shared) {
    let writers = Writers::start(&store).await;
    let mut seen = BTreeMap::new();
    let mut since = Stamps::START;
    let mut is_last = false;
    while !is_last {
        // Asked before the round: one more is made when nobody writes any more.
        is_last = writers.are_done();
        for _ in 0..PAGES_MAX {
            let page = store
                .memberships(&user("al"), &since, 3, false)
                .await
                .unwrap();
            assert!(!since.is_ahead_of(&page.stamps), "stamps don't go back");
            since = page.stamps;
            let lines = page.lines.into_iter();
            seen.extend(
                lines.map(|it| (it.conversation.id, (it.conversation.head, it.member.read))),
            );
            if !page.more {
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    for id in writers.finish().await {
        let head = conversation(&store, id.as_str()).await.head;
        let read = member(&store, id.as_str(), "al").await.read;
        assert_eq!(seen.get(&id), Some(&(head, read)), "{id}");
    }
}

/// A sweep that runs while others write misses nothing.
pub async fn a_sweep_while_others_write_misses_nothing(store: Shared) {
    let mut since = now(&store).await;
    let writers = Writers::start(&store).await;
    let mut seen = BTreeMap::new();
    let mut is_last = false;
    while !is_last {
        is_last = writers.are_done();
        for _ in 0..PAGES_MAX {
            let page = store.changed(&since, 3).await.unwrap();
            assert!(!since.is_ahead_of(&page.stamps), "stamps don't go back");
            since = page.stamps;
            seen.extend(page.convs.into_iter().map(|it| (it.conv, it.head)));
            if !page.more {
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    for id in writers.finish().await {
        let head = conversation(&store, id.as_str()).await.head;
        assert_eq!(seen.get(&id), Some(&head), "{id}");
    }
}

/// What `commit` answered is seen by every later read.
pub async fn what_was_answered_is_seen_by_every_later_read(store: Shared) {
    group(&store, "g", &["al"]).await;
    at_once(|task| {
        let store = Arc::clone(&store);
        async move {
            for _ in 0..EACH {
                let place = say(&store, "g", &format!("u{task}"), "x").await.seq;
                assert!(conversation(&store, "g").await.head >= place);
                let found = read(&store, "g", after(place.0 - 1, 1, 0)).await;
                assert_eq!(found[0].seq, place);
                assert!(line(&store, "al", "g").await.conversation.head >= place);
            }
        }
    })
    .await;
}

/// Tasks that write to many conversations of "al" until each has made its commits.
struct Writers {
    tasks: JoinSet<()>,
    left: Arc<AtomicUsize>,
    groups: Vec<ConversationId>,
}

/// Counts a task out, also one that panics: the reader must come to an end.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Writers {
    async fn start(store: &Shared) -> Self {
        let groups: Vec<_> = (0..TASKS).map(|n| format!("g{n}")).collect();
        for id in &groups {
            group(store, id, &["al", "bo"]).await;
        }
        let left = Arc::new(AtomicUsize::new(TASKS));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (store, groups) = (Arc::clone(store), groups.clone());
            let leaves = Leaves(Arc::clone(&left));
            tasks.spawn(async move {
                let _leaves = leaves;
                for n in 0..EACH {
                    let id = &groups[(task * 7 + n * 3) % groups.len()];
                    Change::to(id).say("bo", "x").done(&store).await;
                    if n % 5 == 0 {
                        Change::to(id).read("al", n as u64).done(&store).await;
                    }
                }
            });
        }
        Self {
            tasks,
            left,
            groups: groups.iter().map(|id| conv(id)).collect(),
        }
    }

    fn are_done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// The conversations that were written to; panics if a task did.
    async fn finish(self) -> Vec<ConversationId> {
        self.tasks.join_all().await;
        self.groups
    }
}
