//! The table in README is made from the newest results.

use ottla_bench::results::{self, Results};
use ottla_bench::table;

#[test]
fn readme_has_the_table_of_the_newest_results() {
    let readme = std::fs::read_to_string(harness::root().join("README.md")).unwrap();
    let results = Results::newest(&results::directory()).unwrap().unwrap_or(Results::empty());
    let wanted = table::place(&readme, &results).unwrap();
    assert_eq!(
        readme, wanted,
        "README is stale: cargo run --release -p ottla-bench -- table --update"
    );
}
