//! Two tabs of a real browser chat on the built-in page.

use std::net::TcpListener;

use serde_json::json;

use crate::process::{Server, token};
use crate::webdriver::{Browser, ENTER};

/// Runs as soon as it is taken for markup.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
const MESSAGES: &str =
    "[...document.querySelectorAll('#log .msg .body')].map(it => it.textContent)";

/// Opens the conversation of that name.
fn choose(browser: &Browser, name: &str) {
    let row = format!(
        "[...document.querySelectorAll('.conv')]\
         .find(it => it.querySelector('.name').textContent === '{name}')"
    );
    browser.wait(&row);
    browser.eval(&format!("{row}.click()"));
    browser.wait(&format!(
        "document.getElementById('title').textContent === '{name}'"
    ));
}

fn has_message(browser: &Browser, text: &str) {
    browser.wait(&format!("{MESSAGES}.includes({})", json!(text)));
}

fn say(browser: &Browser, text: &str) {
    browser.type_into("#text", &format!("{text}{ENTER}"));
}

#[test]
fn two_tabs_of_the_demo_chat_and_what_they_write_stays_text() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::demo();
    let links = server.links();
    let ana = browser.tab();
    browser.open(&links[0]);
    browser.wait("document.querySelectorAll('.conv').length === 2");
    let address = browser.eval("location.href + document.referrer");
    assert!(!address.as_str().unwrap().contains("token"), "{address}");
    let ben = browser.new_tab();
    browser.open(&links[1]);
    choose(&browser, "ana");
    browser.turn_to(&ana);
    choose(&browser, "ben");
    say(&browser, HOSTILE);
    browser.turn_to(&ben);
    has_message(&browser, HOSTILE);
    browser.type_into("#text", "half a sentence");
    browser.turn_to(&ana);
    browser.wait("document.getElementById('detail').textContent === 'ben is typing …'");
    browser.wait("[...document.querySelectorAll('.mine .meta')].at(-1).matches('.read')");
    browser.turn_to(&ben);
    say(&browser, ", done");
    browser.turn_to(&ana);
    has_message(&browser, "half a sentence, done");
    for tab in [&ana, &ben] {
        browser.turn_to(tab);
        let title = browser.eval("document.title");
        assert!(
            title.as_str().unwrap().contains("imkit"),
            "a script ran: {title}"
        );
        assert_eq!(
            browser.eval("document.querySelectorAll('main img, main script').length"),
            0
        );
    }
}

#[test]
fn groups_and_chats_are_made_by_hand_and_reach_the_others() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[]);
    let link = |user| format!("http://{}/#token={}", server.address, token(user));
    let ben = browser.tab();
    browser.open(&link("ben"));
    browser.wait("document.getElementById('state').textContent === 'connected'");
    let ana = browser.new_tab();
    browser.open(&link("ana"));
    browser.wait("document.getElementById('state').textContent === 'connected'");
    browser.click("#new-group");
    browser.type_into("#group-dialog [name=title]", "Weekend");
    browser.type_into("#group-dialog [name=members]", "ben, cara");
    browser.click("#group-dialog button[value=ok]");
    browser.wait("document.getElementById('title').textContent === 'Weekend'");
    say(&browser, "in the group");
    browser.click("#new-chat");
    browser.type_into("#chat-dialog [name=user]", "ben");
    browser.click("#chat-dialog button[value=ok]");
    browser.wait("document.getElementById('title').textContent === 'ben'");
    say(&browser, "just us");
    browser.wait(&format!(
        "{MESSAGES}.length === 1 && !document.querySelector('.waiting')"
    ));
    assert_eq!(browser.eval("document.querySelectorAll('.conv').length"), 2);
    browser.turn_to(&ben);
    choose(&browser, "Weekend");
    has_message(&browser, "in the group");
    choose(&browser, "ana");
    has_message(&browser, "just us");
    browser.turn_to(&ana);
    browser.wait("document.querySelector('.msg.mine .meta').textContent.includes('✓✓')");
}

#[test]
fn what_is_written_while_the_server_is_away_arrives_once() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let listen = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let server = Server::start_at(&listen, folder.path());
    let ben = browser.tab();
    browser.open(&format!("http://{listen}/#token={}", token("ben")));
    browser.wait("document.getElementById('state').textContent === 'connected'");
    let ana = browser.new_tab();
    browser.open(&format!("http://{listen}/#token={}", token("ana")));
    browser.wait("document.getElementById('state').textContent === 'connected'");
    browser.click("#new-chat");
    browser.type_into("#chat-dialog [name=user]", "ben");
    browser.click("#chat-dialog button[value=ok]");
    browser.wait("document.getElementById('title').textContent === 'ben'");
    say(&browser, "before");
    browser.wait(&format!(
        "{MESSAGES}.length === 1 && !document.querySelector('.waiting')"
    ));
    drop(server); // SIGKILL
    browser.wait("document.getElementById('state').textContent === 'reconnecting …'");
    say(&browser, "meanwhile");
    browser.wait("document.querySelector('.msg.waiting')");
    let _server = Server::start_at(&listen, folder.path());
    browser.wait("!document.querySelector('.msg.waiting')");
    say(&browser, "after");
    for (tab, name) in [(&ana, "ben"), (&ben, "ana")] {
        browser.turn_to(tab);
        choose(&browser, name);
        browser.wait(&format!("{MESSAGES}.join() === 'before,meanwhile,after'"));
    }
}
