//! Sizes: files, lines, ports. Functions are clippy's (`clippy.toml`).

use crate::source::{self, Source, code_only, item_end};
use crate::{assert_caught, assert_kept};

/// A file's longest size in lines without a reason written in it.
const FILE_LINES: usize = 500;
/// A file's longest size in lines, whatever the reason.
const FILE_LINES_MAX: usize = 1000;
/// The longest median over all Rust files, in lines.
const FILE_LINES_MEDIAN: usize = 200;
/// What the reason of a long file starts with.
const REASON: &str = "tidy: long file because ";
/// How far from the top of a long file its reason may stand, in lines.
const REASON_WITHIN: usize = 30;
/// The longest line of Rust, in characters.
const LINE_CHARS: usize = 100;
/// The most methods of a port: an adapter author must hold the whole trait in mind.
const PORT_METHODS: usize = 8;

/// What people write as code; prose, locks and test vectors have no such bound.
const CODE: [&str; 8] = ["rs", "js", "ts", "html", "css", "sql", "sh", "toml"];

/// No code file is longer than 500 lines without a reason, and none longer than 1,000.
fn files_short(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| is_code(source)) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            broken.push(format!(
                "{}: {lines} lines, never over {FILE_LINES_MAX}",
                source.path
            ));
        } else if lines > FILE_LINES && !has_reason(source) {
            let path = &source.path;
            broken.push(format!(
                "{path}: {lines} lines, over {FILE_LINES} and no `{REASON}…`"
            ));
        }
    }
    broken
}

/// Half of all Rust files are at most 200 lines long.
fn median_short(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let mut sizes: Vec<_> = rust.map(|source| source.text.lines().count()).collect();
    sizes.sort_unstable();
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or_default();
    if median <= FILE_LINES_MEDIAN {
        return Vec::new();
    }
    vec![format!(
        "the median Rust file has {median} lines, over {FILE_LINES_MEDIAN}"
    )]
}

/// No line of Rust is wider than 100 characters, strings and comments included.
fn lines_narrow(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (at, line) in source.text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS {
                broken.push(format!("{}:{}: {chars} characters", source.path, at + 1));
            }
        }
    }
    broken
}

/// No port has more than 8 methods.
fn ports_small(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in ports(sources) {
        for (name, methods) in trait_methods(&source.text) {
            if methods > PORT_METHODS {
                broken.push(format!(
                    "{}: {name} has {methods} methods, over {PORT_METHODS}",
                    source.path
                ));
            }
        }
    }
    broken
}

fn ports(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|s| s.path.starts_with("im-core/src/port") && s.is_rust())
}

/// The traits of a file with the number of their methods.
fn trait_methods(text: &str) -> Vec<(String, usize)> {
    let code = code_only(text);
    let starts = code.match_indices("trait ").filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    });
    let found = starts.map(|(at, keyword)| {
        let item = &code[at..at + item_end(&code[at..])];
        let name = item[keyword.len()..]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        (name.unwrap_or_default().to_owned(), methods(item))
    });
    found.collect()
}

/// The functions that stand directly in an item's braces, not deeper.
fn methods(item: &str) -> usize {
    let mut depth = 0_usize;
    let mut count = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            'f' if depth == 1 && item[at..].starts_with("fn ") => {
                count += usize::from(item[..at].ends_with(char::is_whitespace));
            }
            _ => {}
        }
    }
    count
}

fn is_code(source: &Source) -> bool {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, extension)) => CODE.contains(&extension),
        None => source.text.starts_with("#!"),
    }
}

fn has_reason(source: &Source) -> bool {
    source.text.lines().take(REASON_WITHIN).any(|line| {
        line.split_once(REASON)
            .is_some_and(|(_, reason)| reason.trim().split(' ').count() > 1)
    })
}

#[test]
fn no_file_is_long_without_a_reason() {
    assert_kept(files_short(&source::project()));
}

#[test]
fn half_of_the_files_are_short() {
    assert_kept(median_short(&source::project()));
}

#[test]
fn no_line_is_wide() {
    assert_kept(lines_narrow(&source::project()));
}

#[test]
fn every_port_is_small() {
    assert_kept(ports_small(&source::project()));
}

fn of_lines(path: &str, first: &str, lines: usize) -> Source {
    Source::new(path, &format!("{first}\n{}", "//\n".repeat(lines - 1)))
}

#[test]
fn a_long_file_is_caught() {
    let reason = "// tidy: long file because one table is easier to read than two";
    assert_kept(files_short(&[
        of_lines("a.rs", "//", 500),
        of_lines("a.md", "", 2000),
    ]));
    assert_caught(
        files_short(&[of_lines("a.rs", "//", 501)]),
        &["a.rs", "501"],
    );
    assert_caught(
        files_short(&[of_lines("x/run", "#!/bin/sh", 501)]),
        &["x/run"],
    );
    let empty = "// tidy: long file because of";
    assert_caught(files_short(&[of_lines("a.rs", empty, 501)]), &["a.rs"]);
    assert_kept(files_short(&[of_lines("a.rs", reason, 1000)]));
    assert_caught(
        files_short(&[of_lines("a.rs", reason, 1001)]),
        &["a.rs", "never"],
    );
}

#[test]
fn a_long_median_is_caught() {
    let of = |sizes: [usize; 3]| sizes.map(|lines| of_lines("a.rs", "//", lines));
    assert_kept(median_short(&of([10, 200, 500])));
    assert_caught(median_short(&of([10, 201, 500])), &["201"]);
}

#[test]
fn a_wide_line_is_caught() {
    let line = |chars: usize| format!("//{}\n", "é".repeat(chars - 2));
    assert_kept(lines_narrow(&[
        Source::new("a.rs", &line(100)),
        Source::new("a.md", &line(300)),
    ]));
    assert_caught(
        lines_narrow(&[Source::new("a.rs", &line(101))]),
        &["a.rs:1", "101"],
    );
}

#[test]
fn a_large_port_is_caught() {
    let port = |methods: usize| {
        let body = "    /// A fn of words.\n    async fn f(&self) { if true { fn deep() {} } }\n";
        let text = format!("pub trait Store: Send {{\n{}}}\n", body.repeat(methods));
        [Source::new("im-core/src/port/store.rs", &text)]
    };
    assert_kept(ports_small(&port(8)));
    assert_caught(ports_small(&port(9)), &["port/store.rs", "Store", "9"]);
}
