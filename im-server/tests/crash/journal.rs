//! What a member wrote down, over all its lives.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use im_core::model::ConversationId;

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A life begins.
    Starts,
    Connected,
    /// This message is about to be given to the client.
    Means(u64),
    /// The client has it, and promised to keep it.
    Gave(u64),
    /// The client says where a message is stored.
    Sent {
        cm_id: String,
        conv: ConversationId,
        seq: u64,
        /// An earlier try had stored it.
        dup: bool,
    },
    /// The client's stream handed out an entry.
    Got {
        conv: ConversationId,
        seq: u64,
        from: String,
        cm_id: Option<String>,
    },
    /// Nothing that this life gave is unanswered, and nothing new will be written.
    Idle,
    /// What must not happen.
    Odd(String),
}

impl Line {
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Starts => "starts\n".to_owned(),
            Self::Connected => "connected\n".to_owned(),
            Self::Idle => "idle\n".to_owned(),
            Self::Means(number) => format!("means {number}\n"),
            Self::Gave(number) => format!("gave {number}\n"),
            Self::Odd(what) => format!("odd {}\n", what.replace('\n', " ")),
            Self::Sent {
                cm_id,
                conv,
                seq,
                dup,
            } => format!("sent {cm_id} {conv} {seq} {dup}\n"),
            Self::Got {
                conv,
                seq,
                from,
                cm_id,
            } => format!(
                "got {conv} {seq} {from} {}\n",
                cm_id.as_deref().unwrap_or("-")
            ),
        }
    }

    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["starts"] => Self::Starts,
            ["connected"] => Self::Connected,
            ["idle"] => Self::Idle,
            ["means", number] => Self::Means(number.parse().unwrap()),
            ["gave", number] => Self::Gave(number.parse().unwrap()),
            ["odd", ..] => Self::Odd(text.to_owned()),
            ["sent", cm_id, conv, seq, dup] => Self::Sent {
                cm_id: (*cm_id).to_owned(),
                conv: conv.parse().unwrap(),
                seq: seq.parse().unwrap(),
                dup: dup.parse().unwrap(),
            },
            ["got", conv, seq, from, cm_id] => Self::Got {
                conv: conv.parse().unwrap(),
                seq: seq.parse().unwrap(),
                from: (*from).to_owned(),
                cm_id: (*cm_id != "-").then(|| (*cm_id).to_owned()),
            },
            _ => panic!("no line of a journal: {text}"),
        }
    }
}

/// The whole lines of a journal; none when there is no journal yet.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    whole.map(Line::parse).collect()
}

/// A life that was killed may have written half a line.
pub(crate) fn cut_torn_end(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        fs::write(path, &text[..whole]).unwrap();
    }
}

/// An entry as a journal has it: who sent it, under which id.
pub(crate) type Seen = (String, Option<String>);

/// What a member was handed, and what was checked of it on the way.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Each conversation's entries from the first on.
    pub(crate) logs: BTreeMap<ConversationId, Vec<Seen>>,
    pub(crate) lives: u32,
    pub(crate) connects: u32,
    /// Entries that came again after a kill, because nobody had said that they were dealt with.
    pub(crate) again: usize,
}

impl Stream {
    /// Follows a journal. Within a life every entry comes once and in order; a new life goes on
    /// after the last entry, or a little before: what comes again is what came before.
    pub(crate) fn of(name: &str, lines: &[Line]) -> Self {
        let mut stream = Self::default();
        let mut next: BTreeMap<ConversationId, u64> = BTreeMap::new();
        for line in lines {
            match line {
                Line::Starts => {
                    stream.lives += 1;
                    next.clear();
                }
                Line::Connected => stream.connects += 1,
                Line::Odd(what) => panic!("{name}: {what}"),
                Line::Got {
                    conv,
                    seq,
                    from,
                    cm_id,
                } => {
                    let log = stream.logs.entry(conv.clone()).or_default();
                    let known = log.len() as u64;
                    let expected = next.get(conv).copied();
                    let in_order = expected.map_or(*seq <= known + 1, |next| next == *seq);
                    assert!(
                        in_order,
                        "{name}: {seq}, expected {expected:?}, had {known}"
                    );
                    next.insert(conv.clone(), seq + 1);
                    let seen = (from.clone(), cm_id.clone());
                    if *seq == known + 1 {
                        log.push(seen);
                    } else {
                        assert_eq!(log[*seq as usize - 1], seen, "{name}: another entry");
                        stream.again += 1;
                    }
                }
                Line::Gave(_) | Line::Idle | Line::Means(_) | Line::Sent { .. } => {}
            }
        }
        stream
    }
}
