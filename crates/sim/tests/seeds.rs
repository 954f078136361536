//! The seeds every change has to pass; longer runs are `cargo xtask long sim`.

#[test]
fn every_seed_keeps_its_promises_and_runs_the_same_twice() {
    let (mut crashes, mut acknowledged) = (0, 0);
    for seed in 0..400 {
        let first = sim::run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        let second = sim::run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "seed {seed} does not run the same twice");
        crashes += first.crashes;
        acknowledged += first.acknowledged;
    }
    // A simulator that does nothing finds nothing.
    assert!(crashes > 400, "{crashes} power cuts");
    assert!(acknowledged > 100_000, "{acknowledged} records acknowledged");
}
