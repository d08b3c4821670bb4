//! Addresses of machines.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::shadow::Shadow;
use super::{Keep, Span};

/// An IPv6 address in its longest form, with an IPv4 address at its end.
const TEXT_MAX: usize = 45;

pub(super) fn ips(shadow: &Shadow, found: &mut Vec<Span>) {
    let mut at = 0;
    while at < shadow.cells.len() {
        let cells = shadow.cells[at..].iter().map(|cell| cell.c);
        let text: String = cells
            .take_while(|c| c.is_ascii_hexdigit() || ".:".contains(*c))
            .collect();
        if text.is_empty() {
            at += 1;
            continue;
        }
        let trimmed = text.trim_end_matches(['.', ':']);
        let is_ip = text.len() <= TEXT_MAX && (is_ipv4(trimmed) || is_ipv6(&text, trimmed));
        let is_whole = !shadow.before(at).is_some_and(|c| c.is_ascii_alphanumeric())
            && !shadow
                .at(at + text.len())
                .is_some_and(|c| c.is_ascii_alphanumeric());
        if is_ip && is_whole {
            let length = if trimmed.parse::<Ipv6Addr>().is_ok() || is_ipv4(trimmed) {
                trimmed.len()
            } else {
                text.len()
            };
            found.push(Span {
                range: shadow.bytes(at..at + length),
                keep: Keep::NONE,
            });
        }
        at += text.len();
    }
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// Longer than a `::` in prose.
fn is_ipv6(text: &str, trimmed: &str) -> bool {
    [text, trimmed]
        .iter()
        .any(|text| text.len() > 2 && text.parse::<Ipv6Addr>().is_ok())
}
