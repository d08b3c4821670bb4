//! Encryption at rest, as an operator has it.

use std::path::Path;

use crate::http;
use crate::process::{SECRET, Server, command, run, token};

/// No other text of a store has it.
const WORD: &str = "Rhabarberkuchen";

fn seal(folder: &Path, keys: &str, word: &str) -> (bool, String) {
    let store = format!("sqlite://{}", folder.join("test.db").display());
    let said = run(&["seal", word, "--seal-keys", keys, "--store", &store], &[]);
    (said.ok, said.out + &said.err)
}

fn call(server: &Server, verb: &str, path: &str, body: &str) -> String {
    let bearer = format!("Bearer {}", token("al"));
    let headers = [("authorization", bearer.as_str())];
    let answer = http::request(server.address, verb, path, &headers, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Whether any file of a folder holds a text.
fn holds(folder: &Path, word: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap();
    let holds = |path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(word.len()).any(|it| it == word.as_bytes())
    };
    files.map(|file| file.unwrap().path()).any(holds)
}

#[cfg(unix)]
#[test]
fn what_people_write_is_sealed_and_the_keys_take_turns() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    let named = keys.to_str().unwrap();
    let (ok, said) = seal(folder.path(), named, "new-key");
    assert!(ok && said.contains("key 1 is in"), "{said}");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let flags = ["--seal-keys", named];
    let server = Server::start(folder.path(), &flags, &[]);
    let body =
        format!(r#"{{"cm_id":"1","to":{{"user":"bo"}},"body":{{"kind":"text","text":"{WORD}"}}}}"#);
    let sent = call(&server, "POST", "/v1/messages", &body);
    assert!(sent.contains("\"seq\":1"), "{sent}");
    assert!(call(&server, "GET", "/v1/sync", "").contains(WORD));
    assert!(holds(folder.path(), "sealed") && !holds(folder.path(), WORD));
    drop(server.logs());

    // Without the keys the words are not there; others may not read the file.
    let text = std::fs::read_to_string(&keys).unwrap();
    for mode in [0o644, 0o660] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&keys, mode).unwrap();
        let (ok, said) = seal(folder.path(), named, "status");
        assert!(!ok && said.contains("chmod 600"), "{said}");
    }
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_, said) = seal(folder.path(), named, "new-key");
    assert!(
        said.contains("key 2 is in") && said.contains("active"),
        "{said}"
    );
    let two = std::fs::read_to_string(&keys).unwrap();
    let two = two.replace("active 1", "active 2");
    std::fs::write(&keys, &two).unwrap();
    let (_, said) = seal(folder.path(), named, "status");
    assert!(
        said.contains("active: 2") && said.contains("older master keys: 1"),
        "{said}"
    );
    let (_, said) = seal(folder.path(), named, "rotate");
    assert!(
        said.contains("1 data keys were wrapped anew\nactive: 2\nneeded: 2\n"),
        "{said}"
    );
    // The first is needed no more, and alone no longer enough.
    let old = text.lines().nth(1).unwrap();
    std::fs::write(&keys, two.replace(old, "")).unwrap();
    let server = Server::start(folder.path(), &flags, &[]);
    assert!(call(&server, "GET", "/v1/sync", "").contains(WORD));
    drop(server.logs());
    std::fs::write(&keys, &text).unwrap();
    let store = format!("sqlite://{}", folder.path().join("test.db").display());
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--store",
        &store,
        "--jwt-secret",
        SECRET,
    ];
    let start = command(&[&arguments[..], &flags].concat(), &[])
        .output()
        .unwrap();
    let said = String::from_utf8(start.stderr).unwrap();
    assert!(said.contains("the master key 2 is missing"), "{said}");
    assert!(!said.contains(old.split(' ').nth(1).unwrap()), "{said}");
}
