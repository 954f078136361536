//! The threads that build key filters: for each that the node ordered one of low priority, kept
//! down to the cleaner's rate.
//!
//! Decides nothing; what came of it is told to the node, once. They end with the cleaner's.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use broker::FilterOrder;
use ottla_log::disk::os::OsDisk;
use ottla_log::{BuiltFilter, CleanError, StorageError};

use crate::clean::{Cleaners, Stop, Throttle};

/// Begins one; `tell` is called once.
pub(crate) fn begin(
    cleaners: &Cleaners,
    order: FilterOrder,
    disk: Arc<OsDisk>,
    tell: impl FnOnce(Result<BuiltFilter, CleanError>) + Send + Clone + 'static,
) {
    let failed = tell.clone();
    let begun = cleaners.spawn("key-filter", move |stop| tell(work(order, &disk, stop)));
    if let Err(error) = begun {
        failed(Err(CleanError::Disk(error)));
    }
}

/// Has it done on a thread of low priority. What came of it is told on this one: whoever brings
/// news steps the node for all.
fn work(order: FilterOrder, disk: &OsDisk, stop: &Stop) -> Result<BuiltFilter, CleanError> {
    let FilterOrder { name, plan, bytes_per_second } = order;
    let path = Path::new(&name);
    let builder = thread::Builder::new().name("key-filter-work".to_owned());
    thread::scope(|scope| {
        let worker = builder.spawn_scoped(scope, move || {
            // Where the system refuses, it is as quick as the others.
            let _ = rustix::process::nice(10);
            let mut throttle = Throttle::new(bytes_per_second);
            plan.build(disk, &mut |bytes| {
                throttle.moved(bytes, stop);
                !stop.is_set()
            })
        });
        let failed = |error| CleanError::Disk(StorageError::io("filter", path, &error));
        worker.map_err(failed)?.join().unwrap_or_else(|_| {
            let text = "building its filter failed; see the panic above";
            Err(CleanError::Damaged(StorageError::damaged("filter", path, text)))
        })
    })
}
