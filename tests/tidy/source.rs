//! The project's files as text, and Rust text without its comments, literals and tests.

use std::fs;
use std::path::Path;

/// Folders that hold what tools made, not what people wrote.
const MADE: [&str; 6] = [
    ".git",
    "target",
    "node_modules",
    "corpus",
    "artifacts",
    "coverage",
];

/// One text file of the project.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is compiled for tests only, by its place.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name == "tests.rs" || name.ends_with("_test.rs") || self.path.contains("/tests/")
    }
}

/// Every text file of the project, in the order of the paths.
pub(crate) fn project() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(root(), "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        sources.len() > 20,
        "the walk lost the project: {} files",
        sources.len()
    );
    sources
}

/// The text of one file of the project.
pub(crate) fn read(path: &str) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            // A build folder with another name carries cargo's tag.
            if !MADE.contains(&name.as_str()) && !path.join("CACHEDIR.TAG").exists() {
                walk(&path, &format!("{prefix}{name}/"), sources);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            sources.push(Source {
                path: format!("{prefix}{name}"),
                text,
            });
        }
    }
}

/// The text with comments and the contents of strings and characters blanked; lines stay lines.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        match opaque_end(&chars, at) {
            Some(end) => {
                code.extend(
                    chars[at..end]
                        .iter()
                        .map(|c| if *c == '\n' { '\n' } else { ' ' }),
                );
                at = end;
            }
            None => {
                code.push(chars[at]);
                at += 1;
            }
        }
    }
    code
}

/// Code as by [`code_only`] with every `#[cfg(test)]` item blanked; lines stay lines.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        let (item, after) = item.split_at(item_end(item));
        kept.push_str(before);
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    kept + rest
}

/// Where the first item of `code` ends: after its `;`, or after the `}` that closes its body.
pub(crate) fn item_end(code: &str) -> usize {
    let mut depth = 0_u32;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The lines that hold `word` as a whole word, as numbers from 1. `word` may be a path.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let lines = code.lines().enumerate();
    lines
        .filter(|(_, line)| has_word(line, word))
        .map(|(at, _)| at + 1)
        .collect()
}

pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word_char) && !after.is_some_and(is_word_char)
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the comment or literal that starts at `at`, if one does.
fn opaque_end(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => Some(at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => Some(at + block_comment_len(rest)),
        ['"', ..] => Some(at + quoted_len(rest, '"')),
        ['\'', '\\', ..] => Some(at + quoted_len(rest, '\'')),
        ['\'', _, '\'', ..] => Some(at + 3),
        ['r', '"' | '#', ..] if at == 0 || !is_word_char(chars[at - 1]) || is_byte(chars, at) => {
            raw_string_len(rest).map(|len| at + len)
        }
        _ => None,
    }
}

/// Whether the `r` at `at` belongs to `br"…"` or `cr"…"`.
fn is_byte(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at == 1 || !is_word_char(chars[at - 2]))
}

fn block_comment_len(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_len(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_len(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None; // a raw identifier
    }
    let body = 2 + hashes;
    let end = (body..rest.len()).find(|at| {
        rest[*at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    });
    Some(end.map_or(rest.len(), |at| at + 1 + hashes))
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = 'x'; // gone\n\
                /* gone /* deep */ gone */ let b: &'static str = \"gone \\\" gone\";\n\
                let c = br#\"gone \" gone\"#; let r#type = '\\''; let d = 1;";
    let code = code_only(text);
    assert!(
        !code.contains("gone") && !code.contains("deep") && !code.contains('x'),
        "{code}"
    );
    for kept in [
        "let a",
        "let b: &'static str",
        "let c = b",
        "let r#type",
        "let d = 1;",
    ] {
        assert!(code.contains(kept), "{kept:?} is lost in {code}");
    }
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn test_items_are_left_out_and_the_rest_stays() {
    let code = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n\
                #[cfg(test)]\nmod d {\n  fn e() {}\n}\nfn f() {}\n";
    let kept = without_tests(code);
    assert_eq!(kept.lines().count(), code.lines().count());
    let items: Vec<_> = kept.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(items, ["use a;", "fn c() {}", "fn f() {}"]);
}

#[test]
fn a_word_is_found_as_a_whole_only() {
    assert!(has_word("a = Instant::now();", "Instant::now"));
    assert!(!has_word("MyHashMapper", "HashMap"));
    assert_eq!(lines_with("x\nasync fn\n", "async"), [2]);
}
