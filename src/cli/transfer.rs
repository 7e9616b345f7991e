//! One document out of a store, or an update into it, as a file.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use crate::cli::reading::Reading;
use crate::cli::stores::{Purpose, StoreOptions, Waiting};
use crate::config::Size;
use crate::limits::Limits;
use crate::model::RoomName;
use crate::store::{Store, Stored, Write};
use crate::wire::validator;

/// The options of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportOptions {
    /// The room
    #[arg(value_parser = RoomName::parse)]
    room: RoomName,

    /// Where to write it; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,

    #[command(flatten)]
    store: StoreOptions,
}

/// The options of `import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportOptions {
    /// The room
    #[arg(value_parser = RoomName::parse)]
    room: RoomName,

    /// A file with one Yjs update (v1), e.g. of `export`; `-` is stdin
    file: PathBuf,

    /// The largest document, as for `serve` [default: 256MiB]
    #[arg(long, env = "COPRESENCE_MAX_DOCUMENT", value_name = "SIZE")]
    max_document: Option<Size>,

    #[command(flatten)]
    waiting: Waiting,

    #[command(flatten)]
    store: StoreOptions,
}

impl ExportOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let to_stdout = self.out == Path::new("-");
        if to_stdout && io::stdout().is_terminal() {
            bail!("a document is no text for a terminal: name a file with --out");
        }
        let (store, _) = self.store.open(Purpose::Read, Waiting::NONE)?;
        let update = export(&*store, &self.room)?;
        if to_stdout {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&update)?;
            stdout.flush()?;
        } else {
            write_whole(&self.out, &update)
                .with_context(|| format!("cannot write {}", self.out.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl ImportOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let options = self.store.options()?;
        let bytes_max = self.max_document.or(options.max_document);
        let bytes_max = bytes_max.map_or(Limits::default().document_bytes_max, |size| size.0);
        let name = self.file.display();
        let update = if self.file == Path::new("-") {
            read_within(io::stdin().lock(), bytes_max)
        } else {
            File::open(&self.file)
                .map_err(anyhow::Error::from)
                .and_then(|file| read_within(file, bytes_max))
        };
        let update = update.with_context(|| format!("cannot read {name}"))?;
        // Before the store is opened: a bad file should not make one.
        validator::update(update.clone())
            .map_err(|why| anyhow::anyhow!("{name} is no Yjs update (v1): {why}"))?;
        let (store, _) = self.store.open(Purpose::Make, self.waiting)?;
        match import(&*store, &self.room, update, bytes_max)? {
            Imported::Added => {}
            Imported::NothingNew => eprintln!("{} has all of it already", self.room),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What an import did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Imported {
    Added,
    NothingNew,
}

/// The document of a room as one update.
fn export(store: &dyn Store, room: &RoomName) -> anyhow::Result<Bytes> {
    let stored = store.load(room)?;
    ensure!(0 < stored.last, "there is no document for {room}");
    let reading = read(room, &stored)?;
    match reading.waiting.len() {
        0 => {}
        waiting => eprintln!(
            "{room}: {waiting} edits stand on others that have not come, and are not in the file"
        ),
    }
    Ok(reading.update)
}

/// Adds an update to a document, as an editor would.
fn import(
    store: &dyn Store,
    room: &RoomName,
    update: Bytes,
    bytes_max: usize,
) -> anyhow::Result<Imported> {
    let mut stored = store.load(room)?;
    let before = read(room, &stored)?;
    let sequence = stored.last + 1;
    stored.updates.push((sequence, update.clone()));
    let after = read(room, &stored)?;
    if after == before {
        return Ok(Imported::NothingNew);
    }
    ensure!(
        after.update.len() <= bytes_max,
        "the document of {room} would have {} bytes, more than --max-document ({bytes_max})",
        after.update.len()
    );
    store.write(&[(room.clone(), Write::Append { sequence, update })])?;
    Ok(Imported::Added)
}

/// Reads a document of which nothing may be missing.
fn read(room: &RoomName, stored: &Stored) -> anyhow::Result<Reading> {
    let reading = Reading::of(&stored.updates);
    if let Some(fault) = reading.faults.first() {
        let (sequence, reason) = (fault.sequence, &fault.reason);
        bail!("the document of {room} is damaged at {sequence}: {reason}");
    }
    Ok(reading)
}

/// All of it, unless it is larger.
fn read_within(source: impl Read, bytes_max: usize) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    // One more, to see that there is more.
    let limit = (bytes_max as u64).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() <= bytes_max,
        "it is larger than --max-document ({bytes_max} bytes)"
    );
    Ok(bytes.into())
}

/// Writes a file that is whole or not there: it may be the only copy one day.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&part, path));
    if renamed.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&part);
    }
    renamed
}
