//! Making a group with many members who are online.

use std::net::Ipv4Addr;

use crate::client::{Conn, Fleet, Opened};
use crate::target::Place;
use crate::{Result, json};

/// Members that one call names.
const SLICE: u32 = 100;

/// Makes a group of users 0 to `size` − 1, before they are here; user 0 owns it. Returns its id.
pub(crate) async fn create(place: &Place, size: u32) -> Result<String> {
    begin(place, size, "groups.create").await
}

/// The same of a channel: user 0 publishes, the others have subscribed.
pub(crate) async fn create_channel(place: &Place, size: u32) -> Result<String> {
    begin(place, size, "channels.create").await
}

async fn begin(place: &Place, size: u32, method: &str) -> Result<String> {
    let (owner, mut reader) = Conn::open(place, 0, Ipv4Addr::LOCALHOST).await?;
    let params = r#"{"title":"load","members":[]}"#;
    let value = owner.request(&mut reader, method, params).await?;
    let conv = json::field(&value, "conv")
        .and_then(json::text)
        .ok_or("no conv in the answer")?;
    let conv = String::from_utf8(conv.to_vec())?;
    let mut next = 1;
    while next < size {
        let users = list(place, next..size.min(next + SLICE));
        let params = format!(r#"{{"conv":"{conv}","users":{users}}}"#);
        owner.request(&mut reader, "groups.add", &params).await?;
        next += SLICE;
    }
    Ok(conv)
}

/// Opens a connection for each of the users; what they send goes to the group.
pub(crate) async fn enter(
    place: &Place,
    users: std::ops::Range<u32>,
    conv: &str,
) -> Result<Vec<Opened>> {
    let opened = Fleet::open(place, users, Ipv4Addr::LOCALHOST).await?;
    for (conn, _) in &opened {
        conn.machine.borrow_mut().aim_at_conv(conv);
    }
    Ok(opened)
}

fn list(place: &Place, users: std::ops::Range<u32>) -> String {
    let names: Vec<String> = users
        .map(|user| format!(r#""{}""#, place.user(user)))
        .collect();
    format!("[{}]", names.join(","))
}
