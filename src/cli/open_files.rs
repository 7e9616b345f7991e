//! How many files the process may open: raised as far as it goes, and shared out among connections.

use crate::limits::{
    CLOSES_HELD_MAX, Limits, OPEN_FILES_KEPT, OPEN_FILES_SOCKETS_PERCENT, STRANGERS_MIN,
    STRANGERS_SHARE,
};

/// What the limit of open files leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Share {
    /// Connections of all kinds, sockets and HTTP together.
    pub connections_max: usize,
    /// Sockets whose users are known, as `--max-connections` if there are enough.
    pub sockets_max: usize,
}

/// Raises the limit of open files and says what it leaves; warns if that is less than is asked for.
pub(super) fn share_out(limits: &Limits) -> Share {
    let files = raise();
    let share = Share::of(files, limits);
    if share.sockets_max < limits.connections_max {
        tracing::warn!(
            files,
            needed = needed(limits),
            sockets = share.sockets_max,
            "the process may open too few files for --max-connections {}: raise the hard limit \
             (`ulimit -Hn`, LimitNOFILE= in systemd), or lower the option",
            limits.connections_max,
        );
    }
    share
}

/// Files for every socket there may be, as many again in a third for HTTP, and what the process needs.
fn needed(limits: &Limits) -> usize {
    let sockets = limits.connections_max + limits.strangers_max() + CLOSES_HELD_MAX;
    sockets
        .saturating_mul(100)
        .div_ceil(OPEN_FILES_SOCKETS_PERCENT)
        .saturating_add(OPEN_FILES_KEPT)
}

impl Share {
    fn of(files: usize, limits: &Limits) -> Self {
        // Of very few files half are kept.
        let connections_max = files - OPEN_FILES_KEPT.min(files / 2);
        if needed(limits) <= files {
            return Self {
                connections_max,
                sockets_max: limits.connections_max,
            };
        }
        let sockets = connections_max * OPEN_FILES_SOCKETS_PERCENT / 100;
        let strangers = STRANGERS_MIN.max(sockets / STRANGERS_SHARE);
        let sockets_max = sockets.saturating_sub(strangers).max(1);
        Self {
            connections_max,
            sockets_max: sockets_max.min(limits.connections_max),
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

    fn share(files: usize, connections_max: usize) -> (usize, usize) {
        let limits = Limits {
            connections_max,
            ..Limits::default()
        };
        let share = Share::of(files, &limits);
        (share.connections_max, share.sockets_max)
    }

    #[test]
    fn enough_files_leave_the_option_as_it_is() {
        assert_eq!(share(1 << 20, 20_000), ((1 << 20) - 256, 20_000));
        assert_eq!(share(1 << 20, 2), ((1 << 20) - 256, 2));
    }

    #[test]
    fn too_few_files_leave_some_for_strangers_some_for_http_and_some_for_the_process() {
        // 768 for connections, of these 576 for sockets, of these 64 for strangers.
        assert_eq!(share(1_024, 20_000), (768, 512));
        assert_eq!(share(1_024, 100), (768, 100));
        assert_eq!(share(65_536, 100_000), (65_280, 48_960 - 4_896));
        assert_eq!(share(200, 20_000), (100, 11));
        assert_eq!(share(8, 20_000), (4, 1));
    }

    #[test]
    #[cfg(unix)]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let first = raise();
        assert!(256 <= first, "{first}");
        assert_eq!(raise(), first);
    }
}
