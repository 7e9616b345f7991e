//! One connection with its statements prepared: what is said to the database, and in what order.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use crate::store::BatchId;
use crate::store::postgres::batch::{Act, Batch, Step};
use crate::store::postgres::people::Statements;

/// The server gives up by itself before we do, so that a statement does not outlive its caller.
const SETTINGS: &str = "
    SET statement_timeout = '30s';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s';";

/// An answer means that it is on disk, also where somebody has made the server quicker than that.
/// Stricter settings (waiting for a standby) are left as they are.
pub const BEGIN_WRITING: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
    SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') = 'off';";

/// The time that a large document takes on its way to us is the statement's as well.
pub const BEGIN_READING: &str = "
    BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL statement_timeout = '290s';";

/// What was begun is done; or undone, if any of it failed.
pub const COMMIT: &str = "COMMIT";

/// Ends the transaction, with this, if the batch was carried out before.
const NOTE_BATCH: &str = "SELECT collab.note_batch($1, $2)";
const WAS_CARRIED_OUT: &str = "YC002";

/// Rooms never written to get their row. Those that have one are left out beforehand: a conflict
/// costs an id each time.
const INSERT_ROOMS: &str = "
    INSERT INTO collab.document (room, last)
    SELECT given.room, 0 FROM unnest($1::text[]) AS given (room)
    WHERE NOT EXISTS (SELECT FROM collab.document AS known WHERE known.room = given.room)
    ON CONFLICT (room) DO NOTHING";

/// Everybody locks in the order of the names, so nobody waits for each other in a circle. After
/// this statement `last` is what it is until we commit, whatever other processes do.
const LOCK_ROOMS: &str = "
    SELECT FROM collab.document AS document
    JOIN unnest($1::text[]) AS given (room) ON document.room = given.room
    ORDER BY document.room FOR NO KEY UPDATE OF document";

/// What comes at or before the end of its log is there already, or the transaction ends.
const REFUSE_APPENDS: &str = "
    SELECT collab.refuse(given.room, given.sequence)
    FROM unnest($1::text[], $2::bigint[], $3::bigint[])
        WITH ORDINALITY AS given (room, sequence, checksum, place)
    JOIN collab.document AS document ON document.room = given.room
    WHERE given.sequence <= document.last
        AND NOT EXISTS (
            SELECT FROM collab.document_update AS kept
            WHERE kept.document_id = document.id AND kept.sequence = given.sequence
                AND kept.checksum = given.checksum)
        AND NOT EXISTS (
            SELECT FROM collab.document_quarantine AS kept
            WHERE kept.document_id = document.id AND kept.sequence = given.sequence
                AND kept.checksum = given.checksum)
    ORDER BY given.place";

/// A snapshot that reaches less far than the one there is has no place any more.
const REFUSE_SNAPSHOTS: &str = "
    SELECT collab.refuse(given.room, given.through)
    FROM unnest($1::text[], $2::bigint[]) AS given (room, through)
    JOIN collab.document AS document ON document.room = given.room
    JOIN collab.document_snapshot AS kept ON kept.document_id = document.id
    WHERE given.through < kept.through";

/// A row behind `last` was never answered for, so it may be replaced.
const APPEND: &str = "
    WITH fresh AS (
        INSERT INTO collab.document_update AS kept (document_id, sequence, body, checksum)
        SELECT document.id, given.sequence, given.body, given.checksum
        FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[])
            AS given (room, sequence, body, checksum)
        JOIN collab.document AS document ON document.room = given.room
        WHERE document.last < given.sequence
        ON CONFLICT (document_id, sequence)
            DO UPDATE SET body = excluded.body, checksum = excluded.checksum
        RETURNING document_id, sequence
    ), ends AS (
        SELECT document_id, max(sequence) AS last FROM fresh GROUP BY document_id
    )
    UPDATE collab.document AS document SET last = ends.last
    FROM ends WHERE document.id = ends.document_id";

