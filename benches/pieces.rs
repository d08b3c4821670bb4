//! The pieces of the hot path: codec, room, appender. `cargo bench --bench pieces`.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use im_testkit::memory::MemoryStore;
use imkit::core::frame::{ClientFrame, Codec, ServerFrame, decode_client, encode, encode_client};
use imkit::core::machine::{Room, RoomEvent};
use imkit::core::model::{
    Body, CmId, ConversationId, Draft, Entry, Mentions, MessageId, NewEntry, Seq, Target,
    Timestamp, UserId,
};
use imkit::node::Node;

fn draft(n: u64) -> Draft {
    let to = Target::User(UserId::new("ben").unwrap());
    Draft::text(
        CmId::new(format!("m-{n:012}")).unwrap(),
        to,
        "x".repeat(128),
    )
}

fn entry(seq: u64) -> Arc<Entry> {
    let new = NewEntry {
        id: MessageId(seq),
        from: UserId::new("ana").unwrap(),
        at: Timestamp(1),
        cm_id: Some(CmId::new(format!("m-{seq:012}")).unwrap()),
        digest: 0,
        body: Body::text("x".repeat(128)),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Arc::new(new.at(ConversationId::new("c").unwrap(), Seq(seq)))
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for codec in Codec::ALL {
        let send = encode_client(codec, &ClientFrame::Send(draft(1)));
        group.bench_function(format!("{codec:?}: decode send"), |b| {
            b.iter(|| decode_client(codec, black_box(&send)).unwrap());
        });
        let frame = ServerFrame::Entry(entry(1));
        group.bench_function(format!("{codec:?}: encode entry"), |b| {
            b.iter(|| encode(codec, black_box(&frame)));
        });
    }
}

fn room(c: &mut Criterion) {
    let entries: Vec<_> = (1..=1_000).map(entry).collect();
    let mut group = c.benchmark_group("room");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 entries in order", |b| {
        b.iter(|| {
            let mut room: Room<u32> = Room::default();
            room.handle_head(Seq(0));
            let mut pushed = 0;
            for entry in &entries {
                room.handle_entry(Arc::clone(entry));
                while let Some(event) = room.poll_event() {
                    pushed += u32::from(matches!(event, RoomEvent::Push(_)));
                }
            }
            assert_eq!(black_box(pushed), 1_000);
        });
    });
}

/// From the service through a lane to a store in memory and back.
fn appender(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(async {
        let auth = imkit::node::auth::JwtAuthenticator::hs256("x".repeat(32)).unwrap();
        let mut settings = imkit::node::Settings::default();
        settings.limits.sends_per_s = 1_000_000;
        let builder = Node::builder(Arc::new(MemoryStore::new()), Arc::new(auth));
        builder.settings(settings).start().await.unwrap()
    });
    let service = node.service();
    let ana = UserId::new("ana").unwrap();
    let mut n = 0;
    let mut group = c.benchmark_group("appender");
    group.throughput(Throughput::Elements(1));
    group.bench_function("send and wait, one at a time", |b| {
        b.iter(|| {
            n += 1;
            runtime.block_on(service.send(&ana, &draft(n))).unwrap()
        });
    });
}

criterion_group!(benches, codec, room, appender);
criterion_main!(benches);
