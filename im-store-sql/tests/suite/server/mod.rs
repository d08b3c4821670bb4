//! The store's suite on real servers: `IMKIT_TEST_POSTGRES_URL` and `IMKIT_TEST_MYSQL_URL` say
//! where they are. Each case has a database of its own, and none of the two runs without its server
//! (`scripts/test` starts them, and says so when it does not).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::port::{Search, Store};
use im_store_sql::{Dialect, MySqlDialect, PostgresDialect, ServerOptions, ServerStore};
use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection};

mod faults;
mod host;
mod open;
mod search;
mod shard;
mod under_way;

mod postgres {
    im_testkit::search_suite!(super::searched::<super::PostgresDialect>());
    im_testkit::store_suite!(super::fresh::<super::PostgresDialect>());
    im_testkit::cold_store_suite!(super::fresh::<super::PostgresDialect>());
}

mod mysql {
    im_testkit::search_suite!(super::searched::<super::MySqlDialect>());
    im_testkit::store_suite!(super::fresh::<super::MySqlDialect>());
    im_testkit::cold_store_suite!(super::fresh::<super::MySqlDialect>());
}

/// Every message comes in a transaction of the host program, at the isolation it has by default.
mod in_a_host_of_postgres {
    im_testkit::store_suite!(super::host::fresh::<super::PostgresDialect>());
    im_testkit::cold_store_suite!(super::host::fresh::<super::PostgresDialect>());
}

mod in_a_host_of_mysql {
    im_testkit::store_suite!(super::host::fresh::<super::MySqlDialect>());
    im_testkit::cold_store_suite!(super::host::fresh::<super::MySqlDialect>());
}

/// The databases so far.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A server of tests.
trait Server: Dialect {
    /// Where its address is.
    const VARIABLE: &'static str;

    /// Makes a place of that name for a case.
    fn create(name: &str) -> String;

    /// Takes it away, with everything in it.
    fn remove(name: &str) -> String;

    /// The place's address.
    fn at(address: &str, name: &str) -> String;

    /// Runs a statement on the server's own database.
    fn run(address: &str, text: String) -> impl Future<Output = ()>;

    /// Reads in a host's transaction, as business code does: at MySQL's isolation, what other
    /// transactions commit from here on is seen by locking reads only.
    fn look(conn: &mut <Self::Db as sqlx::Database>::Connection)
    -> impl Future<Output = ()> + Send;
}

/// What [`Server::look`] reads.
const LOOK: &str = "SELECT one FROM im_meta";

impl Server for PostgresDialect {
    const VARIABLE: &'static str = "IMKIT_TEST_POSTGRES_URL";

    // A schema: a database costs a checkpoint when it goes.
    fn create(name: &str) -> String {
        format!("CREATE SCHEMA {name}")
    }

    fn remove(name: &str) -> String {
        format!("DROP SCHEMA {name} CASCADE")
    }

    fn at(address: &str, name: &str) -> String {
        format!("{address}?options[search_path]={name}")
    }

    async fn run(address: &str, text: String) {
        let mut conn = PgConnection::connect(address).await.unwrap();
        let text = sqlx::AssertSqlSafe(text);
        conn.execute(sqlx::raw_sql(text)).await.unwrap();
    }

    async fn look(conn: &mut PgConnection) {
        conn.execute(LOOK).await.unwrap();
    }
}

impl Server for MySqlDialect {
    const VARIABLE: &'static str = "IMKIT_TEST_MYSQL_URL";

    fn create(name: &str) -> String {
        format!("CREATE DATABASE {name}")
    }

    fn remove(name: &str) -> String {
        format!("DROP DATABASE {name}")
    }

    fn at(address: &str, name: &str) -> String {
        let (base, _) = address.rsplit_once('/').unwrap();
        format!("{base}/{name}")
    }

    async fn run(address: &str, text: String) {
        let mut conn = MySqlConnection::connect(address).await.unwrap();
        let text = sqlx::AssertSqlSafe(text);
        conn.execute(sqlx::raw_sql(text)).await.unwrap();
    }

    async fn look(conn: &mut MySqlConnection) {
        conn.execute(LOOK).await.unwrap();
    }
}

/// A place on the server that goes with its case.
struct Database<D: Server> {
    server: String,
    name: String,
    /// Where it is.
    address: String,
    _dialect: std::marker::PhantomData<D>,
}

impl<D: Server> Database<D> {
    /// A new one, if there is a server.
    async fn new() -> Option<Self> {
        let server = std::env::var(D::VARIABLE).ok()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("im_test_{}_{count}", std::process::id());
        D::run(&server, D::create(&name)).await;
        Some(Self {
            address: D::at(&server, &name),
            server,
            name,
            _dialect: std::marker::PhantomData,
        })
    }

    async fn store(&self) -> ServerStore<D> {
        let options = ServerOptions {
            connections: 4,
            ..ServerOptions::default()
        };
        ServerStore::connect_with(&self.address, options)
            .await
            .unwrap()
    }
}

impl<D: Server> Drop for Database<D> {
    fn drop(&mut self) {
        let text = D::remove(&self.name);
        let server = self.server.clone();
        // The case's runtime may be at its end.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(D::run(&server, text));
        });
        let _ = dropping.join();
    }
}

async fn fresh<D: Server>() -> Option<(Database<D>, Arc<dyn Store>)> {
    let database = Database::<D>::new().await?;
    let store = database.store().await;
    Some((database, Arc::new(store)))
}

async fn searched<D: Server>() -> Option<(Database<D>, (Arc<dyn Store>, Arc<dyn Search>))> {
    let database = Database::<D>::new().await?;
    let store = Arc::new(database.store().await);
    Some((database, (Arc::clone(&store) as _, store)))
}
