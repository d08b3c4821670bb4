//! How the built-in page is served.

use crate::http;
use crate::process::Server;

#[test]
fn the_page_allows_nothing_inline_and_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/page.css", "text/css"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"));
        let tag = answer.header("etag").unwrap();
        let again = [("if-none-match", tag)];
        let again = http::request(server.address, "GET", path, &again, "");
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        assert_eq!(again.header("etag"), Some(tag));
    }
    // These three are all there is; nothing else is looked for by its name.
    for path in [
        "/page.rs",
        "/chat.js",
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/.git/config",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}
