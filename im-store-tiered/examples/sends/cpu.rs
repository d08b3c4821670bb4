//! The CPU time of this program and of the servers that it talks to, from `/proc`.

use sqlx::Connection as _;

/// Of a tick, in µs: the kernel counts in hundredths of a second for programs.
const TICK: f64 = 10_000.0;

/// Whose time is looked at: this program, Redis, the database; `None` when it can't be found.
pub(crate) struct Cpu([Option<String>; 3]);

impl Cpu {
    pub(crate) async fn of(database: &str, redis: &str) -> Self {
        let redis = redis::Client::open(redis).unwrap();
        let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
        let info = redis::cmd("INFO").arg("server").to_owned();
        let info: String = info.query_async(&mut redis).await.unwrap();
        let redis = info.lines().find_map(|it| it.strip_prefix("process_id:"));
        let mut database = sqlx::MySqlConnection::connect(database).await.unwrap();
        let file = sqlx::query_scalar("SELECT @@pid_file");
        let file: String = file.fetch_one(&mut database).await.unwrap();
        let database = std::fs::read_to_string(file).ok();
        let stat = |pid: &str| format!("/proc/{}/stat", pid.trim());
        Self([
            Some(stat("self")),
            redis.map(stat),
            database.as_deref().map(stat),
        ])
    }

    /// In µs, since each started.
    pub(crate) fn spent(&self) -> [f64; 3] {
        self.0.each_ref().map(|file| {
            let text = file
                .as_ref()
                .and_then(|it| std::fs::read_to_string(it).ok());
            text.as_deref()
                .and_then(ticks)
                .map_or(f64::NAN, |ticks| ticks * TICK)
        })
    }
}

/// User and system time; the name before them may have spaces.
fn ticks(stat: &str) -> Option<f64> {
    let fields = stat.rsplit_once(") ")?.1.split(' ');
    fields
        .skip(11)
        .take(2)
        .map(|it| it.parse::<f64>().ok())
        .sum()
}
