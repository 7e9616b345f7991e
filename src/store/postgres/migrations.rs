//! The shape of the tables, and how they come to have it. Each step is numbered and has a way back.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::store::postgres::address::Address;
use crate::store::postgres::connections::{Driver, Trouble};

/// Held while a step is taken: several nodes may be started at once. The number is ours alone.
const LOCK: i64 = 0x636f_7072_6573_656e;
/// A step may rewrite large tables, or wait for another node that does.
const STEP_WITHIN: Duration = Duration::from_secs(3600);

/// How long looking at the list of steps may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

struct Migration {
    number: i32,
    up: &'static str,
    down: &'static str,
}

const MIGRATIONS: [Migration; 4] = [
    Migration {
        number: 1,
        up: include_str!("../migrations/postgres/0001_documents.up.sql"),
        down: include_str!("../migrations/postgres/0001_documents.down.sql"),
    },
    Migration {
        number: 2,
        up: include_str!("../migrations/postgres/0002_people.up.sql"),
        down: include_str!("../migrations/postgres/0002_people.down.sql"),
    },
    Migration {
        number: 3,
        up: include_str!("../migrations/postgres/0003_batches.up.sql"),
        down: include_str!("../migrations/postgres/0003_batches.down.sql"),
    },
    Migration {
        number: 4,
        up: include_str!("../migrations/postgres/0004_revocations.up.sql"),
        down: include_str!("../migrations/postgres/0004_revocations.down.sql"),
    },
];

/// Takes the steps that are missing.
pub fn apply(address: &Address) -> Result<(), Trouble> {
    let (driver, mut client) = Driver::connect(address)?;
    driver.run(STEP_WITHIN, async {
        let encoding: String = client
            .query_one("SHOW server_encoding", &[])
            .await?
            .try_get(0)?;
        if encoding != "UTF8" {
            let why = format!("the database's encoding is {encoding}; it must be UTF8");
            return Err(Trouble::Unfit(why));
        }
        for migration in &MIGRATIONS {
            let step = begin(&mut client).await?;
            let reached = reached(&step).await?;
            must_be_known(reached)?;
            if reached < migration.number {
                step.batch_execute(migration.up).await?;
                step.execute(
                    "INSERT INTO collab.migration (number) VALUES ($1)",
                    &[&migration.number],
                )
                .await?;
            }
            step.commit().await?;
        }
        Ok(())
    })
}

/// Refuses a database that we have never been in.
pub fn must_exist(address: &Address) -> Result<(), Trouble> {
    match found(address)? {
        Some(_) => Ok(()),
        None => Err(Trouble::Unfit("there are no tables of ours".to_owned())),
    }
}

/// Refuses tables that are not those of this version.
pub fn must_be_current(address: &Address) -> Result<(), Trouble> {
    match found(address)? {
        Some(number) if number == newest() => Ok(()),
        Some(_) => Err(not_ours()),
        None => Err(Trouble::Unfit("there are no tables of ours".to_owned())),
    }
}

/// The same, asked by a session that has been away.
pub async fn must_still_be_current(client: &Client) -> Result<(), Trouble> {
    match reached(client).await? == newest() {
        true => Ok(()),
        false => Err(not_ours()),
    }
}

fn must_be_known(reached: i32) -> Result<(), Trouble> {
    if reached <= newest() {
        return Ok(());
    }
    let why = format!("its tables are those of a newer version (migration {reached})");
    Err(Trouble::Unfit(why))
}

fn not_ours() -> Trouble {
    Trouble::Unfit("its tables are not those of this version".to_owned())
}

/// The last step that was taken, without taking any.
fn found(address: &Address) -> Result<Option<i32>, Trouble> {
    let (driver, client) = Driver::connect(address)?;
    driver.run(LOOK_WITHIN, async {
        let has_list = "SELECT to_regclass('collab.migration') IS NOT NULL";
        if client.query_one(has_list, &[]).await?.try_get(0)? {
            return Ok(Some(reached(&client).await?));
        }
        Ok(None)
    })
}

fn newest() -> i32 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// Undoes the steps behind `number`, the newest first; which these were.
pub fn undo(address: &Address, number: u32) -> Result<Vec<u32>, Trouble> {
    let (driver, mut client) = Driver::connect(address)?;
    driver.run(STEP_WITHIN, async {
        let mut undone = Vec::new();
        for migration in MIGRATIONS.iter().rev() {
            let step = begin(&mut client).await?;
            let reached = reached(&step).await?;
            must_be_known(reached)?;
            if i64::from(number) < i64::from(migration.number) && migration.number <= reached {
                step.batch_execute(migration.down).await?;
                step.execute(
                    "DELETE FROM collab.migration WHERE number = $1",
                    &[&migration.number],
                )
                .await?;
                undone.push(migration.number.unsigned_abs());
            }
            step.commit().await?;
        }
        Ok(undone)
    })
}

/// Begins a step as the only one who does, with the list of steps at hand.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, Trouble> {
    let step = client.transaction().await?;
    step.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        .await?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    // Asked first, so that the role needs no right to create schemas where there is one.
    let has_schema: bool = step
        .query_one("SELECT to_regnamespace('collab') IS NOT NULL", &[])
        .await?
        .try_get(0)?;
    if !has_schema {
        step.batch_execute("CREATE SCHEMA collab").await?;
    }
    step.batch_execute(
        "CREATE TABLE IF NOT EXISTS collab.migration (
            number integer PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        )",
    )
    .await?;
    Ok(step)
}

/// The last step that was taken; 0 for none.
async fn reached(step: &impl GenericClient) -> Result<i32, Trouble> {
    let newest = "SELECT coalesce(max(number), 0) FROM collab.migration";
    Ok(step.query_one(newest, &[]).await?.try_get(0)?)
}
