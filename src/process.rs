//! What the operating system says of this process, where it says anything: memory, processor time,
//! files.

use std::fs;

/// How things are now; what the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Memory that is really there.
    pub resident_bytes: Option<u64>,
    /// Memory that is set aside by name only, too.
    pub virtual_bytes: Option<u64>,
    /// Processor time since the start, of the program and of the system for it.
    pub processor_seconds: Option<f64>,
    /// When the process began, in seconds since 1970.
    pub started_at_seconds: Option<f64>,
    /// Files and sockets that are open.
    pub open_files: Option<u64>,
    /// How many may be.
    pub open_files_max: Option<u64>,
    /// How many threads there are.
    pub threads: Option<u64>,
}

impl Usage {
    /// Asks the system.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks = ticks_per_second();
        let seconds = |ticks_read: Option<u64>| Some(ticks_read? as f64 / ticks?);
        Self {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            processor_seconds: seconds(processor_ticks(&stat)),
            started_at_seconds: seconds(start_ticks(&stat))
                .and_then(|since_boot| Some(booted_at()? + since_boot)),
            open_files: open_files(),
            open_files_max: open_files_max(),
            threads: number(&status, "Threads:"),
        }
    }
}

/// The memory of the process, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    Some(number(status, name)? << 10)
}

/// The fields behind the program's name, which may have spaces and brackets in it: the third of the
/// line is the first here.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
}

fn processor_ticks(stat: &str) -> Option<u64> {
    let mut times = fields(stat).skip(11);
    let program: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(program + system)
}

fn start_ticks(stat: &str) -> Option<u64> {
    fields(stat).nth(19)?.parse().ok()
}

fn booted_at() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files() -> Option<u64> {
    const FILES: &str = "/proc/self/fd";
    // Newer kernels say how many there are; others have to be counted.
    match fs::metadata(FILES).ok()?.len() {
        0 => Some(fs::read_dir(FILES).ok()?.count() as u64),
        counted => Some(counted),
    }
}

fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    number(&limits, "Max open files")
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the system tells it in no other way")]
fn ticks_per_second() -> Option<f64> {
    // SAFETY: it reads a constant of the system and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (0 < ticks).then_some(ticks as f64)
}

#[cfg(not(unix))]
fn ticks_per_second() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_what_is_read() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194560 9 0 0 0 30 12 0 0 20 0 5 0 4711 99 7";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(processor_ticks(""), None);
        assert_eq!(start_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn no_limit_is_none() {
        let line = "Max open files            1024                 524288               files\n";
        assert_eq!(number(line, "Max open files"), Some(1_024));
        let line = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(number(line, "Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_everything() {
        let usage = Usage::now();
        assert!(1 << 20 < usage.resident_bytes.unwrap());
        assert!(usage.resident_bytes <= usage.virtual_bytes);
        assert!(0.0 <= usage.processor_seconds.unwrap());
        // After 2020: it is a date, not a time since the machine was started.
        assert!(1_577_836_800.0 < usage.started_at_seconds.unwrap());
        assert!(2 < usage.open_files.unwrap());
        assert!(1 <= usage.threads.unwrap());
    }
}
