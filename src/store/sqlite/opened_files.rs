//! Whether the files that are written to are still the ones that the path names.
//!
//! A file stays usable to a process that has it open, however often it was removed, moved or hidden
//! by another file system; what is written to it then is found by nobody. Device and number of a file
//! tell it from all others, so they are compared with what the path has now.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The database and the log beside it, as they were when they were opened.
#[derive(Debug)]
pub struct OpenedFiles {
    files: [(PathBuf, File); 2],
}

/// What names a file while it exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct File {
    device: u64,
    number: u64,
}

impl OpenedFiles {
    /// Of the files that the path names now; both are there once something was read.
    pub fn of(path: &Path) -> io::Result<Self> {
        // The log is beside the file itself, whatever links lead there.
        let log = log_of(&path.canonicalize()?);
        let (database, opened_log) = (File::of(path)?, File::of(&log)?);
        Ok(Self {
            files: [(path.to_owned(), database), (log, opened_log)],
        })
    }

    /// Says which of them is not there any more, or another now.
    pub fn check(&self) -> Result<(), String> {
        for (path, opened) in &self.files {
            let why = match File::of(path) {
                Ok(found) if found == *opened => continue,
                Ok(_) => "is another file now",
                Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed",
                Err(error) => return Err(format!("{} cannot be found: {error}", path.display())),
            };
            return Err(format!(
                "{} {why} while it was in use: what is written would be lost; put it back, or end \
                 this process",
                path.display()
            ));
        }
        Ok(())
    }
}

/// Where SQLite keeps its log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    PathBuf::from(name)
}

impl File {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;

        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            number: metadata.ino(),
        })
    }

    /// Elsewhere an open file cannot be removed.
    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|_| Self {
            device: 0,
            number: 0,
        })
    }
}
