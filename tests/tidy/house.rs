//! Manifests and settings: one place for lints, versions and thresholds.

use crate::source::{self, Source, read};
use crate::{assert_caught, assert_kept};

/// Every crate takes the lints of the workspace.
fn lints_shared(manifests: &[&Source]) -> Vec<String> {
    let apart = manifests
        .iter()
        .filter(|m| !section(&m.text, "[lints]").any(is_workspace));
    apart
        .map(|m| format!("{}: no `[lints] workspace = true`", m.path))
        .collect()
}

/// Versions and features of dependencies stand in the workspace: one version, one feature set.
fn versions_shared(manifests: &[&Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in manifests {
        let headers = manifest.text.lines().filter(|line| {
            line.ends_with("dependencies]")
                && line.starts_with('[')
                && *line != "[workspace.dependencies]"
        });
        for line in headers.flat_map(|header| section(&manifest.text, header)) {
            let is_entry = line.starts_with(|c: char| c.is_ascii_alphanumeric());
            if is_entry && !is_workspace(line) {
                broken.push(format!("{}: not from the workspace: {line}", manifest.path));
            }
        }
    }
    broken
}

/// im-core's clippy.toml hides the root's, so it repeats each of its lines.
fn thresholds_repeated(root: &str, core: &str) -> Vec<String> {
    let settings = root
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'));
    let lost = settings.filter(|line| !core.lines().any(|other| other == *line));
    lost.map(|line| format!("im-core/clippy.toml does not repeat: {line}"))
        .collect()
}

/// The lines under a header of a manifest, up to the next header.
fn section<'a>(manifest: &'a str, header: &str) -> impl Iterator<Item = &'a str> {
    let lines = manifest
        .lines()
        .skip_while(move |line| *line != header)
        .skip(1);
    lines.take_while(|line| !line.starts_with('['))
}

fn is_workspace(line: &str) -> bool {
    line.contains("workspace = true")
}

/// The manifests of the workspace's members: the fuzz targets are a workspace of their own.
fn manifests(sources: &[Source]) -> Vec<&Source> {
    let all = sources
        .iter()
        .filter(|source| source.path.ends_with("Cargo.toml"));
    let members: Vec<_> = all
        .filter(|source| !source.path.starts_with("fuzz/"))
        .collect();
    assert!(members.len() >= 8, "the manifests are lost: {members:?}");
    members
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    assert_kept(lints_shared(&manifests(&source::project())));
}

#[test]
fn every_dependency_comes_from_the_workspace() {
    assert_kept(versions_shared(&manifests(&source::project())));
}

#[test]
fn the_core_repeats_the_thresholds_of_clippy() {
    assert_kept(thresholds_repeated(
        &read("clippy.toml"),
        &read("im-core/clippy.toml"),
    ));
}

#[test]
fn a_crate_with_lints_of_its_own_is_caught() {
    for text in [
        "[package]\n",
        "[lints.rust]\nunsafe_code = \"allow\"\n",
        "[lints]\n[x]\nworkspace = true",
    ] {
        let manifest = Source::new("im-x/Cargo.toml", text);
        assert_caught(lints_shared(&[&manifest]), &["im-x/Cargo.toml"]);
    }
}

#[test]
fn a_version_of_its_own_is_caught() {
    for header in [
        "[dependencies]",
        "[dev-dependencies]",
        "[target.'cfg(unix)'.dependencies]",
    ] {
        let text = format!("{header}\nserde.workspace = true\ntokio = {{ version = \"1\" }}\n");
        assert_caught(
            versions_shared(&[&Source::new("im-x/Cargo.toml", &text)]),
            &["tokio"],
        );
    }
    let root = Source::new("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n");
    assert_kept(versions_shared(&[&root]));
}

#[test]
fn a_threshold_that_is_not_repeated_is_caught() {
    let root = "# a = 1\ntoo-many-lines-threshold = 70\n";
    assert_kept(thresholds_repeated(
        root,
        "too-many-lines-threshold = 70\nx = 1\n",
    ));
    assert_caught(
        thresholds_repeated(root, "too-many-lines-threshold = 90\n"),
        &["= 70"],
    );
}
