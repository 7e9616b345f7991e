//! How many files the process may open: raised as far as it goes, and shared out among connections.

use std::thread;

use crate::limits::{
    HTTP_CONNECTIONS_MIN, HTTP_CONNECTIONS_SHARE, Limits, OPEN_FILES_KEPT,
    OPEN_FILES_KEPT_PER_CORE, STRANGERS_MIN, STRANGERS_SHARE_OF_FEW,
};

/// What the limit of open files leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Share {
    /// Connections of all kinds, sockets and HTTP together.
    pub files_max: usize,
    /// Sockets whose users are known: `--max-connections`, if there are enough files.
    pub connections_max: usize,
    /// Sockets that have not said whose they are.
    pub strangers_max: usize,
}

/// Raises the limit of open files and says what it leaves; warns if that is less than is asked for.
pub(super) fn share_out(limits: &Limits) -> Share {
    let files = raise();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kept = OPEN_FILES_KEPT + OPEN_FILES_KEPT_PER_CORE * cores;
    let share = Share::of(files, kept, limits);
    if share.connections_max < limits.connections_max {
        tracing::warn!(
            files,
            needed = needed(kept, limits),
            sockets = share.connections_max,
            "the process may open too few files for --max-connections {}: raise the hard limit \
             (`ulimit -Hn`, `LimitNOFILE=` of systemd), or lower the option",
            limits.connections_max,
        );
    }
    share
}

/// Files for every socket there may be, some for HTTP, and what the process needs.
fn needed(kept: usize, limits: &Limits) -> usize {
    let sockets = limits.connections_max.saturating_add(limits.strangers_max);
    sockets
        .saturating_add(http_min(sockets))
        .saturating_add(kept)
}

fn http_min(files: usize) -> usize {
    HTTP_CONNECTIONS_MIN.max(files / HTTP_CONNECTIONS_SHARE)
}

impl Share {
    fn of(files: usize, kept: usize, limits: &Limits) -> Self {
        // Of very few files half are kept.
        let files_max = files - kept.min(files / 2);
        if needed(kept, limits) <= files {
            return Self {
                files_max,
                connections_max: limits.connections_max,
                strangers_max: limits.strangers_max,
            };
        }
        let sockets = files_max - http_min(files_max).min(files_max / 2);
        let strangers = STRANGERS_MIN.max(sockets / STRANGERS_SHARE_OF_FEW);
        let strangers_max = strangers.min(limits.strangers_max).min(sockets / 2);
        Self {
            files_max,
            connections_max: limits.connections_max.min(sockets - strangers_max),
            strangers_max,
        }
    }
}

/// The limit that is in force now: the hard one, if the process may have that.
#[cfg(unix)]
#[expect(unsafe_code, reason = "libc's own way to read and set it")]
fn raise() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it is given a struct of its own type to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        tracing::debug!("the limit of open files cannot be read");
        return usize::MAX / 2;
    }
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    };
    // SAFETY: it reads a struct of its own type.
    let is_raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    let files = match is_raised {
        true => raised.rlim_cur,
        // Some systems take no number as high as their hard limit.
        false => limit.rlim_cur,
    };
    usize::try_from(files)
        .unwrap_or(usize::MAX)
        .min(usize::MAX / 2)
}

/// Other systems have no such limit.
#[cfg(not(unix))]
fn raise() -> usize {
    usize::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(files: usize, connections_max: usize) -> (usize, usize, usize) {
        let limits = Limits {
            connections_max,
            strangers_max: (connections_max / 10).max(64),
            ..Limits::default()
        };
        let share = Share::of(files, 144, &limits);
        (share.files_max, share.connections_max, share.strangers_max)
    }

    #[test]
    fn enough_files_leave_the_options_as_they_are() {
        let all = (1 << 20) - 144;
        assert_eq!(share(1 << 20, 20_000), (all, 20_000, 2_000));
        assert_eq!(share(1 << 20, 2), (all, 2, 64));
        assert_eq!(share(22_364, 20_000), (22_220, 20_000, 2_000));
    }

    #[test]
    fn of_too_few_files_some_are_strangers_some_for_http_and_some_the_process_keeps() {
        assert_eq!(share(22_363, 20_000), (22_219, 20_000, 1_099));
        assert_eq!(share(1_024, 20_000), (880, 752, 64));
        assert_eq!(share(1_024, 800), (880, 752, 64));
        assert_eq!(share(200, 20_000), (100, 25, 25));
        assert_eq!(share(8, 20_000), (4, 1, 1));
    }

    #[test]
    #[cfg(unix)]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let first = raise();
        assert!(256 <= first, "{first}");
        assert_eq!(raise(), first);
    }
}
