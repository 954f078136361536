//! "Fail the n-th operation, for all n; reopen; compare."

use ottla_log::{AppendError, OpenMode};

use crate::rig::{Random, Rig, small};

/// Appends, rolls and closes until the disk fails; gives how much was durable, and whether it
/// failed.
fn run(rig: &mut Rig, random: &mut Random) -> (i64, bool) {
    for index in 0..14 {
        let value = format!("value {index} {}", "x".repeat(120));
        let values = [value.as_bytes().to_vec().into(), b"second".to_vec().into()];
        let sent = crate::rig::checked(crate::rig::batch(index, &values, None));
        match rig.append(sent, 0) {
            Ok(_) => {}
            Err(AppendError::Offline(_)) => return (rig.log.flushed(), true),
            Err(other) => panic!("{other}"),
        }
        for _ in 0..random.below(9) {
            if let Some(Err(_)) = rig.step(random) {
                return (rig.log.flushed(), true);
            }
        }
    }
    rig.log.close(&mut rig.out);
    while let Some(result) = rig.step(random) {
        if result.is_err() {
            return (rig.log.flushed(), true);
        }
    }
    assert!(rig.log.is_closed());
    (rig.log.flushed(), false)
}

#[test]
fn whichever_operation_fails_what_was_flushed_is_there() {
    let mut survived_all = false;
    for nth in 0..200 {
        for crash in [false, true] {
            let mut random = Random(nth * 2 + u64::from(crash));
            let mut rig = Rig::new(small());
            rig.disk.fail_nth(nth);
            let (flushed, failed) = run(&mut rig, &mut random);
            survived_all |= !failed;
            let error = rig.log.offline().cloned();
            assert_eq!(error.is_some(), failed);
            rig.disk.heal();
            if crash {
                rig.disk.crash(&mut |bound| random.below(bound));
            }
            if rig.disk.content(&crate::rig::dir().join("partition.metadata")).is_none() {
                assert_eq!(flushed, 0, "operation {nth}");
                continue;
            }
            let recovery_point = rig.log.recovery_point();
            rig.reopen(OpenMode { clean: false, recovery_point, mark: None }, None).unwrap();
            assert!(rig.log.end() >= flushed, "operation {nth}: {} {flushed}", rig.log.end());
            let batches = rig.read_all();
            assert!(batches.iter().map(|b| b.1 + 1).max().unwrap_or(0) >= flushed);
        }
    }
    assert!(survived_all, "200 operations were not enough to reach the end");
}

#[test]
fn nothing_is_submitted_or_flushed_after_an_error() {
    let mut rig = Rig::new(small());
    rig.append_values(1, &["a"]);
    rig.settle();
    let flushed = rig.log.flushed();
    rig.append_values(2, &["b"]);
    // The write succeeds, its sync fails.
    rig.disk.fail_nth(1);
    let mut random = Random(3);
    let mut failed = None;
    while let Some(result) = rig.step(&mut random) {
        failed = failed.or(result.err());
    }
    assert_eq!(failed.as_ref().map(|error| error.op), Some("sync"));
    assert_eq!(rig.log.flushed(), flushed);
    let again = rig.append(crate::rig::checked(crate::rig::batch(3, &[b"c"[..].into()], None)), 0);
    assert_eq!(again.unwrap_err().code(), 56);
    assert!(rig.out.is_empty());
}

/// A log that is offline is opened anew once nothing of it is under way: what the disk is not asked
/// for any more must not be waited for.
#[test]
fn after_an_error_among_others_nothing_is_waited_for_that_never_comes() {
    let (mut failed, mut together) = (0, 0);
    for nth in 0..200 {
        let mut random = Random(nth);
        let mut rig = Rig::new(small());
        rig.disk.fail_nth(nth);
        for index in 0..24 {
            let values = ["x".repeat(120).into_bytes().into()];
            let _ = rig.append(crate::rig::checked(crate::rig::batch(index, &values, None)), 0);
            if index % 6 == 5 {
                let Rig { log, ids, out, .. } = &mut rig;
                log.delete_records(log.flushed());
                let flushed = log.flushed();
                together += log.expire(index, flushed, ids, out).len();
            }
            rig.step_together(&mut random);
        }
        while rig.step_together(&mut random).is_some() {}
        if rig.log.offline().is_some() {
            failed += 1;
            assert!(rig.log.is_idle(), "operation {nth}");
        }
    }
    assert!(failed > 50 && together > 50, "{failed} failed, {together} segments removed");
}
