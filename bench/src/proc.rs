//! What the kernel tells of a process: CPU time and resident memory. Owns nothing.

use std::fs;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// User and system time since its start.
    pub cpu_seconds: f64,
    /// `VmRSS`.
    pub resident_bytes: u64,
    /// `VmHWM`: the most since its start, or since [`forget_peak`].
    pub peak_bytes: u64,
}

/// Reads both files of a process.
///
/// # Errors
/// If it has ended.
pub fn sample(pid: u32) -> Result<Sample, String> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let sample = cpu_seconds(&stat).and_then(|cpu_seconds| {
        let resident_bytes = memory_bytes(&status, "VmRSS")?;
        Some(Sample { cpu_seconds, resident_bytes, peak_bytes: memory_bytes(&status, "VmHWM")? })
    });
    sample.ok_or_else(|| format!("process {pid} has ended"))
}

/// Makes what is resident now the peak.
///
/// # Errors
/// If the process has ended or is another user's.
pub fn forget_peak(pid: u32) -> Result<(), String> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").map_err(|error| format!("{path}: {error}"))
}

/// User and system time in `/proc/PID/stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses, and may hold both of them and spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(UTIME - 3);
    let (user, system) = (fields.next()?, fields.next()?);
    Some((user.parse::<u64>().ok()? + system.parse::<u64>().ok()?) as f64 / TICKS_PER_SECOND)
}

/// A line of `/proc/PID/status` that counts KiB.
fn memory_bytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The place of utime in `proc_pid_stat(5)`, which counts from one; stime is the next.
const UTIME: usize = 14;
/// `USER_HZ`, the same on every architecture of ours.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "41 (a) b (c) S 1 41 41 0 -1 4194560 900 0 0 0 1234 66 7 8 20 0 9 0 5 1 2";

    #[test]
    fn cpu_time_is_user_and_system_in_ticks() {
        assert_eq!(cpu_seconds(STAT), Some(13.0));
        assert_eq!(cpu_seconds("41 (a"), None);
        assert_eq!(cpu_seconds("41 (a) S 1 2"), None);
    }

    #[test]
    fn memory_is_read_by_its_exact_name() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(memory_bytes(status, "VmRSS"), Some(1024 * 1024));
        assert_eq!(memory_bytes(status, "VmHWM"), Some(2048 * 1024));
        assert_eq!(memory_bytes(status, "Vm"), None);
        assert_eq!(memory_bytes("Name:\tx\n", "VmRSS"), None);
    }

    #[test]
    fn own_process_has_memory_and_a_peak_that_can_be_forgotten() {
        let pid = std::process::id();
        forget_peak(pid).unwrap();
        let found = sample(pid).unwrap();
        assert!(found.resident_bytes > 0 && found.peak_bytes > 0);
    }

    #[test]
    fn process_that_ended_is_an_error() {
        assert!(sample(u32::MAX).unwrap_err().contains("/proc/4294967295/stat"));
    }
}
