//! What is written about the broker is made from the lists that it uses.

use std::fmt::Write as _;

use broker::api::APIS;
use messages::ApiKey;

const BEGIN: &str =
    "<!-- apis: made by `UPDATE=1 cargo test -p ottla-broker --test reference` -->\n";
const END: &str = "<!-- /apis -->";

#[test]
fn readme_lists_exactly_the_apis_that_are_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README has the begin mark");
    let (_, after) = rest.split_once(END).expect("README has the end mark");
    let mut table =
        String::from("| key | API | versions | of Apache Kafka 4.4 |\n|--:|---|---|---|\n");
    for api in APIS {
        let facts = api.key.facts();
        let (low, high) = facts.versions;
        let (first, last) = api.versions;
        let same = if (low, high) == (first, last) { "all" } else { &format!("{low}-{high}") };
        let _ =
            writeln!(table, "| {} | {} | {first}-{last} | {same} |", api.key as i16, facts.name);
    }
    let others = ApiKey::ALL.iter().filter(|key| key.facts().broker).count() - APIS.len();
    let _ = writeln!(
        table,
        "\n{others} more APIs of a broker listener are not served and not advertised."
    );
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert_eq!(readme, wanted, "README is stale: run with UPDATE=1");
}
