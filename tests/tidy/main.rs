//! The rules of the house that the compiler and clippy cannot hold: which crate may see which, the
//! measures of files, lines and ports, and what may stand in a file.
//!
//! Each rule is a function from data to the list of places that break it, and has two tests: the
//! project keeps it, and a planted violation breaks it. `CONTRIBUTING.md` lists the measures.

mod arrows;
mod house;
mod measures;
mod purity;
mod shown;
mod source;
mod words;

/// Fails with the list of broken places, one a line.
#[track_caller]
fn assert_kept(broken: Vec<String>) {
    assert!(
        broken.is_empty(),
        "{} broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// Fails unless exactly one place is broken and its line names all of `words`.
#[track_caller]
fn assert_caught(broken: Vec<String>, words: &[&str]) {
    assert_eq!(
        broken.len(),
        1,
        "one violation was planted, found: {broken:?}"
    );
    for word in words {
        assert!(
            broken[0].contains(word),
            "{word:?} is not named in {:?}",
            broken[0]
        );
    }
}