const SNAPSHOT: &str = "
    WITH newer AS (
        INSERT INTO collab.document_snapshot AS kept (document_id, through, body, checksum)
        SELECT document.id, given.through, given.body, given.checksum
        FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[])
            AS given (room, through, body, checksum)
        JOIN collab.document AS document ON document.room = given.room
        ON CONFLICT (document_id) DO UPDATE
            SET through = excluded.through, body = excluded.body, checksum = excluded.checksum
            WHERE kept.through <= excluded.through
        RETURNING document_id, through
    ), replaced AS (
        DELETE FROM collab.document_update AS logged USING newer
        WHERE logged.document_id = newer.document_id AND logged.sequence <= newer.through
    )
    UPDATE collab.document AS document SET last = newer.through
    FROM newer WHERE document.id = newer.document_id AND document.last < newer.through";

/// A snapshot can be what made a document fail as well.
const QUARANTINE: &str = "
    WITH given AS (
        SELECT DISTINCT document.id AS document_id, given.sequence
        FROM unnest($1::text[], $2::bigint[]) AS given (room, sequence)
        JOIN collab.document AS document ON document.room = given.room
    ), logged AS (
        DELETE FROM collab.document_update AS kept USING given
        WHERE kept.document_id = given.document_id AND kept.sequence = given.sequence
        RETURNING kept.document_id, kept.sequence, kept.body, kept.checksum
    ), snapshots AS (
        DELETE FROM collab.document_snapshot AS kept USING given
        WHERE kept.document_id = given.document_id AND kept.through = given.sequence
        RETURNING kept.document_id, kept.through, kept.body, kept.checksum
    )
    INSERT INTO collab.document_quarantine (document_id, sequence, body, checksum)
    SELECT * FROM logged UNION ALL SELECT * FROM snapshots
    ON CONFLICT DO NOTHING";

const ENDS: &str = "
    SELECT last, (SELECT max(sequence) FROM collab.document_quarantine WHERE document_id = id)
    FROM collab.document WHERE room = $1";

const SNAPSHOT_OF: &str = "
    SELECT through, body, checksum FROM collab.document_snapshot
    WHERE document_id = (SELECT id FROM collab.document WHERE room = $1)";

const LOG_OF: &str = "
    SELECT sequence, body, checksum FROM collab.document_update
    WHERE document_id = (SELECT id FROM collab.document WHERE room = $1) ORDER BY sequence";

const QUARANTINE_OF: &str = "
    SELECT sequence, body, checksum FROM collab.document_quarantine
    WHERE document_id = (SELECT id FROM collab.document WHERE room = $1) 
    ORDER BY sequence, checksum";

const ROOMS: &str = "SELECT room FROM collab.document WHERE $1 < room ORDER BY room LIMIT $2";

const DANGERS: &str = "
    SELECT 'fsync is off: a loss of power loses everything' AS danger
    WHERE current_setting('fsync') = 'off'
    UNION ALL
    SELECT 'full_page_writes is off: a loss of power can damage documents'
    WHERE current_setting('full_page_writes') = 'off'
    UNION ALL
    SELECT 'the server has found ' || checksum_failures || ' damaged pages'
    FROM pg_stat_database
    WHERE datname = current_database() AND 0 < checksum_failures";

/// Reads the whole log's keys.
const CONTRADICTIONS: &str = "
    SELECT room || ': its log goes on behind its end, from ' || min(sequence)
    FROM collab.document JOIN collab.document_update ON document_id = id
    WHERE last < sequence GROUP BY room
    UNION ALL
    SELECT room || ': its log has what its snapshot replaces, from ' || min(sequence)
    FROM collab.document
    JOIN collab.document_snapshot AS snapshot ON snapshot.document_id = id
    JOIN collab.document_update AS logged ON logged.document_id = id
    WHERE sequence <= through GROUP BY room";

/// Up to here a whole transaction is sent before the first answer is waited for. Beyond, it is not
/// worth the memory.
const SENT_AHEAD_BYTES_MAX: usize = 32 << 20;

