//! Bringing a database to the newest schema.

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use crate::error::OpenError;

/// Where the schema's version is kept: a name of our own, since the host program's migrations have
/// their table in the same database.
const MIGRATIONS_TABLE: &str = "im_migration";

/// Runs those of a dialect's migrations, each a name and a text, that the database has not seen.
pub(crate) async fn migrate<C: Migrate>(
    conn: &mut C,
    migrations: &[(&'static str, &'static str)],
) -> Result<(), OpenError> {
    let migrations: Vec<Migration> = (1..)
        .zip(migrations)
        .map(|(version, (name, text))| {
            let text = sqlx::SqlSafeStr::into_sql_str(*text);
            Migration::new(version, (*name).into(), MigrationType::Simple, text, false)
        })
        .collect();
    let known = migrations.len() as i64;
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    match migrator.run_direct(None, conn, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => Err(OpenError::Newer { found, known }),
        Err(MigrateError::Execute(error)) => Err(error.into()),
        Err(error) => Err(OpenError::Damaged(error.to_string())),
    }
}
