//! The lock on a data directory: POSIX record locks, which Apache Kafka takes too, so that
//! neither opens a directory the other one serves.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};

/// Held for as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Locks `dir`; one that is absent is made if `make`.
///
/// # Errors
/// What the operator should read: held by another process, or not writable.
pub fn acquire(dir: &Path, make: bool) -> Result<DirLock, String> {
    if make {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    } else if !dir.is_dir() {
        return Err(format!(
            "{}: there is no such directory; format it with: ottla kafka-storage format",
            dir.display()
        ));
    }
    let path = dir.join(".lock");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        format!(
            "{}: {error}: another process serves this directory; stop it, or choose another one",
            path.display()
        )
    })?;
    Ok(DirLock { _file: file })
}
