//! On real servers: `IMKIT_TEST_POSTGRES_URL` and `IMKIT_TEST_MYSQL_URL` say where they are. What
//! needs one that is not there is passed over (`scripts/test` says so).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_core::model::{Slot, direct_id};
use im_core::port::{
    CargoQuery, Committed, Holding, Phase, PortErrorKind, Rejected, Search, Shard, Store, Write,
};
use im_store_sharded::{Mover, Sharded};
use im_store_sql::{MySqlStore, PostgresStore, ServerOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};

use crate::kit::{Service, commit, conv, entry, group, say, user};
use crate::load::under_load;

mod two_of_postgres {
    im_testkit::store_suite!(super::fresh([super::Kind::Postgres; 2]));
}

mod two_of_mysql {
    im_testkit::store_suite!(super::fresh([super::Kind::MySql; 2]));
}

mod one_of_each {
    im_testkit::store_suite!(super::fresh([super::Kind::Postgres, super::Kind::MySql]));
    im_testkit::search_suite!(super::searched([super::Kind::Postgres, super::Kind::MySql]));
}

/// How long slots move under load.
const LOAD: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_two_of_postgres_move_under_load() {
    if let Some((places, shards)) = shards([Kind::Postgres; 2]).await {
        under_load(shards, LOAD, 2).await;
        drop(places);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_two_of_mysql_move_under_load() {
    if let Some((places, shards)) = shards([Kind::MySql; 2]).await {
        under_load(shards, LOAD, 3).await;
        drop(places);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_between_one_of_each_under_load() {
    if let Some((places, shards)) = shards([Kind::Postgres, Kind::MySql]).await {
        under_load(shards, LOAD, 4).await;
        drop(places);
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Postgres,
    MySql,
}

/// A place on a server that goes with its case.
pub(crate) struct Place {
    kind: Kind,
    server: String,
    name: String,
}

impl Place {
    /// A new one, if there is a server.
    pub(crate) async fn new(kind: Kind) -> Option<Self> {
        let variable = match kind {
            Kind::Postgres => "IMKIT_TEST_POSTGRES_URL",
            Kind::MySql => "IMKIT_TEST_MYSQL_URL",
        };
        let place = Self {
            kind,
            server: std::env::var(variable).ok()?,
            name: format!(
                "im_shard_{}_{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ),
        };
        let what = match kind {
            Kind::Postgres => "SCHEMA",
            Kind::MySql => "DATABASE",
        };
        let text = format!("CREATE {what} {}", place.name);
        run(kind, &place.server, text).await;
        Some(place)
    }

    pub(crate) async fn open(&self) -> Arc<dyn Shard> {
        let options = ServerOptions {
            connections: 4,
            ..ServerOptions::default()
        };
        let address = self.address();
        match self.kind {
            Kind::Postgres => {
                let store = PostgresStore::connect_with(&address, options).await;
                Arc::new(store.unwrap())
            }
            Kind::MySql => {
                let store = MySqlStore::connect_with(&address, options).await;
                Arc::new(store.unwrap())
            }
        }
    }

    fn address(&self) -> String {
        let Self { server, name, .. } = self;
        match self.kind {
            Kind::Postgres => format!("{server}?options[search_path]={name}"),
            Kind::MySql => {
                let (base, _) = server.rsplit_once('/').unwrap();
                format!("{base}/{name}")
            }
        }
    }
}

async fn run(kind: Kind, server: &str, text: String) {
    let text = AssertSqlSafe(text);
    match kind {
        Kind::Postgres => {
            let mut conn = PgConnection::connect(server).await.unwrap();
            conn.execute(sqlx::raw_sql(text)).await.unwrap();
        }
        Kind::MySql => {
            let mut conn = MySqlConnection::connect(server).await.unwrap();
            conn.execute(sqlx::raw_sql(text)).await.unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let text = match self.kind {
            Kind::Postgres => format!("DROP SCHEMA {} CASCADE", self.name),
            Kind::MySql => format!("DROP DATABASE {}", self.name),
        };
        let (kind, server) = (self.kind, self.server.clone());
        // The case's runtime may be at its end.
        let dropped = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(run(kind, &server, text));
        });
        let _ = dropped.join();
    }
}

pub(crate) async fn shards(kinds: [Kind; 2]) -> Option<(Vec<Place>, Vec<Arc<dyn Shard>>)> {
    let (mut places, mut shards) = (Vec::new(), Vec::new());
    for kind in kinds {
        let place = Place::new(kind).await?;
        shards.push(place.open().await);
        places.push(place);
    }
    Some((places, shards))
}

async fn searched(kinds: [Kind; 2]) -> Option<(Vec<Place>, (Arc<dyn Store>, Arc<dyn Search>))> {
    let (places, shards) = shards(kinds).await?;
    let store = Arc::new(Sharded::open(shards).await.unwrap());
    Some((places, (Arc::clone(&store) as _, store)))
}

async fn fresh(kinds: [Kind; 2]) -> Option<(Vec<Place>, Arc<dyn Store>)> {
    let (places, shards) = shards(kinds).await?;
    Some((places, Arc::new(Sharded::open(shards).await.unwrap())))
}

/// A process that was started when the database was one alone, and knows nothing of the others.
async fn old_process_is_fenced(kind: Kind) {
    let Some((places, shards)) = shards([kind; 2]).await else {
        return;
    };
    let old = Arc::clone(&shards[0]);
    let (stays, goes) = (conv("stays"), conv("goes"));
    for id in [&stays, &goes] {
        let made = old.commit(&[commit(id, vec![group(&["al"])])]).await;
        assert!(made[0].is_ok(), "{made:?}");
    }
    // Another process, with connections of its own.
    let new = vec![places[0].open().await, places[1].open().await];
    let service = Service::on(new).await;
    let mut mover = Mover::new(&service.operator, Slot::of(&goes), 1, 1).unwrap();
    mover.run().await.unwrap();
    let send = |id| commit(id, vec![entry("al", "m", "m")]);
    let answers = old.commit(&[send(&goes), send(&stays)]).await;
    let Err(Rejected::Store(error)) = &answers[0] else {
        panic!("{:?}", answers[0]);
    };
    assert_eq!(error.kind(), PortErrorKind::Moved);
    assert!(answers[1].is_ok(), "{answers:?}");
    assert!(!say(&service.nodes[0], &goes, "m").await.dup);
    drop(places);
}

#[tokio::test]
async fn a_process_that_knows_of_one_postgres_only_is_fenced() {
    old_process_is_fenced(Kind::Postgres).await;
}

#[tokio::test]
async fn a_process_that_knows_of_one_mysql_only_is_fenced() {
    old_process_is_fenced(Kind::MySql).await;
}

/// What was there before there were slots gets the same that we compute.
async fn slots_of_old_rows(kind: Kind, migration: &str) {
    let Some(place) = Place::new(kind).await else {
        return;
    };
    let shard = place.open().await;
    let ids: Vec<_> = (0..20).map(|n| conv(&format!("é{n}"))).collect();
    for id in &ids {
        let (user, other) = (user("al"), user(id.as_str()));
        let direct = direct_id(&user, &other);
        let block = Write::Block {
            user,
            other,
            on: true,
        };
        let batch = [
            commit(id, vec![group(&["al"])]),
            commit(&direct, vec![block]),
        ];
        assert!(shard.commit(&batch).await.iter().all(Result::is_ok));
    }
    let updates = migration.split(';').map(|text| {
        let lines = text.lines().filter(|line| !line.starts_with("--"));
        lines.collect::<Vec<_>>().join("\n")
    });
    for update in updates.filter(|text| text.trim_start().starts_with("UPDATE")) {
        let table = update.split_whitespace().nth(1).unwrap();
        let forget = format!("UPDATE {table} SET slot = 5000");
        run(kind, &place.address(), forget).await;
        run(kind, &place.address(), update.clone()).await;
    }
    for id in &ids {
        let cargo = shard
            .cargo(Slot::of(id), &CargoQuery::Conversations(None), 99)
            .await;
        let found = cargo.unwrap().conversations;
        assert!(found.iter().any(|found| found.id == *id), "{id}");
        let slot = Slot::of_block(&user("al"), &user(id.as_str()));
        let cargo = shard.cargo(slot, &CargoQuery::Records(None), 99).await;
        assert!(!cargo.unwrap().records.is_empty(), "{id}");
    }
    drop(place);
}

#[tokio::test]
async fn rows_that_were_there_before_get_their_slots_on_postgres() {
    let migration = include_str!("../../../im-store-sql/migrations/postgres/0003_slot.sql");
    slots_of_old_rows(Kind::Postgres, migration).await;
}

#[tokio::test]
async fn rows_that_were_there_before_get_their_slots_on_mysql() {
    let migration = include_str!("../../../im-store-sql/migrations/mysql/0003_slot.sql");
    slots_of_old_rows(Kind::MySql, migration).await;
}

/// A slot closes while a commit is held up that looked when it was open: how that commit ends, when
/// nothing is written after the slot has closed.
async fn held_up_while_it_closes<C>(
    kind: Kind,
    begin: impl AsyncFn(&str) -> C,
) -> Option<Result<Committed, Rejected>>
where
    C: sqlx::Connection,
{
    let place = Place::new(kind).await?;
    let shard = place.open().await;
    let _service = Service::on(vec![Arc::clone(&shard)]).await;
    let g = conv("g");
    let made = shard.commit(&[commit(&g, vec![group(&["al"])])]).await;
    assert!(made[0].is_ok());
    let open = shard.holdings(None).await.unwrap().unwrap();
    let open = *open.of(Slot::of(&g)).unwrap();
    let blocker = begin(&place.address()).await;
    let sender = Arc::clone(&shard);
    let send = commit(&g, vec![entry("al", "m", "m")]);
    let sending = tokio::spawn(async move { sender.commit(&[send]).await.remove(0) });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sending.is_finished(), "it waits for the conversation");
    let closed = Holding {
        phase: Phase::Closed { to: 1 },
        ..open
    };
    let closer = Arc::clone(&shard);
    let closing = tokio::spawn(async move {
        let closed = closer.turn(open.slot, Some(open), Some(closed)).await;
        assert!(closed.unwrap());
        closer.view(&conv("g"), &[]).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    blocker.close().await.unwrap();
    let (sent, closed_at) = (sending.await.unwrap(), closing.await.unwrap());
    assert_eq!(shard.view(&g, &[]).await.unwrap(), closed_at, "{sent:?}");
    drop(place);
    Some(sent)
}

/// Locks the conversation for as long as the connection lives.
const LOCK: &str = "BEGIN; SELECT no FROM im_conversation WHERE id = 'g' FOR UPDATE";

#[tokio::test]
async fn a_slot_closes_behind_the_commits_that_found_it_open_on_postgres() {
    let begin = async |address: &str| {
        let mut conn = PgConnection::connect(address).await.unwrap();
        conn.execute(sqlx::raw_sql(LOCK)).await.unwrap();
        conn
    };
    let sent = held_up_while_it_closes(Kind::Postgres, begin).await;
    assert!(sent.is_none_or(|sent| sent.is_ok()));
}

#[tokio::test]
async fn a_commit_that_looked_before_a_slot_closed_looks_again_on_mysql() {
    let begin = async |address: &str| {
        let mut conn = MySqlConnection::connect(address).await.unwrap();
        conn.execute(sqlx::raw_sql(LOCK)).await.unwrap();
        conn
    };
    let sent = held_up_while_it_closes(Kind::MySql, begin).await;
    let is_moved =
        |sent| matches!(sent, Err(Rejected::Store(e)) if e.kind() == PortErrorKind::Moved);
    assert!(sent.is_none_or(is_moved));
}
