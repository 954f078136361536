//! What was measured and on what: commit, date, machine, versions. No name of a host or a path.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stats::median;

/// The commit that is checked out, and whether the tree has no other changes than results.
///
/// # Errors
/// Without git.
pub fn commit() -> Result<(String, bool), String> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        said(command.args(arguments).current_dir(harness::root()))
    };
    let outside = ["status", "--porcelain", "--", ".", ":!docs/evidence", ":!bench/results"];
    let clean = git(&outside)?.is_empty();
    Ok((git(&["rev-parse", "--short=12", "HEAD"])?, clean))
}

/// The present, in UTC.
///
/// # Errors
/// If `date` fails.
pub fn date() -> Result<String, String> {
    said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))
}

/// The machine, as far as it matters; `directory` is on the disk that is described.
///
/// # Errors
/// If the disk can't be written.
pub fn describe(directory: &Path) -> Result<Value, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let memory_kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let canonical = directory.canonicalize().map_err(|error| error.to_string())?;
    let (filesystem, disk) = disk_kind(&read("/proc/self/mountinfo"), &canonical);
    Ok(json!({
        "cores": cores,
        "cpu": model.map(|(_, model)| model.trim()),
        "memory_mib": memory_kib.map(|kib| kib / 1024),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "filesystem": filesystem,
        "disk": disk,
        "fdatasync_ms": sync_ms(directory)?,
    }))
}

/// The first line of `java -version`.
///
/// # Errors
/// If Java is missing.
pub fn java_version() -> Result<String, String> {
    let finished = harness::run(Command::new("java").arg("-version"), MOMENT);
    // It says so on standard error.
    finished.stderr.lines().next().map(str::to_owned).ok_or("java says no version".into())
}

/// File system and kind of device under a path, from `proc_pid_mountinfo(5)`.
fn disk_kind(mountinfo: &str, path: &Path) -> (String, String) {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut source = source.split(' ');
        path.starts_with(point).then_some((point.len(), source.next()?, source.next()?))
    });
    // The last of equals hides those before it.
    let Some((_, filesystem, source)) = mounts.max_by_key(|(length, ..)| *length) else {
        return ("unknown".into(), "unknown".into());
    };
    let device = source.rsplit('/').next().unwrap_or_default();
    let kinds = [("vd", "virtio"), ("nvme", "NVMe"), ("sd", "SCSI"), ("xvd", "Xen")];
    let kind = kinds.iter().find(|(start, _)| device.starts_with(start));
    (filesystem.to_owned(), kind.map_or("other", |(_, kind)| kind).to_owned())
}

/// The median time to append 4 KiB to a file and sync it: what durability costs here at least.
fn sync_ms(directory: &Path) -> Result<f64, String> {
    let path = directory.join("sync");
    let measure = || -> std::io::Result<Vec<f64>> {
        let mut file = File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            let start = Instant::now();
            file.write_all(&[1; 4096])?;
            file.sync_data()?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        fs::remove_file(&path)?;
        Ok(times)
    };
    let times = measure().map_err(|error| format!("syncing a file: {error}"))?;
    let found = median(&times).unwrap_or_default();
    Ok((found * 1000.0).round() / 1000.0)
}

fn said(command: &mut Command) -> Result<String, String> {
    let finished = harness::run(command, MOMENT);
    match finished.code {
        Some(0) => Ok(finished.stdout.trim().to_owned()),
        _ => Err(format!("{command:?}: {}", finished.stderr.trim())),
    }
}

const SYNCS: usize = 100;
const MOMENT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:5 / /proc rw - proc proc rw
30 22 259:1 / /home rw shared:2 master:1 - xfs /dev/nvme0n1p1 rw
";

    #[test]
    fn disk_is_that_of_the_longest_mount_point() {
        let found = |path: &str| {
            let (filesystem, disk) = disk_kind(MOUNTS, Path::new(path));
            format!("{filesystem} {disk}")
        };
        assert_eq!(found("/home/a/b"), "xfs NVMe");
        assert_eq!(found("/homes"), "ext4 virtio");
        assert_eq!(found("/proc/1"), "proc other");
        assert_eq!(disk_kind("", Path::new("/a")).1, "unknown");
    }

    #[test]
    fn machine_is_described() {
        let directory = tempfile::tempdir().unwrap();
        let found = describe(directory.path()).unwrap();
        assert!(found["cores"].as_u64() > Some(0) && found["memory_mib"].as_u64() > Some(0));
        assert!(found["fdatasync_ms"].is_f64() && found["kernel"].is_string(), "{found}");
    }
}
