//! Every target for a fixed number of cases, the same each time: seeds 0 and up. Longer and other
//! runs are `cargo run --release -p ottla-fuzz -- TARGET --seconds N`.

use fuzz::Target;

#[track_caller]
fn holds(name: &str) {
    let target = Target::find(name).expect("the name of a target");
    for seed in 0..target.cases {
        if let Err(failure) = target.run(seed) {
            panic!("{failure}");
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            let known: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(known, tested);
        }
    };
}

targets! {
    messages json metadata connection batches records decompress validate files groups log_open
}

#[test]
fn a_case_is_the_same_each_time() {
    for target in fuzz::TARGETS {
        let make = |seed| (target.make)(&mut fuzz::random::Random::new(seed)).bytes;
        assert_eq!(make(77), make(77), "{}", target.name);
    }
}
