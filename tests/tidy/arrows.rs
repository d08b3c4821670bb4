//! Which crate may see which. The arrows point one way: adapters and the node to the core,
//! transports to the node.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::source::{read, root};
use crate::{assert_caught, assert_kept};

/// What im-core may name: data, its codecs and errors; no runtime, no clock, no randomness.
const CORE_DIRECT: [&str; 9] = [
    "async-trait",
    "bytes",
    "fastrand",
    "rmp-serde",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "unicode-normalization",
];

/// What must not be in a crate's whole normal tree, however deep.
const UNSEEN: [(&str, &[&str]); 4] = [
    (
        "im-core",
        &[
            "tokio",
            "mio",
            "sqlx",
            "sqlx-core",
            "axum",
            "hyper",
            "rand",
            "rand_core",
            "getrandom",
        ],
    ),
    (
        "im-node",
        &[
            "axum",
            "hyper",
            "tungstenite",
            "sqlx",
            "sqlx-core",
            "redis",
            "lapin",
        ],
    ),
    ("im-client", &["axum", "sqlx", "sqlx-core", "im-node"]),
    (
        "im-moderation",
        &["tokio", "mio", "sqlx", "axum", "hyper", "rand", "getrandom"],
    ),
];

/// A member of the workspace.
#[derive(Debug)]
struct Package {
    name: String,
    /// The folder's name; the root's is whatever the clone is called.
    folder: String,
    is_root: bool,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    is_dev: bool,
    has_default_features: bool,
    features: Vec<String>,
}

/// The crates of ours that `name` may depend on outside its tests; `None` when no arrow is drawn.
fn ours_allowed(name: &str) -> Option<&'static [&'static str]> {
    let facade: &[&str] = &[
        "im-core",
        "im-node",
        "im-client",
        "im-link",
        "im-media",
        "im-moderation",
        "im-out",
        "im-transport-*",
        "im-store-*",
        "im-bus-*",
    ];
    Some(match name {
        "im-core" | "im-moderation" => &[],
        "im-node" => &["im-core", "im-moderation"],
        "im-client" | "im-link" | "im-media" => &["im-core"],
        "im-testkit" => &["im-core", "im-node"],
        "imkit" | "im-server" => facade,
        _ if name.starts_with("im-transport-") => &["im-core", "im-node"],
        _ if is_adapter(name) => &["im-core", "im-link"],
        _ => return None,
    })
}

fn is_adapter(name: &str) -> bool {
    ["im-store-", "im-bus-", "im-call-", "im-out"]
        .iter()
        .any(|role| name.starts_with(role))
}

/// Every dependency between our crates follows an arrow.
fn arrows_followed(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let Some(allowed) = ours_allowed(&package.name) else {
            broken.push(format!(
                "{}: no arrow is drawn for this crate in tests/tidy",
                package.name
            ));
            continue;
        };
        for name in normal(package)
            .map(|d| d.name.as_str())
            .filter(|name| is_ours(name))
        {
            if !allowed.iter().any(|pattern| matches(name, pattern)) {
                broken.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    broken
}

/// im-core names only what is on its list, and fastrand without a seed of its own.
fn core_list_kept(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for dependency in packages
        .iter()
        .filter(|p| p.name == "im-core")
        .flat_map(normal)
    {
        let name = dependency.name.as_str();
        if !CORE_DIRECT.contains(&name) {
            broken.push(format!(
                "im-core: {name} is not on the list of its dependencies"
            ));
        }
        let with_std = dependency.features.iter().any(|feature| feature == "std");
        if name == "fastrand" && (dependency.has_default_features || with_std) {
            broken.push("im-core: fastrand must come without std: it would seed itself".to_owned());
        }
    }
    broken
}

/// `tree` is a crate's normal dependency tree, a package a line; none of `unseen` is in it.
fn tree_free_of(name: &str, tree: &str, unseen: &[&str]) -> Vec<String> {
    let packages = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut found: Vec<_> = packages
        .filter(|package| unseen.contains(package))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
        .iter()
        .map(|package| format!("{name} must not see {package}"))
        .collect()
}

/// A crate's folder has the crate's name.
fn folders_named(packages: &[Package]) -> Vec<String> {
    let inner = packages.iter().filter(|package| !package.is_root);
    let odd = inner.filter(|package| package.name != package.folder);
    odd.map(|package| format!("{} lives in {}", package.name, package.folder))
        .collect()
}

/// Every dependency from outside has a line in the decisions, with its name in backquotes.
fn dependencies_decided(packages: &[Package], manifest: &str, decisions: &str) -> Vec<String> {
    let table = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1);
    let listed = table
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(' ').next());
    let used = packages
        .iter()
        .flat_map(|p| &p.dependencies)
        .map(|d| d.name.as_str());
    let mut names: Vec<_> = listed
        .chain(used)
        .filter(|n| !n.is_empty() && !is_ours(n))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !decisions.contains(&format!("`{name}`")));
    names
        .iter()
        .map(|name| format!("{name} has no line in docs/decisions"))
        .collect()
}

fn normal(package: &Package) -> impl Iterator<Item = &Dependency> {
    package
        .dependencies
        .iter()
        .filter(|dependency| !dependency.is_dev)
}

fn is_ours(name: &str) -> bool {
    name == "imkit" || name.starts_with("im-")
}

