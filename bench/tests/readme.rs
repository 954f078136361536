//! The table in README is made from the results that it names.

use ottla_bench::results::{self, Kind, Results};
use ottla_bench::table;

#[test]
fn readme_has_the_table_of_the_results_it_names() {
    let readme = std::fs::read_to_string(harness::root().join("README.md")).unwrap();
    let named = |kind| {
        let name = table::source(&readme, kind)?;
        Some(Results::read(&results::directory().join(name)).unwrap())
    };
    let results = named(Kind::Workloads).unwrap_or(Results::empty());
    let wanted = table::place(&readme, &results, named(Kind::Cells).as_ref()).unwrap();
    assert_eq!(
        readme, wanted,
        "README is stale: cargo run --release -p ottla-bench -- table --update"
    );
}
