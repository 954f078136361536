//! The seeds every change has to pass; longer runs are `cargo xtask long sim`.

#[test]
fn every_seed_keeps_its_promises_and_runs_the_same_twice() {
    let (mut crashes, mut stops, mut disk_failures, mut acknowledged) = (0, 0, 0, 0);
    let (mut committed, mut marked, mut retired) = (0, 0, 0);
    let mut reopened = 0;
    let (mut rotted, mut refused, mut scrubs) = (0, (0, 0), 0);
    let (mut kept, mut compacted, mut filtered, mut spared) = (0, 0, 0, 0);
    for seed in 0..400 {
        let first = sim::run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        let second = sim::run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "seed {seed} does not run the same twice");
        crashes += first.crashes;
        stops += first.stops;
        disk_failures += first.disk_failures;
        acknowledged += first.acknowledged;
        committed += first.committed;
        marked += first.marked;
        retired += first.retired;
        kept += first.kept;
        compacted += first.compacted;
        reopened += first.reopened;
        rotted += first.rotted;
        refused = (refused.0 + first.refused.0, refused.1 + first.refused.1);
        scrubs += first.scrubs;
        filtered += first.filtered;
        spared += first.spared;
    }
    // A simulator that does nothing finds nothing.
    assert!(crashes > 400, "{crashes} power cuts");
    assert!(stops > 200, "{stops} clean stops");
    assert!(disk_failures > 40, "{disk_failures} failures of the disk");
    assert!(acknowledged > 100_000, "{acknowledged} records acknowledged");
    assert!(committed > 2_000, "{committed} commits acknowledged");
    assert!(marked > 100, "{marked} logs recovered by their marks");
    assert!(retired > 500, "{retired} records deleted after all groups had read them");
    assert!(kept > 5_000, "{kept} writes to the ledger acknowledged");
    assert!(compacted > 1_000, "{compacted} segments compacted");
    assert!(reopened > 30, "{reopened} logs opened anew after a full disk");
    assert!(rotted > 100, "{rotted} bits turned over");
    assert!(refused.0 > 5, "{} starts refused for it", refused.0);
    assert!(refused.1 > 50, "{} reads refused for it", refused.1);
    assert!(scrubs > 500, "{scrubs} rounds of the scrub");
    assert!(filtered > 300, "{filtered} key filters built");
    assert!(spared > 40, "{spared} segments that readers of one key were spared");
}