fn matches(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn workspace() -> Vec<Package> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("cargo metadata: {error}"));
    let packages: Vec<_> = list(&metadata["packages"]).iter().map(package).collect();
    assert!(
        packages.len() >= 8,
        "the workspace lost its crates: {packages:?}"
    );
    packages
}

fn package(value: &Value) -> Package {
    let manifest = PathBuf::from(string(&value["manifest_path"]));
    let folder = manifest.parent().map(PathBuf::from).unwrap_or_default();
    Package {
        name: string(&value["name"]),
        folder: folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        is_root: folder == root(),
        dependencies: list(&value["dependencies"])
            .iter()
            .map(dependency)
            .collect(),
    }
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: string(&value["name"]),
        is_dev: value["kind"] == "dev",
        has_default_features: value["uses_default_features"] == true,
        features: list(&value["features"]).iter().map(string).collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Runs the cargo that runs this test, without network.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(root());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cargo: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn our_crates_follow_the_arrows() {
    assert_kept(arrows_followed(&workspace()));
}

#[test]
fn the_core_names_only_what_is_on_its_list() {
    assert_kept(core_list_kept(&workspace()));
}

#[test]
fn no_tree_holds_what_its_crate_must_not_see() {
    for (name, unseen) in UNSEEN {
        let tree = cargo(&[
            "tree",
            "-p",
            name,
            "--all-features",
            "-e",
            "normal",
            "--prefix",
            "none",
        ]);
        assert!(
            tree.lines().count() > 1,
            "the tree of {name} is not a tree: {tree}"
        );
        assert_kept(tree_free_of(name, &tree, unseen));
    }
}

#[test]
fn every_crate_lives_in_a_folder_of_its_name() {
    assert_kept(folders_named(&workspace()));
}

#[test]
fn every_dependency_has_a_decision() {
    let decisions: String = crate::source::project()
        .into_iter()
        .filter(|source| source.path.starts_with("docs/decisions/"))
        .map(|source| source.text)
        .collect();
    assert_kept(dependencies_decided(
        &workspace(),
        &read("Cargo.toml"),
        &decisions,
    ));
}

fn planted(name: &str, dependencies: &[&str]) -> Package {
    let dependency = |name: &&str| Dependency {
        name: (*name).to_owned(),
        is_dev: false,
        has_default_features: false,
        features: Vec::new(),
    };
    Package {
        name: name.to_owned(),
        folder: name.to_owned(),
        is_root: false,
        dependencies: dependencies.iter().map(dependency).collect(),
    }
}

#[test]
fn an_arrow_the_wrong_way_is_caught() {
    for (name, other) in [
        ("im-core", "im-node"),
        ("im-node", "im-transport-ws"),
        ("im-node", "im-store-sql"),
        ("im-store-sql", "im-node"),
        ("im-bus-redis", "im-store-redis"),
        ("im-link", "im-node"),
        ("im-moderation", "im-core"),
        ("im-transport-ws", "im-store-sql"),
        ("im-client", "im-node"),
        ("im-testkit", "im-store-sql"),
        ("imkit", "im-server"),
    ] {
        assert_caught(
            arrows_followed(&[planted(name, &["im-core", other][1..])]),
            &[name, other],
        );
    }
    assert_caught(
        arrows_followed(&[planted("im-new", &[])]),
        &["im-new", "no arrow"],
    );
}

#[test]
fn a_test_dependency_needs_no_arrow() {
    let mut package = planted("im-store-sql", &["im-testkit"]);
    package.dependencies[0].is_dev = true;
    assert_kept(arrows_followed(&[package]));
}

#[test]
fn a_core_dependency_off_the_list_is_caught() {
    assert_caught(
        core_list_kept(&[planted("im-core", &["serde", "chrono"])]),
        &["chrono"],
    );
}

#[test]
fn a_fastrand_that_seeds_itself_is_caught() {
    let mut package = planted("im-core", &["fastrand"]);
    package.dependencies[0].has_default_features = true;
    assert_caught(core_list_kept(&[package]), &["fastrand", "std"]);
    let mut package = planted("im-core", &["fastrand"]);
    package.dependencies[0].features = vec!["std".to_owned()];
    assert_caught(core_list_kept(&[package]), &["fastrand", "std"]);
}

#[test]
fn a_runtime_deep_in_a_tree_is_caught() {
    let tree = "im-core v0.1.0 (/x)\nserde v1.0.0\ntokio v1.0.0\ntokio v1.0.0 (*)\n";
    assert_caught(
        tree_free_of("im-core", tree, &["tokio", "rand"]),
        &["im-core", "tokio"],
    );
    assert_kept(tree_free_of("im-core", "tokio-util v1.0.0\n", &["tokio"]));
}

#[test]
fn a_folder_with_another_name_is_caught() {
    let mut package = planted("im-store-sql", &[]);
    package.folder = "store".to_owned();
    assert_caught(folders_named(&[package]), &["im-store-sql", "store"]);
}

#[test]
fn a_dependency_without_a_decision_is_caught() {
    let manifest =
        "[workspace.dependencies]\nim-core = { path = \"im-core\" }\nserde = \"1\"\n\n[x]\ny = 1";
    let package = planted("im-node", &["im-core", "tokio"]);
    let broken = dependencies_decided(&[package], manifest, "| `serde` | data |");
    assert_caught(broken, &["tokio"]);
    assert_caught(
        dependencies_decided(&[], manifest, "serde, serde_json"),
        &["serde"],
    );
}