/// A row of a log: its place, its body, its checksum.
pub type Logged = (i64, Bytes, i64);

/// What is kept of a document.
pub struct Kept {
    /// The last place given out.
    pub last: i64,
    /// The last place of which something was set aside.
    pub last_aside: Option<i64>,
    /// At most one.
    pub snapshot: Vec<Logged>,
    /// In order.
    pub log: Vec<Logged>,
}

/// A connection that knows its statements.
pub struct Session {
    /// Errors of it are the session's: it must not be used after one.
    pub client: Client,
    /// What it says of people.
    pub people: Statements,
    note_batch: Statement,
    insert_rooms: Statement,
    lock_rooms: Statement,
    refuse_appends: Statement,
    refuse_snapshots: Statement,
    append: Statement,
    snapshot: Statement,
    quarantine: Statement,
    ends: Statement,
    snapshot_of: Statement,
    log_of: Statement,
    quarantine_of: Statement,
    rooms: Statement,
}

impl Session {
    /// Prepares everything, in few round trips.
    pub async fn prepare(client: Client) -> Result<Self, Error> {
        client.batch_execute(SETTINGS).await?;
        let (insert_rooms, lock_rooms, append, snapshot, quarantine) = tokio::try_join!(
            client.prepare(INSERT_ROOMS),
            client.prepare(LOCK_ROOMS),
            client.prepare(APPEND),
            client.prepare(SNAPSHOT),
            client.prepare(QUARANTINE),
        )?;
        let (note_batch, refuse_appends, refuse_snapshots) = tokio::try_join!(
            client.prepare(NOTE_BATCH),
            client.prepare(REFUSE_APPENDS),
            client.prepare(REFUSE_SNAPSHOTS),
        )?;
        let (ends, snapshot_of, log_of, quarantine_of, rooms) = tokio::try_join!(
            client.prepare(ENDS),
            client.prepare(SNAPSHOT_OF),
            client.prepare(LOG_OF),
            client.prepare(QUARANTINE_OF),
            client.prepare(ROOMS),
        )?;
        Ok(Self {
            people: Statements::prepare(&client).await?,
            client,
            note_batch,
            insert_rooms,
            lock_rooms,
            refuse_appends,
            refuse_snapshots,
            append,
            snapshot,
            quarantine,
            ends,
            snapshot_of,
            log_of,
            quarantine_of,
            rooms,
        })
    }

