//! A headless Chromium, driven by chromedriver over plain HTTP.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;

/// How long a page may take to show what it is to show.
const DEADLINE: Duration = Duration::from_secs(30);
/// The key that sends.
pub(crate) const ENTER: &str = "\u{e007}";
/// No GPU, no sandbox (tests run as root), and no calls to the browser's maker.
const ARGUMENTS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser, gone with the test.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    path: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; `None` when there is none on this machine, with the reason printed.
    pub(crate) fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut driver) = command.spawn() else {
            println!("skipped: no chromedriver here (apt-get install chromium chromium-driver)");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let said = lines.by_ref().map_while(Result::ok);
        let port = said.filter_map(|line| {
            let port = line.split("successfully on port ").nth(1)?;
            port.trim_end_matches('.').parse().ok()
        });
        let port: u16 = { port }.next().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Self {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            path: "/session".to_owned(),
            _profile: profile,
        };
        let options = json!({ "goog:chromeOptions": { "args": arguments } });
        let made = browser.ask(
            "POST",
            "",
            json!({ "capabilities": { "alwaysMatch": options } }),
        );
        browser.path = format!("/session/{}", made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn ask(&self, verb: &str, path: &str, body: Value) -> Value {
        let path = format!("{}{path}", self.path);
        let headers = [("content-type", "application/json")];
        let answer = http::request(self.address, verb, &path, &headers, &body.to_string());
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{verb} {path}: {value}");
        value["value"].clone()
    }

    /// The tab that is driven.
    pub(crate) fn tab(&self) -> String {
        self.ask("GET", "/window", json!({}))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Opens another tab, and drives it.
    pub(crate) fn new_tab(&self) -> String {
        let made = self.ask("POST", "/window/new", json!({ "type": "window" }));
        let tab = made["handle"].as_str().unwrap().to_owned();
        self.turn_to(&tab);
        tab
    }

    pub(crate) fn turn_to(&self, tab: &str) {
        self.ask("POST", "/window", json!({ "handle": tab }));
    }

    pub(crate) fn open(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url }));
    }

    /// What a JavaScript expression gives.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let body = json!({ "script": format!("return {expression}"), "args": [] });
        self.ask("POST", "/execute/sync", body)
    }

    /// Waits until an expression gives true.
    pub(crate) fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.eval(&format!("!!({expression})")) != json!(true) {
            if start.elapsed() > DEADLINE {
                let page = self.eval("document.body.innerText");
                panic!("never true: {expression}\n{page}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn element(&self, css: &str) -> String {
        let body = json!({ "using": "css selector", "value": css });
        let found = self.ask("POST", "/element", body);
        let id = found.as_object().unwrap().values().next().unwrap();
        format!("/element/{}", id.as_str().unwrap())
    }

    pub(crate) fn click(&self, css: &str) {
        self.ask("POST", &format!("{}/click", self.element(css)), json!({}));
    }

    pub(crate) fn type_into(&self, css: &str, text: &str) {
        let path = format!("{}/value", self.element(css));
        self.ask("POST", &path, json!({ "text": text }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver is ended in any case.
        let _ = http::try_request(self.address, "DELETE", &self.path, &[], "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
