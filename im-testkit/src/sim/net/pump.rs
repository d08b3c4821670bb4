//! The transport at the node's end of a wire: what `im-transport-ws` is to a socket.

use std::sync::Arc;

use im_core::frame::{decode_client, decode_server};
use im_node::{Connection, Output};

use super::wire::{Down, Up, Wire};
use crate::sim::oracle::{Event, said};
use crate::sim::ports::Gate;
use crate::sim::world::World;

/// Serves a connection until either end goes; it stands still with its node.
pub(crate) async fn pump(
    world: Arc<World>,
    wire: Arc<Wire>,
    mut connection: Connection,
    gate: Arc<Gate>,
) {
    let mut output = Vec::new();
    loop {
        gate.pass().await;
        let room = wire.down.has_room();
        tokio::select! {
            biased;
            () = connection.aborted() => break,
            item = wire.up.recv(), if connection.may_read() => match item {
                Some(Up::Frame(bytes)) => {
                    observe_up(&world, &wire, &connection, &bytes);
                    connection.handle_frame(&bytes);
                }
                Some(Up::Pong) => connection.handle_activity(),
                None => break,
            },
            () = connection.ready(), if room => {
                connection.drain(&mut output);
                if write(&world, &wire, &connection, &mut output) {
                    break;
                }
            }
            () = wire.down.room(), if !room => {}
        }
    }
    wire.leave_node();
    world.observe(&Event::Ended { wire: wire.id });
}

/// Writes what was drained. True when that was the end.
fn write(world: &World, wire: &Wire, connection: &Connection, output: &mut Vec<Output>) -> bool {
    let count = output.len();
    world.observe(&Event::Drained {
        wire: wire.id,
        count,
    });
    for item in output.drain(..) {
        match item {
            Output::Frame(bytes) => {
                match decode_server(connection.codec(), &bytes) {
                    Ok(frame) => {
                        world.trace(|| format!("n{} w{} < {}", wire.node, wire.id, brief(&frame)));
                        let frame = &frame;
                        world.observe(&Event::Down {
                            wire: wire.id,
                            frame,
                        });
                    }
                    Err(error) => world.fail("frames can be read", &format!("{error:?}")),
                }
                wire.send_down(Down::Frame(bytes));
            }
            Output::Ping => wire.send_down(Down::Ping),
            Output::Close(code) => {
                world.trace(|| format!("n{} w{} < close {code:?}", wire.node, wire.id));
                wire.send_down(Down::Close(code.as_u16()));
                return true;
            }
        }
    }
    false
}

fn observe_up(world: &World, wire: &Wire, connection: &Connection, bytes: &[u8]) {
    match decode_client(connection.codec(), bytes) {
        Ok(frame) => {
            world.trace(|| format!("n{} w{} > {}", wire.node, wire.id, brief_up(&frame)));
            let frame = &frame;
            world.observe(&Event::Up {
                wire: wire.id,
                frame,
            });
        }
        Err(error) => world.fail("frames can be read", &format!("{error:?}")),
    }
}

pub(crate) fn brief(frame: &im_core::frame::ServerFrame) -> String {
    use im_core::frame::ServerFrame as F;
    match frame {
        F::Entry(entry) => format!("entry {} {} {}", entry.conv, entry.seq, said(entry)),
        F::Page(page) => {
            let end = page.entries.last().map_or(0, |entry| entry.seq.0);
            let first = page.entries.first().map_or(0, |entry| entry.seq.0);
            format!("page {} {first}..{end} more={}", page.conv, page.more)
        }
        F::Synced(synced) => {
            let lines = synced.convs.iter().map(|line| {
                let left = if line.left { " left" } else { "" };
                format!("{}@{}{left}", line.conv, line.last_seq)
            });
            let lines: Vec<String> = lines.collect();
            format!("synced {} more={}", lines.join(" "), synced.more)
        }
        F::Sent {
            cm_id,
            conv,
            seq,
            dup,
            ..
        } => format!("sent {cm_id} {conv} {seq} dup={dup}"),
        F::Behind { conv, last_seq, .. } => format!("behind {conv} {last_seq}"),
        F::Err(err) => {
            let cm_id = err.cm_id.as_ref().map_or("", |id| id.as_str());
            format!("err {} {cm_id} {:?}", err.re, err.failure)
        }
        F::Event(value) => format!("event {}", value.to_json()),
        F::Res { value, .. } => format!("res {}", value.to_json()),
        other => other.name().to_owned(),
    }
}

pub(crate) fn brief_up(frame: &im_core::frame::ClientFrame) -> String {
    use im_core::frame::ClientFrame as F;
    match frame {
        F::Ack(mark) | F::Read(mark) => format!("{} {} {}", frame.name(), mark.conv, mark.seq),
        F::Pull(pull) => format!("pull {} {:?}", pull.conv, pull.range),
        F::Send(draft) => format!("send {} {:?}", draft.cm_id, draft.to),
        F::Req { method, params, .. } => format!("req {method} {}", params.to_json()),
        F::Sync { since, .. } => format!("sync {}", since.as_deref().unwrap_or("-")),
        other => other.name().to_owned(),
    }
}
