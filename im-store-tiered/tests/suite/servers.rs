//! Redis and databases, those that `IMKIT_TEST_*_URL` name; without them, what needs them is passed
//! over. `scripts/services up` starts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use im_core::port::{Hot, Store};
use im_store_redis::{HotOptions, RedisHot};
use im_store_sql::{MySqlStore, PostgresStore, SqliteStore};
use im_store_tiered::{Options, Tiered};
use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection};

/// Deletes a tier's keys when the test ends, also by a panic: the server is there for longer.
pub(crate) struct Leftovers {
    url: String,
    prefix: String,
}

impl Leftovers {
    pub(crate) fn delete(&self) -> redis::RedisResult<()> {
        let mut raw = redis::Client::open(&*self.url)?.get_connection()?;
        let pattern = format!("{{{}-hot-*", self.prefix);
        let keys: Vec<String> = redis::cmd("KEYS").arg(&pattern).query(&mut raw)?;
        for some in keys.chunks(1000) {
            redis::cmd("UNLINK").arg(some).exec(&mut raw)?;
        }
        Ok(())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("keys are left: {error}");
        }
    }
}

/// A name that no other test has.
fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("t{process}_{now}_{count}")
}

pub(crate) fn hot_options(keep: usize) -> HotOptions {
    HotOptions {
        prefix: name(),
        lanes: 4,
        keep,
        // The suite's entries are of some time in 2026.
        keep_for: Duration::from_secs(10 * 365 * 24 * 3600),
        ..HotOptions::default()
    }
}

pub(crate) async fn redis(keep: usize) -> Option<(Leftovers, Arc<dyn Hot>)> {
    redis_with(hot_options(keep)).await
}

pub(crate) async fn redis_with(options: HotOptions) -> Option<(Leftovers, Arc<dyn Hot>)> {
    let url = std::env::var("IMKIT_TEST_REDIS_URL").ok()?;
    let prefix = options.prefix.clone();
    let hot = RedisHot::connect(&url, options).await.expect("Redis is up");
    Some((Leftovers { url, prefix }, Arc::new(hot)))
}

/// A login of a tier's own, which goes with it.
pub(crate) struct Login {
    name: String,
    keys: Leftovers,
}

impl Login {
    /// Whether Redis takes anything from it; it may read.
    pub(crate) fn may_write(&self, may: bool) {
        let rule = if may { "+@write" } else { "-@write" };
        self.acl(&["SETUSER", &self.name, rule]);
    }

    fn acl(&self, words: &[&str]) {
        let raw = redis::Client::open(&*self.keys.url).unwrap();
        let mut raw = raw.get_connection().unwrap();
        redis::cmd("ACL").arg(words).exec(&mut raw).unwrap();
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.acl(&["DELUSER", &self.name]);
    }
}

pub(crate) async fn redis_login(keep: usize) -> Option<(Login, Arc<dyn Hot>)> {
    let url = std::env::var("IMKIT_TEST_REDIS_URL").ok()?;
    let options = hot_options(keep);
    let name = options.prefix.clone();
    let keys = Leftovers {
        url: url.clone(),
        prefix: name.clone(),
    };
    let login = Login { name, keys };
    login.acl(&["SETUSER", &login.name, "on", ">secret", "~*", "&*", "+@all"]);
    let (scheme, rest) = url.split_once("://").unwrap();
    let place = rest.rsplit('@').next().unwrap();
    let url = format!("{scheme}://{}:secret@{place}", login.name);
    let hot = RedisHot::connect(&url, options).await.expect("Redis is up");
    Some((login, Arc::new(hot)))
}

pub(crate) async fn cluster() -> Option<Arc<dyn Hot>> {
    let url = std::env::var("IMKIT_TEST_REDIS_CLUSTER_URL").ok()?;
    let options = HotOptions {
        prefix: name(),
        is_cluster: true,
        ..HotOptions::default()
    };
    let hot = RedisHot::connect(&url, options).await;
    Some(Arc::new(hot.expect("the cluster is up")))
}

/// A database of a test's own, dropped after it.
pub(crate) struct Database {
    url: String,
    remove: String,
    _file: Option<tempfile::TempDir>,
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, remove) = (self.url.clone(), std::mem::take(&mut self.remove));
        if remove.is_empty() {
            return;
        }
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(run(&url, remove));
        });
        let _ = dropped.join();
    }
}

async fn run(url: &str, text: String) {
    let text = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    if url.starts_with("mysql") {
        let mut conn = MySqlConnection::connect(url).await.unwrap();
        conn.execute(text).await.unwrap();
    } else {
        let mut conn = PgConnection::connect(url).await.unwrap();
        conn.execute(text).await.unwrap();
    }
}

pub(crate) async fn sqlite() -> (Database, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/chat.db", folder.path().display());
    let store = SqliteStore::connect(&url).await.unwrap();
    let database = Database {
        url,
        remove: String::new(),
        _file: Some(folder),
    };
    (database, Arc::new(store))
}

pub(crate) async fn mysql() -> Option<(Database, Arc<dyn Store>)> {
    let url = std::env::var("IMKIT_TEST_MYSQL_URL").ok()?;
    let name = name();
    run(&url, format!("CREATE DATABASE {name}")).await;
    let (base, _) = url.rsplit_once('/').unwrap();
    let store = MySqlStore::connect(&format!("{base}/{name}"))
        .await
        .unwrap();
    let database = Database {
        url,
        remove: format!("DROP DATABASE {name}"),
        _file: None,
    };
    Some((database, Arc::new(store)))
}

pub(crate) async fn postgres() -> Option<(Database, Arc<dyn Store>)> {
    let url = std::env::var("IMKIT_TEST_POSTGRES_URL").ok()?;
    let name = name();
    run(&url, format!("CREATE SCHEMA {name}")).await;
    let address = format!("{url}?options[search_path]={name}");
    let store = PostgresStore::connect(&address).await.unwrap();
    let database = Database {
        url,
        remove: format!("DROP SCHEMA {name} CASCADE"),
        _file: None,
    };
    Some((database, Arc::new(store)))
}

/// A tiered store over Redis and a database, if there are.
pub(crate) async fn tiered(
    hot: Option<(Leftovers, Arc<dyn Hot>)>,
    cold: Option<(Database, Arc<dyn Store>)>,
    options: Options,
) -> Option<((Leftovers, Database), Arc<dyn Store>)> {
    let ((keys, hot), (database, cold)) = (hot?, cold?);
    let store = Tiered::start(hot, cold, options);
    Some(((keys, database), Arc::new(store)))
}
