//! What must not stand in a file: unfinished work without an issue, and places that only one
//! machine knows.

use crate::source::{self, Source};
use crate::{assert_caught, assert_kept};

// Cut in two, or this file would break its own rules.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const OUTSIDE: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("../sha", "red"),
    concat!("noreply.", "r-"),
];

/// Unfinished work names its issue right behind the word: `(#12)`.
fn unfinished_has_issue(sources: &[Source]) -> Vec<String> {
    let code = sources
        .iter()
        .filter(|source| !source.path.ends_with(".md"));
    let broken = code.flat_map(|source| places(source, &UNFINISHED, |rest| !names_issue(rest)));
    broken.collect()
}

/// No file names a folder or host of somebody's machine.
fn no_outside(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .flat_map(|source| places(source, &OUTSIDE, |_| true))
        .collect()
}

/// Where one of `words` stands and `is_broken` holds for the rest of its line.
fn places(source: &Source, words: &[&str], is_broken: fn(&str) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for word in words {
            if line
                .match_indices(word)
                .any(|(start, _)| is_broken(&line[start + word.len()..]))
            {
                broken.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    broken
}

fn names_issue(rest: &str) -> bool {
    let number = rest
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

#[test]
fn unfinished_work_has_an_issue() {
    assert_kept(unfinished_has_issue(&source::project()));
}

#[test]
fn no_file_names_a_place_outside_the_project() {
    assert_kept(no_outside(&source::project()));
}

#[test]
fn unfinished_work_without_an_issue_is_caught() {
    for word in UNFINISHED {
        for rest in ["", ": later", "(me): later", "(#): later"] {
            let text = format!("fn a() {{}}\n// {word}{rest}\n");
            assert_caught(
                unfinished_has_issue(&[Source::new("a.rs", &text)]),
                &["a.rs:2"],
            );
        }
        let text = format!("// {word}(#12): later");
        assert_kept(unfinished_has_issue(&[Source::new("a.rs", &text)]));
    }
}

#[test]
fn a_place_outside_the_project_is_caught() {
    for place in OUTSIDE {
        let text = format!("See\n`{place}x`.\n");
        assert_caught(
            no_outside(&[Source::new("docs/a.md", &text)]),
            &["docs/a.md:2", place],
        );
    }
    assert_kept(no_outside(&[Source::new("a.rs", "//! net/work, shared/x")]));
}
