//! `docs/protocol.md` names what the code has.

use im_core::frame::{ErrorCode, Limits};
use im_core::model::{Family, Kind};

const PAGE: &str = include_str!("../../../docs/protocol.md");

#[test]
fn every_code_stands_on_the_page_with_its_status() {
    for code in ErrorCode::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.http_status());
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
fn every_kind_stands_on_the_page_in_its_family() {
    let start = PAGE.find("## Bodies").unwrap();
    let bodies = &PAGE[start..];
    let change = bodies.find("| change |").unwrap();
    let server = bodies.find("| server |").unwrap();
    for kind in Kind::ALL {
        let name = format!("`{}`", kind.as_str());
        let rows = match kind.family() {
            Family::Say => &bodies[..change],
            Family::Change => &bodies[change..server],
            Family::Server => &bodies[server..],
        };
        assert!(rows.contains(&name), "{name}");
    }
}

#[test]
fn the_defaults_on_the_page_are_the_codes() {
    let limits = Limits::default();
    for (name, value) in [
        ("frame_bytes", limits.frame_bytes as u64),
        ("page_bytes", limits.page_bytes as u64),
        ("text_chars", limits.text_chars as u64),
        ("window", limits.window as u64),
        ("ack_ms", limits.ack_ms),
        ("sends_per_s", u64::from(limits.sends_per_s)),
        ("dedupe_ms", limits.dedupe_ms),
    ] {
        let row = PAGE
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let default = row
            .and_then(|row| row.split('|').nth(2))
            .unwrap_or_default();
        assert_eq!(default.trim().replace(',', ""), value.to_string(), "{name}");
    }
}
