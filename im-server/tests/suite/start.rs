//! What starts, what is refused, and which of several words counts.

use std::net::TcpListener;

use crate::http;
use crate::process::{SECRET, Server, run, run_in, token};

/// The refusal of a start with these arguments.
fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let listens = arguments.contains(&"--listen");
    let any: &[&str] = if listens {
        &[]
    } else {
        &["--listen", "127.0.0.1:0"]
    };
    let all = [any, arguments].concat();
    let said = run_in(folder.path(), &all, &[]);
    assert!(
        !said.ok && said.out.is_empty(),
        "{arguments:?} started: {}",
        said.out
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{arguments:?} left {left:?}");
    said.err
}

#[test]
fn an_unsafe_start_is_refused_with_what_to_do() {
    let long = "demo-secret-demo-secret-demo-secret-demo";
    for (arguments, words) in [
        (
            &[][..],
            &["--jwt-secret", "IMKIT_JWT_SECRET", "--demo", "/dev/urandom"][..],
        ),
        (&["--jwt-secret", ""], &["--jwt-secret", "0 bytes", "32"]),
        (
            &["--jwt-secret", "short-secret-of-31-bytes-------"],
            &["31 bytes", "/dev/urandom"],
        ),
        (&["--jwt-secret", long], &["documentation"]),
        (&["--jwt-algorithm", "none"], &["--jwt-algorithm", "HS256"]),
        (&["--jwt-algorithm", "RS256"], &["--jwt-public-key-file"]),
        (
            &["--jwt-secret", SECRET, "--webhooks", "a=https://a.example"],
            &["--webhook-secret", "needed"],
        ),
        (
            &[
                "--jwt-secret",
                SECRET,
                "--vapid-key",
                "x",
                "--vapid-contact",
                "mailto:a@b",
            ],
            &["--vapid-key", "base64url"],
        ),
        (
            &["--jwt-algorithm", "RS256", "--jwt-secret", SECRET],
            &["public key"],
        ),
        (
            &["--jwt-algorithm", "HS512", "--jwt-secret", SECRET],
            &["41 bytes", "64"],
        ),
    ] {
        let error = refused(arguments);
        for word in words {
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
        assert!(
            !error.contains("short-secret-of"),
            "the secret is never printed: {error}"
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    for (arguments, words) in [
        (["--frame-bytes", "17023"], ["--frame-bytes", "text_chars"]),
        (["--window", "0"], ["--window", "65536"]),
        (
            ["--synchronous", "never"],
            ["--synchronous", "full, normal or off"],
        ),
        (["--bus", "redis"], ["--bus", "redis://"]),
        (["--bus", "carrier://u:hunter2@x"], ["--bus", "nats://"]),
        (["--bus", "nats://x"], ["--registry", "is needed"]),
        (["--bus", "redis://x"], ["--store", "share a database"]),
        (["--hot", "memcached://u:hunter2@x"], ["--hot", "redis://"]),
        (["--registry", "redis"], ["--registry", "redis://"]),
        (
            ["--registry", "redis://x"],
            ["--registry", "need each other"],
        ),
        (["--durability", "cached"], ["--durability", "--hot"]),
        (["--store", "oracle://x"], ["--store", "sqlite://"]),
        // Nobody listens on port 1.
        (
            ["--store", "postgres://im:hunter2@127.0.0.1:1/im"],
            ["--store", "postgres://…@127.0.0.1:1/im"],
        ),
        (
            ["--store", "mysql://im:hunter2@127.0.0.1:1/im"],
            ["refused", "mysql://…@127.0.0.1:1/im"],
        ),
        (["--threads", "0"], ["--threads", "at least 1"]),
        (["--listen", "nowhere"], ["--listen", "nowhere"]),
        (["--window", "many"], ["--window", "many"]),
        (["--config", "missing.toml"], ["missing.toml", ""]),
    ] {
        let error = refused(&[&["--jwt-secret", SECRET][..], &arguments].concat());
        assert!(!error.contains("hunter2"), "{error}");
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn a_key_that_the_file_should_not_have_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("im.toml");
    for (text, word) in [
        ("windwo = 3\n", "windwo"),
        ("window = \"wide\"\n", "window"),
        ("window = \n", "im.toml"),
        ("[limits]\nwindow = 3\n", "limits"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = run(&["check", "--config", file.to_str().unwrap()], &[]);
        assert!(!said.ok && said.err.contains(word), "{text}: {}", said.err);
    }
}

#[test]
fn the_flag_wins_over_the_variable_the_variable_over_the_file_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("im.toml");
    let text = format!(
        "jwt_secret = \"{SECRET}\"\nwindow = 11\nack_ms = 11000\nhello_ms = 1100\n\
         allowed_origins = [\"https://a.example\", \"https://b.example\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    let arguments = [
        "--config",
        file.to_str().unwrap(),
        "check",
        "--window",
        "33",
    ];
    let variables = [("IMKIT_WINDOW", "22"), ("IMKIT_ACK_MS", "22000")];
    let said = run(&arguments, &variables);
    assert!(said.ok, "{}", said.err);
    for line in [
        "window = 33",
        "ack_ms = 22000",
        "hello_ms = 1100",
        "heartbeat_ms = 30000",
        "jwt_secret = \"(set, 41 bytes)\"",
        "allowed_origins = [\"https://a.example\", \"https://b.example\"]",
    ] {
        assert!(
            said.out.lines().any(|shown| shown == line),
            "{line}: {}",
            said.out
        );
    }
    assert!(!said.out.contains(SECRET));
}

#[test]
fn help_does_not_print_what_the_variables_hold() {
    let said = run(&["--help"], &[("IMKIT_JWT_SECRET", SECRET)]);
    assert!(said.ok && said.out.contains("IMKIT_JWT_SECRET") && !said.out.contains(SECRET));
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let said = run(
        &["token", "ana", "--jwt-secret-file", file.to_str().unwrap()],
        &[],
    );
    let server = Server::start(folder.path(), &[], &[]);
    assert_eq!(sync(&server, said.out.trim()).status, 200);
}

fn sync(server: &Server, token: &str) -> http::Answer {
    let bearer = format!("Bearer {token}");
    http::request(
        server.address,
        "GET",
        "/v1/sync",
        &[("authorization", &bearer)],
        "",
    )
}

#[test]
fn a_minted_token_is_good_and_another_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[]);
    assert_eq!(sync(&server, &token("ana")).status, 200);
    let other = "another-secret-of-more-than-thirty-two-bytes";
    let said = run(&["token", "ana", "--jwt-secret", other], &[]);
    assert_eq!(sync(&server, said.out.trim()).status, 401);
    for bad in ["", "x", "a.b.c"] {
        assert_eq!(sync(&server, bad).status, 401, "{bad:?}");
    }
    assert!(!run(&["token", "", "--jwt-secret", SECRET], &[]).ok);
    assert!(
        !run(
            &["token", "ana", "--ttl", "1y", "--jwt-secret", SECRET],
            &[]
        )
        .ok
    );
}

#[test]
fn a_port_that_is_taken_is_told_with_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = refused(&["--jwt-secret", SECRET, "--listen", &address][..]);
    assert!(
        error.contains(&address) && error.contains("--listen"),
        "{error}"
    );
    let said = run(&["--demo", "--listen", &address], &[]);
    assert!(!said.ok && said.err.contains(&address), "{}", said.err);
}

#[test]
fn a_second_process_on_the_same_file_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[]);
    let store = format!("sqlite://{}", folder.path().join("test.db").display());
    let said = run(
        &[
            "--listen",
            "127.0.0.1:0",
            "--jwt-secret",
            SECRET,
            "--store",
            &store,
        ],
        &[],
    );
    assert!(!said.ok, "{}", said.out);
    assert!(
        said.err.contains("test.db") && said.err.contains("another process"),
        "{}",
        said.err
    );
    assert_eq!(server.get("/readyz").status, 200);
}