    /// Writes all of it or nothing; nothing if that very batch was written before. After an error a
    /// transaction may be open.
    pub async fn write(&self, id: Option<BatchId>, batch: &Batch<'_>) -> Result<(), Error> {
        let id = id.map(BatchId::as_signed);
        let mut statements: Vec<Saying<'_>> =
            vec![Box::pin(self.client.batch_execute(BEGIN_WRITING))];
        if let Some((writer, number)) = &id {
            statements.push(Box::pin(
                self.execute(&self.note_batch, vec![writer, number]),
            ));
        }
        statements.push(Box::pin(
            self.execute(&self.insert_rooms, vec![&batch.rooms]),
        ));
        statements.push(Box::pin(self.execute(&self.lock_rooms, vec![&batch.rooms])));
        for step in &batch.steps {
            let Step {
                rooms,
                sequences,
                bodies,
                checksums,
                ..
            } = step;
            let said: Vec<(&Statement, Vec<Column<'_>>)> = match step.act {
                Act::Append => vec![
                    (&self.refuse_appends, vec![rooms, sequences, checksums]),
                    (&self.append, vec![rooms, sequences, bodies, checksums]),
                ],
                Act::Snapshot => vec![
                    (&self.refuse_snapshots, vec![rooms, sequences]),
                    (&self.snapshot, vec![rooms, sequences, bodies, checksums]),
                ],
                Act::Quarantine => vec![(&self.quarantine, vec![rooms, sequences])],
            };
            for (statement, columns) in said {
                statements.push(Box::pin(self.execute(statement, columns)));
            }
        }
        statements.push(Box::pin(self.client.batch_execute(COMMIT)));

        let written = match batch.bytes <= SENT_AHEAD_BYTES_MAX {
            true => all_at_once(statements).await,
            false => one_by_one(statements).await,
        };
        match written {
            // Nothing of what came behind it was done.
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| code.code() == WAS_CARRIED_OUT) =>
            {
                self.client.batch_execute("ROLLBACK").await
            }
            written => written,
        }
    }

    /// Carries out one statement.
    pub async fn execute(
        &self,
        statement: &Statement,
        columns: Vec<Column<'_>>,
    ) -> Result<(), Error> {
        self.client.execute(statement, &columns).await.map(drop)
    }

    /// Everything of one document, as of one moment; nothing of one never written.
    pub async fn load(&self, room: &str) -> Result<Option<Kept>, Error> {
        let room_alone: [Column<'_>; 1] = [&room];
        let ((), ends, snapshot, log, ()) = tokio::try_join!(
            biased;
            self.client.batch_execute(BEGIN_READING),
            self.client.query_opt(&self.ends, &room_alone),
            self.logged(&self.snapshot_of, room),
            self.logged(&self.log_of, room),
            self.client.batch_execute(COMMIT),
        )?;
        let Some(ends) = ends else {
            return Ok(None);
        };
        Ok(Some(Kept {
            last: ends.try_get(0)?,
            last_aside: ends.try_get(1)?,
            snapshot,
            log,
        }))
    }

    /// What was set aside of one document.
    pub async fn quarantined(&self, room: &str) -> Result<Vec<Logged>, Error> {
        self.logged(&self.quarantine_of, room).await
    }

    async fn logged(&self, statement: &Statement, room: &str) -> Result<Vec<Logged>, Error> {
        let mut rows = pin!(self.client.query_raw(statement, [room]).await?);
        let mut logged = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let body = Bytes::copy_from_slice(row.try_get(1)?);
            logged.push((row.try_get(0)?, body, row.try_get(2)?));
        }
        Ok(logged)
    }

    /// The names behind `after`, in the order of their bytes.
    pub async fn rooms(&self, after: &str, limit: i64) -> Result<Vec<String>, Error> {
        let rows = self.client.query(&self.rooms, &[&after, &limit]).await?;
        texts(&rows)
    }

    /// What about the server puts documents in danger.
    pub async fn dangers(&self) -> Result<Vec<String>, Error> {
        texts(&self.client.query(DANGERS, &[]).await?)
    }

    /// What in the tables contradicts itself.
    pub async fn contradictions(&self) -> Result<Vec<String>, Error> {
        self.client.batch_execute(BEGIN_READING).await?;
        let found = texts(&self.client.query(CONTRADICTIONS, &[]).await?)?;
        self.client.batch_execute(COMMIT).await?;
        Ok(found)
    }
}

fn texts(rows: &[Row]) -> Result<Vec<String>, Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// All rows' values of one column, or a single value.
pub type Column<'a> = &'a (dyn ToSql + Sync);

/// A statement and its answer. It is sent when first polled.
pub type Saying<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Says each when the one before is answered.
async fn one_by_one(statements: Vec<Saying<'_>>) -> Result<(), Error> {
    for statement in statements {
        statement.await?;
    }
    Ok(())
}

/// Sends all statements, in order, then takes the answers as they come: one round trip for all. If
/// one fails, so do those after it in its transaction, and the commit commits nothing; the first
/// error is the one to know.
pub async fn all_at_once(mut statements: Vec<Saying<'_>>) -> Result<(), Error> {
    let mut answers: Vec<Option<Result<(), Error>>> = statements.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut are_all_here = true;
        for (statement, answer) in statements.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match statement.as_mut().poll(context) {
                    Poll::Ready(ended) => *answer = Some(ended),
                    Poll::Pending => are_all_here = false,
                }
            }
        }
        if are_all_here {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}
