//! What the core must not touch, so that every machine is replayed from a seed; and what the
//! facade must not hold.

use crate::source::{self, Source, code_only, lines_with, without_tests};
use crate::{assert_caught, assert_kept};

/// Clocks, hash order, threads and IO. clippy refuses the calls; this refuses the very names.
const IMPURE: [&str; 11] = [
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "tokio",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
];

/// Folders of im-core that decide and therefore never wait.
const SYNC: [&str; 4] = [
    "im-core/src/machine",
    "im-core/src/rule",
    "im-core/src/frame",
    "im-core/src/model",
];

/// What a re-export never needs.
const OWN_CODE: [&str; 10] = [
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "impl",
    "const",
    "static",
    "type",
    "macro_rules",
];

/// im-core names no clock, no hash map, no thread and no IO outside its tests.
fn core_pure(sources: &[Source]) -> Vec<String> {
    let core = sources
        .iter()
        .filter(|s| s.path.starts_with("im-core/src/"));
    core.flat_map(|source| naming(source, &IMPURE)).collect()
}

/// Machines, rules, frames and the model are plain functions.
fn decisions_sync(sources: &[Source]) -> Vec<String> {
    let sync = sources
        .iter()
        .filter(|s| SYNC.iter().any(|folder| s.path.starts_with(folder)));
    sync.flat_map(|source| naming(source, &["async", "await"]))
        .collect()
}

/// The facade is one file that holds re-exports and nothing else.
fn facade_bare(sources: &[Source]) -> Vec<String> {
    let facade = sources
        .iter()
        .filter(|s| s.path.starts_with("src/") && s.is_rust());
    let mut broken = Vec::new();
    for source in facade {
        if source.path != "src/lib.rs" {
            broken.push(format!("{}: the facade is src/lib.rs alone", source.path));
        }
        broken.extend(naming(source, &OWN_CODE));
    }
    broken
}

/// Where a Rust file's code outside tests holds one of `words`.
fn naming(source: &Source, words: &[&str]) -> Vec<String> {
    if !source.is_rust() || source.is_test() {
        return Vec::new();
    }
    let code = without_tests(&code_only(&source.text));
    let places = |word: &&str| {
        let line = |at| format!("{}:{at}: {word}", source.path);
        lines_with(&code, word)
            .into_iter()
            .map(line)
            .collect::<Vec<_>>()
    };
    words.iter().flat_map(places).collect()
}

#[test]
fn the_core_has_no_clock_no_hash_order_and_no_io() {
    assert_kept(core_pure(&source::project()));
}

#[test]
fn what_decides_never_waits() {
    assert_kept(decisions_sync(&source::project()));
}

#[test]
fn the_facade_only_re_exports() {
    let sources = source::project();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"));
    assert_kept(facade_bare(&sources));
}

#[test]
fn an_impure_core_is_caught() {
    for word in IMPURE {
        let text = format!("//! No {word} here.\nfn f() {{ x::{word}(); }}\n");
        let broken = core_pure(&[Source::new("im-core/src/machine/room.rs", &text)]);
        assert_caught(broken, &["room.rs:2", word]);
    }
    let harmless = "//! No HashMap.\nconst A: &str = \"HashMap\";\n\
                    #[cfg(test)]\nmod tests {\n  use std::collections::HashMap;\n}\n";
    assert_kept(core_pure(&[Source::new("im-core/src/lib.rs", harmless)]));
    assert_kept(core_pure(&[Source::new(
        "im-node/src/hub.rs",
        "use std::collections::HashMap;",
    )]));
}

#[test]
fn a_machine_that_waits_is_caught() {
    let text = "async fn f() {}\n";
    assert_caught(
        decisions_sync(&[Source::new("im-core/src/machine/room.rs", text)]),
        &["room.rs:1", "async"],
    );
    assert_kept(decisions_sync(&[Source::new(
        "im-core/src/port/store.rs",
        text,
    )]));
}

#[test]
fn code_in_the_facade_is_caught() {
    let bare = "//! fn\n#[cfg(feature = \"ws\")]\npub use im_transport_ws as ws;\n\
                pub mod prelude {\n    pub use im_core::Entry;\n}\n";
    assert_kept(facade_bare(&[Source::new("src/lib.rs", bare)]));
    let code = Source::new("src/lib.rs", "pub use im_core::Entry;\npub fn run() {}\n");
    assert_caught(facade_bare(&[code]), &["src/lib.rs:2", "fn"]);
    assert_caught(
        facade_bare(&[Source::new("src/run.rs", "")]),
        &["src/run.rs", "alone"],
    );
}
