//! Reading documents back, and telling whether they are what was written.

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::model::RoomName;
use crate::store::sqlite::{number, packed, people};
use crate::store::{Sequence, Stored};

/// Complaints listed at most; beyond that the rest is hardly better.
const COMPLAINTS_MAX: u32 = 100;

/// Why something could not be read.
pub enum Fault {
    /// The database did not do it.
    Database(rusqlite::Error),
    /// What it has for that place is not what was written there.
    Damaged(Sequence, String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// A document: the snapshot, then the log behind it.
pub fn load(connection: &Connection, room: &RoomName) -> Result<Stored, Fault> {
    let Some((document, last)) = find(connection, room)? else {
        return Ok(Stored::default());
    };
    let mut updates = Vec::new();
    let snapshot = "SELECT through, body, checksum, NULL FROM document_snapshot
                    WHERE document_id = ?1 AND through >= ?2";
    read_entries(connection, snapshot, document, 0, &mut updates)?;
    let from = updates
        .last()
        .map_or(1, |(through, _)| through.saturating_add(1));
    let log = "SELECT sequence, body, checksum, parts FROM document_update
               WHERE document_id = ?1 AND sequence >= ?2 ORDER BY sequence";
    read_entries(connection, log, document, from, &mut updates)?;
    // Numbers may be missing in between: what was set aside, or never came to be. But the row says
    // which number was the last, and that must be here or set aside.
    let reached = updates.last().map_or(0, |(sequence, _)| *sequence);
    if reached != last && last_set_aside(connection, document)?.max(reached) != last {
        let reason = format!("the log ends at {reached}");
        return Err(Fault::Damaged(last, reason));
    }
    Ok(Stored { updates, last })
}

/// What was set aside of a document.
pub fn quarantined(
    connection: &Connection,
    room: &RoomName,
) -> Result<Vec<(Sequence, Bytes)>, Fault> {
    let mut entries = Vec::new();
    if let Some((document, _)) = find(connection, room)? {
        let query = "SELECT sequence, body, checksum, NULL FROM document_quarantine
                     WHERE document_id = ?1 AND sequence >= ?2 ORDER BY sequence, checksum";
        read_entries(connection, query, document, 0, &mut entries)?;
    }
    Ok(entries)
}

/// The names of documents behind `after`. One that is no room name any more is a complaint.
pub fn rooms(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<RoomName>> {
    let mut statement =
        connection.prepare_cached("SELECT room FROM document WHERE room > ?1 ORDER BY room")?;
    let mut rows = statement.query([after])?;
    let mut names = Vec::new();
    while names.len() < limit
        && let Some(row) = rows.next()?
    {
        names.extend(room_name(row)?);
    }
    Ok(names)
}

/// What SQLite's own checks find, and names that are none.
pub fn complaints(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let checks = [
        format!("PRAGMA integrity_check({COMPLAINTS_MAX})"),
        format!(
            "SELECT 'a row of ' || \"table\" || ' has no document' FROM pragma_foreign_key_check
             LIMIT {COMPLAINTS_MAX}"
        ),
    ];
    let mut complaints = Vec::new();
    for check in checks {
        let mut statement = connection.prepare(&check)?;
        let found = statement.query_map([], |row| row.get::<_, String>(0))?;
        complaints.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    complaints.retain(|complaint| complaint != "ok");
    let mut statement = connection.prepare("SELECT room, id FROM document ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if room_name(row)?.is_none() {
            let id: i64 = row.get(1)?;
            complaints.push(format!("the name of document {id} is no room name"));
        }
    }
    complaints.extend(people::complaints(connection)?);
    Ok(complaints)
}

/// Whether the file itself is broken, rather than unavailable.
pub fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn find(connection: &Connection, room: &RoomName) -> Result<Option<(i64, Sequence)>, Fault> {
    let found = connection
        .prepare_cached("SELECT id, last FROM document WHERE room = ?1")?
        .query_row([room.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|error| damaged_at(0, error))?;
    let Some((document, last)) = found else {
        return Ok(None);
    };
    Ok(Some((document, unsigned(last)?)))
}

fn last_set_aside(connection: &Connection, document: i64) -> Result<Sequence, Fault> {
    let query = "SELECT coalesce(max(sequence), 0) FROM document_quarantine WHERE document_id = ?1";
    let last = connection
        .prepare_cached(query)?
        .query_row([document], |row| row.get(0))?;
    unsigned(last)
}

/// Appends what the query gives, as far as each is what its checksum says.
fn read_entries(
    connection: &Connection,
    query: &str,
    document: i64,
    from: Sequence,
    entries: &mut Vec<(Sequence, Bytes)>,
) -> Result<(), Fault> {
    let mut at = from;
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![document, number(from)?])?;
    while let Some(row) = rows.next().map_err(|error| damaged_at(at, error))? {
        at = unsigned(row.get(0)?)?;
        read_row(row, at, entries)?;
        at += 1; // What comes next is there or behind.
    }
    Ok(())
}

/// Appends what a row of (place, body, checksum, parts) has: an update, or several.
fn read_row(
    row: &Row<'_>,
    at: Sequence,
    entries: &mut Vec<(Sequence, Bytes)>,
) -> Result<(), Fault> {
    let read = || -> rusqlite::Result<(Bytes, i64, Option<&[u8]>)> {
        let body = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
        Ok((body, row.get(2)?, row.get_ref(3)?.as_bytes_or_null()?))
    };
    let (body, checksum, parts) = read().map_err(|error| damaged_at(at, error))?;
    let Some(parts) = parts else {
        verify(at, &body, checksum)?;
        entries.push((at, body));
        return Ok(());
    };
    verify(at, parts, checksum)?;
    let parts = packed::unpack(at, body.len(), parts).ok_or_else(|| {
        let reason = format!("its parts are not those of its {} bytes", body.len());
        Fault::Damaged(at, reason)
    })?;
    for part in parts {
        let update = body.slice(part.range);
        verify(part.sequence, &update, part.checksum)?;
        entries.push((part.sequence, update));
    }
    Ok(())
}

fn verify(at: Sequence, bytes: &[u8], checksum: i64) -> Result<(), Fault> {
    if checksum == i64::from(crc32fast::hash(bytes)) {
        return Ok(());
    }
    let reason = format!("the checksum of its {} bytes is another", bytes.len());
    Err(Fault::Damaged(at, reason))
}

/// A page that cannot be read harms the document on it, not the store.
fn damaged_at(sequence: Sequence, error: rusqlite::Error) -> Fault {
    if is_corruption(&error) {
        Fault::Damaged(sequence, error.to_string())
    } else {
        Fault::Database(error)
    }
}

fn unsigned(number: i64) -> Result<Sequence, Fault> {
    u64::try_from(number).map_err(|_| Fault::Damaged(0, format!("{number} is no place in a log")))
}

fn room_name(row: &Row<'_>) -> rusqlite::Result<Option<RoomName>> {
    let bytes = row.get_ref(0)?.as_bytes()?;
    let name = std::str::from_utf8(bytes).ok();
    Ok(name.and_then(|name| RoomName::parse(name).ok()))
}
