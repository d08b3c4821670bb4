//! IRC logs as conversations.

use std::collections::BTreeMap;

use im_core::model::{
    Body, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Timestamp, UserId,
};
use im_core::port::{Commit, NewConversation, Store, Write};
use im_core::rule::words_of;

/// Commits of one batch.
const BATCH: usize = 500;

/// A log.
pub(crate) struct Talk {
    pub(crate) name: String,
    /// Who said what.
    lines: Vec<(String, String)>,
}

/// The logs of a folder, in the order of their names.
pub(crate) fn read(folder: &str) -> Vec<Talk> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort_unstable();
    let talk = |path: std::path::PathBuf| {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let line = |line: &str| {
            let (who, text) = line.get(8..)?.strip_prefix('<')?.split_once("> ")?;
            Some((who.to_owned(), text.to_owned()))
        };
        Talk {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            lines: text.lines().filter_map(line).collect(),
        }
    };
    let talks = files.into_iter().map(talk);
    talks.filter(|talk| !talk.lines.is_empty()).collect()
}

/// Appends everything; one reader is in all conversations. How many lines there were.
pub(crate) async fn load(store: &dyn Store, talk: &[Talk]) -> usize {
    let mut commits = Vec::new();
    let mut n = 0;
    for talk in talk {
        let conv = ConversationId::new(talk.name.clone()).unwrap();
        let create = Write::Create(NewConversation {
            kind: ConversationKind::Group,
            title: None,
            hide_history: false,
            members: vec![(UserId::new("reader").unwrap(), Role::Owner)],
        });
        commits.push(commit(&conv, create));
        for (who, text) in &talk.lines {
            n += 1;
            commits.push(commit(&conv, Write::Append(entry(n, who, text))));
        }
    }
    for batch in commits.chunks(BATCH) {
        assert!(store.commit(batch).await.iter().all(Result::is_ok));
    }
    n
}

fn commit(conv: &ConversationId, write: Write) -> Commit {
    Commit {
        conv: conv.clone(),
        expect_version: None,
        actor: None,
        writes: vec![write],
    }
}

fn entry(n: usize, who: &str, text: &str) -> NewEntry {
    NewEntry {
        id: MessageId(n as u64),
        from: UserId::new(who.to_owned()).unwrap_or_else(|_| UserId::new("somebody").unwrap()),
        at: Timestamp(1_100_000_000_000 + n as i64 * 1_000),
        cm_id: None,
        digest: 0,
        body: Body::text(text),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    }
}

/// The words of all, the most common first.
pub(crate) fn words(talk: &[Talk]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, text) in talk.iter().flat_map(|talk| &talk.lines) {
        for word in words_of(text) {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    words.into_iter().map(|(word, _)| word).collect()
}
