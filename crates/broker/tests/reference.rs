//! What is written about the broker is made from the lists that it uses.

use std::fmt::Write as _;

use broker::api::APIS;
use messages::ApiKey;

/// Several tests write the file.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// What is between the marks of that name in README must be that table.
fn check(name: &str, table: &str) {
    let begin = format!(
        "<!-- {name}: made by `UPDATE=1 cargo test -p ottla-broker --test reference` -->\n"
    );
    let end = format!("<!-- /{name} -->");
    let _one = ONE.lock().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(&begin).expect("README has the begin mark");
    let (_, after) = rest.split_once(&end).expect("README has the end mark");
    let wanted = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert_eq!(readme, wanted, "README is stale: run with UPDATE=1");
}

#[test]
fn readme_lists_exactly_the_apis_that_are_served() {
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
    check("apis", &table);
}

#[test]
fn readme_lists_the_topic_keys_of_our_own() {
    let mut table = String::from("| topic key | default | |\n|---|---|---|\n");
    for row in config::topic::ROWS {
        if let Some(doc) = row.doc {
            let default = row.default.filter(|text| !text.is_empty()).unwrap_or("none");
            let _ = writeln!(table, "| `{}` | {default} | {doc} |", row.name);
        }
    }
    check("keys", &table);
}

#[test]
fn readme_lists_the_broker_keys_of_our_own() {
    let mut table = String::from("| broker key | default | |\n|---|---|---|\n");
    for key in config::broker::OWN {
        let row = config::broker::find(key).expect("a row");
        let _ = writeln!(table, "| `{key}` | {} | {} |", row.default.unwrap_or("none"), row.doc);
    }
    check("broker keys", &table);
}
