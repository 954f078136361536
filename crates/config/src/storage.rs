//! What formatting directories takes of the operator's file.
//!
//! Less than a node does: directories may be formatted for a node that this version can't be, one
//! with SASL or without the role of a broker, and that node is refused when it starts. Directories
//! are those that [`file::plan`] finds: the node must serve what was formatted for it.

use std::collections::BTreeMap;

use crate::broker::{self, State};
use crate::file::{self, Endpoint, Problem, Setting};
use crate::value::split_list;

/// What is to be formatted, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// `node.id`.
    pub node_id: i32,
    /// `process.roles` has the controller's.
    pub is_controller: bool,
    /// `log.dirs`, each once.
    pub log_dirs: Vec<String>,
    /// `metadata.log.dir`.
    pub metadata_dir: String,
    /// `controller.quorum.voters` names the quorum.
    pub has_voters: bool,
    /// The first of `controller.listener.names`.
    pub listener_name: String,
    /// Where other nodes find this one's controller, if it is one.
    pub controller: Option<Endpoint>,
}

/// Reads what formatting needs of settings, later ones over earlier ones.
///
/// # Errors
/// Every mistake that was found.
pub fn storage(settings: Vec<Setting>) -> Result<Storage, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for setting in settings {
        places.insert(setting.key.clone(), setting.place);
        values.insert(setting.key, setting.value);
    }
    let place = |key: &str| places.get(key).cloned().unwrap_or_else(|| "configuration".to_owned());
    let mut mistake = |key: &str, text: String| problems.push(Problem { place: place(key), text });
    for (key, value) in &values {
        // What a node may be is its own affair; a value of the wrong type is a mistake of the file.
        let row = broker::find(key).filter(|row| !matches!(row.state, State::Refused(_)));
        if let Some(Err(invalid)) = row.map(|row| broker::check_static(row, value)) {
            mistake(key, format!("{key} = {:?}: {}", invalid.value, invalid.allowed));
        }
    }
    let text =
        |key: &str| values.get(key).map(|value| value.trim()).filter(|text| !text.is_empty());
    let mut storage = Storage::default();
    match text("node.id").or_else(|| text("broker.id")).map(str::parse::<i32>) {
        Some(Ok(id)) if id >= 0 => storage.node_id = id,
        Some(Ok(id)) => mistake("node.id", format!("node.id = \"{id}\": expected 0 or more")),
        // A value of another type was said above.
        Some(Err(_)) => {}
        None => mistake("node.id", "node.id is missing: expected a number, say 1".into()),
    }
    let roles: Vec<&str> = split_list(text("process.roles").unwrap_or_default()).collect();
    if roles.is_empty() || roles.iter().any(|role| !["broker", "controller"].contains(role)) {
        let found = roles.join(",");
        mistake(
            "process.roles",
            format!("process.roles = {found:?}: expected broker, controller, or both"),
        );
    }
    storage.is_controller = roles.contains(&"controller");
    let voters = text("controller.quorum.voters");
    storage.has_voters = voters.is_some();
    if let Some(voters) = voters {
        let id = |voter: &str| voter.split('@').next().and_then(|id| id.trim().parse::<i32>().ok());
        let is_voter = split_list(voters).any(|voter| id(voter) == Some(storage.node_id));
        if is_voter != storage.is_controller {
            let (has, must) = match is_voter {
                true => ("does not have", "must not be"),
                false => ("has", "must be"),
            };
            let text = format!(
                "process.roles {has} the controller's, so node {} {must} among \
                 controller.quorum.voters = {voters:?}",
                storage.node_id
            );
            mistake("controller.quorum.voters", text);
        }
    }
    if !storage.has_voters && text("controller.quorum.bootstrap.servers").is_none() {
        mistake(
            "controller.quorum.bootstrap.servers",
            "neither controller.quorum.bootstrap.servers nor controller.quorum.voters is set; \
             name the controllers with one of them, as HOST:PORT or as ID@HOST:PORT"
                .into(),
        );
    }
    let mut dirs = file::log_dirs(&values);
    match dirs.first() {
        Some(first) => {
            storage.metadata_dir = text("metadata.log.dir").unwrap_or(first).to_owned();
        }
        None => mistake("log.dirs", "log.dirs = \"\": expected a directory".into()),
    }
    dirs.sort_unstable();
    dirs.dedup();
    storage.log_dirs = dirs;
    controller(&mut storage, &values, &mut mistake);
    if problems.is_empty() { Ok(storage) } else { Err(problems) }
}

