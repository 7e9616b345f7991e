//! How the tables of a database came to be, in numbered steps that can be taken back.
//!
//! A migration is a pair of SQL files, `NNNN_subject.up.sql` and `NNNN_subject.down.sql`, one pair
//! per kind of database. This module knows the files and decides which to run ([`steps`]); running
//! them, each in a transaction of its own together with its row in the table `migration`, is the
//! stores' part. A migration that has been released is never edited: a new one corrects it.

/// One numbered change of the schema, and the way back.
#[derive(Debug, Eq, PartialEq)]
pub struct Migration {
    /// Its place; the first is 1.
    pub number: u32,
    /// The SQL that makes the change.
    pub up: &'static str,
    /// The SQL that takes it back.
    pub down: &'static str,
}

macro_rules! migration {
    ($number:literal, $file:literal) => {
        Migration {
            number: $number,
            up: include_str!(concat!($file, ".up.sql")),
            down: include_str!(concat!($file, ".down.sql")),
        }
    };
}

/// For SQLite, in order.
pub const SQLITE: [Migration; 5] = [
    migration!(1, "sqlite/0001_documents"),
    migration!(2, "sqlite/0002_people"),
    migration!(3, "sqlite/0003_packed_updates"),
    migration!(4, "sqlite/0004_batches"),
    migration!(5, "sqlite/0005_revocations"),
];

/// What to run next.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Run `up` and note the number.
    Up(&'static Migration),
    /// Run `down` and strike the number out.
    Down(&'static Migration),
}

/// A database that went through migrations this version does not know.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store was made by a newer version (it has migration {0}, which this one lacks)")]
pub struct TooNew(pub u32);

/// What leads from the migrations that were `applied` to all those up to and with `target`.
pub fn steps(all: &'static [Migration], applied: &[u32], target: u32) -> Result<Vec<Step>, TooNew> {
    let is_known = |number: &u32| all.iter().any(|migration| migration.number == *number);
    if let Some(foreign) = applied.iter().find(|number| !is_known(number)) {
        return Err(TooNew(*foreign));
    }
    let is_applied = |migration: &&Migration| applied.contains(&migration.number);
    let is_wanted = |migration: &&Migration| migration.number <= target;
    let down = all
        .iter()
        .rev()
        .filter(|migration| is_applied(migration) && !is_wanted(migration))
        .map(Step::Down);
    let up = all
        .iter()
        .filter(|migration| !is_applied(migration) && is_wanted(migration))
        .map(Step::Up);
    Ok(down.chain(up).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    static THREE: [Migration; 3] = [named(1), named(2), named(3)];

    const fn named(number: u32) -> Migration {
        let (up, down) = ("", "");
        Migration { number, up, down }
    }

    #[test]
    fn only_what_is_missing_is_run_and_what_is_unwanted_taken_back_newest_first() {
        let [one, two, three] = &THREE;
        let steps = |applied: &[u32], target| steps(&THREE, applied, target).unwrap();
        assert_eq!(
            steps(&[], 3),
            [Step::Up(one), Step::Up(two), Step::Up(three)]
        );
        assert_eq!(steps(&[1, 2], 3), [Step::Up(three)]);
        assert_eq!(steps(&[1, 2, 3], 3), []);
        assert_eq!(steps(&[1, 2, 3], 1), [Step::Down(three), Step::Down(two)]);
    }

    #[test]
    fn a_store_of_a_newer_version_is_left_alone() {
        assert_eq!(steps(&THREE, &[1, 2, 3, 4], 3), Err(TooNew(4)));
    }

    #[test]
    fn the_files_are_numbered_from_1_without_gaps() {
        let numbers = SQLITE.iter().map(|migration| migration.number);
        assert!(numbers.eq(1..=SQLITE.len() as u32));
    }
}
