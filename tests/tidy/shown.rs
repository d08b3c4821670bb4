//! What the pages claim to be shown by a test is.

use crate::source::{self, Source, read};
use crate::{assert_caught, assert_kept};

/// The pages that name tests.
const PAGES: [&str; 2] = ["docs/reliability.md", "docs/security.md"];
/// Their short names of folders.
const FOLDERS: [(&str, &str); 12] = [
    ("ws", "im-transport-ws/tests/suite"),
    ("node", "im-node/tests"),
    ("server", "im-server/tests/suite"),
    ("crash", "im-server/tests/crash"),
    ("sql", "im-store-sql/tests/suite"),
    ("tiered", "im-store-tiered/tests/suite"),
    ("suite", "im-testkit/src/suite"),
    ("sim", "im-testkit/tests/sim"),
    ("core", "im-core/tests/suite"),
    ("client", "im-client/tests/suite"),
    ("out", "im-out/tests/suite"),
    ("app", "tests/suite"),
];
/// Fewer on a page would mean that none were found.
const NAMED_MIN: usize = 20;

/// The tests that a page names, as (file, name).
fn named(page: &str) -> Vec<(String, String)> {
    let spans = page.split('`').skip(1).step_by(2);
    let tests = spans.filter_map(|span| span.split_once(".rs::"));
    let long = |(path, name): (&str, &str)| {
        let (folder, rest) = path.split_once('/').unwrap_or((path, ""));
        let known = FOLDERS.iter().find(|(short, _)| *short == folder);
        let path = known.map_or_else(|| path.to_owned(), |(_, long)| format!("{long}/{rest}"));
        (format!("{path}.rs"), name.to_owned())
    };
    tests.map(long).collect()
}

/// Every test that a page names is in its file.
fn all_there(path: &str, page: &str, sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for (file, name) in named(page) {
        let source = sources.iter().find(|source| source.path == file);
        let there = source.is_some_and(|source| {
            let begins = ["(", "<"].map(|next| format!("fn {name}{next}"));
            begins.iter().any(|begin| source.text.contains(begin))
        });
        if !there {
            broken.push(format!("{path} names {name}, which is not in {file}"));
        }
    }
    broken
}

#[test]
fn every_test_that_a_page_names_exists() {
    let sources = source::project();
    for path in PAGES {
        let page = read(path);
        assert!(named(&page).len() >= NAMED_MIN, "{path}");
        assert_kept(all_there(path, &page, &sources));
    }
}

#[test]
fn a_test_that_is_gone_is_caught() {
    let page = "| x | `ws/a.rs::here` `ws/a.rs::gone` `im-core/src/b.rs` |";
    let sources = [Source::new(
        "im-transport-ws/tests/suite/a.rs",
        "async fn here() {}",
    )];
    assert_caught(all_there("p", page, &sources), &["gone", "suite/a.rs"]);
}

#[test]
fn http_2_is_not_in_the_tree() {
    let lock = read("Cargo.lock");
    assert!(lock.contains("name = \"hyper\""), "the lock is read");
    assert!(!lock.contains("name = \"h2\""));
}