/// The controller's listener: as it is advertised, else as it listens.
fn controller(
    storage: &mut Storage,
    values: &BTreeMap<String, String>,
    mistake: &mut dyn FnMut(&str, String),
) {
    let text = |key: &str| values.get(key).map_or("", String::as_str);
    let name = split_list(text("controller.listener.names")).next();
    let Some(name) = name.map(str::to_ascii_uppercase) else {
        let text = "controller.listener.names is missing: expected the name of a listener";
        return mistake("controller.listener.names", text.into());
    };
    storage.listener_name = name;
    for key in ["advertised.listeners", "listeners"] {
        match file::parse_endpoints(text(key), key == "listeners") {
            Err(text) => return mistake(key, format!("{key}: {text}")),
            Ok(endpoints) => {
                let named = endpoints.into_iter().find(|at| at.name == storage.listener_name);
                storage.controller = storage.controller.take().or(named);
            }
        }
    }
    if storage.is_controller && storage.controller.is_none() {
        let text =
            format!("listeners: none of them is {}, the controller's", storage.listener_name);
        return mistake("listeners", text);
    }
    // What is bound everywhere is told as this machine.
    if let Some(at) = &mut storage.controller
        && (at.host.is_empty() || at.host == "0.0.0.0")
    {
        at.host = "localhost".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "process.roles=broker,controller\nnode.id=1\n\
                        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
                        controller.listener.names=CONTROLLER\nlog.dirs=/b,/a\n\
                        controller.quorum.bootstrap.servers=localhost:9093\n";

    fn read(more: &str) -> Result<Storage, String> {
        let settings = file::read("f", format!("{GOOD}{more}").as_bytes()).unwrap();
        storage(settings).map_err(|problems| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn directories_are_those_a_node_of_the_file_serves() {
        for more in ["", "metadata.log.dir=/m\n", "log.dirs=/x\n", "log.dir=/never\n"] {
            let settings = file::read("f", format!("{GOOD}{more}").as_bytes()).unwrap();
            let mut plan = file::plan(settings, "here").unwrap();
            plan.log_dirs.sort_unstable();
            let storage = read(more).unwrap();
            assert_eq!(storage.log_dirs, plan.log_dirs, "{more}");
            assert_eq!(storage.metadata_dir, plan.metadata_dir, "{more}");
        }
    }

    #[test]
    fn a_node_that_can_not_be_served_yet_may_be_formatted_for() {
        let sasl = "listeners=SASL_PLAINTEXT://:9092,CONTROLLER://:9093\n\
                    sasl.enabled.mechanisms=SCRAM-SHA-256\nsuper.users=User:a\n";
        assert!(read(sasl).is_ok());
        assert!(!read("process.roles=broker\n").unwrap().is_controller);
        assert_eq!(read("").unwrap().controller.unwrap().host, "localhost");
        let told = read("advertised.listeners=PLAINTEXT://a:1,CONTROLLER://b:3\n").unwrap();
        assert_eq!((told.controller.unwrap().port, told.has_voters), (3, false));
    }

    #[test]
    fn mistakes_are_said_with_their_place() {
        for (more, said) in [
            ("num.partitions=x\n", "f:7: num.partitions"),
            ("node.id=-1\n", "expected 0 or more"),
            ("process.roles=broker,foo\n", "f:7: process.roles"),
            ("log.dirs=\n", "log.dirs = \"\""),
            ("controller.quorum.bootstrap.servers=\n", "name the controllers"),
            ("controller.quorum.voters=2@h:1\n", "so node 1 must be among"),
            ("process.roles=broker\ncontroller.quorum.voters=1@h:1\n", "must not be among"),
            ("controller.listener.names=OTHER\n", "none of them is OTHER"),
            ("controller.listener.names=\n", "controller.listener.names"),
        ] {
            let problems = read(more).unwrap_err();
            assert!(problems.contains(said), "{more}: {problems}");
        }
    }
}
