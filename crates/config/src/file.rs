//! The operator's words: a properties file, `--override`s, `KAFKA_*` variables, and what a node is
//! to do with them.
//!
//! Invariants:
//! - I1: all mistakes are found at once, each with the place it is at; with one there is no node.
//! - I2: a key that is in no table is warned about with the nearest one that is; a key that guards
//!   data or access and can't be honoured is a mistake, never a warning.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use wire::files::parse_properties;

use crate::broker;
use crate::value::{Invalid, split_list};

/// A mistake, or something strange, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `server.properties:6`, `--override`, or the variable's name.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.text)
    }
}

/// One key with its value and where they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where.
    pub place: String,
}

/// An address to listen on or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub name: String,
    /// The host; empty for every interface.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A listener for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, the host (empty for every interface) and the port to listen on.
    pub bind: Endpoint,
    /// What clients are told; nothing if `advertised.listeners` leaves this listener out.
    pub advertised: Option<Endpoint>,
}

/// What a node is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every broker key that was set.
    pub values: BTreeMap<String, String>,
    /// `node.id`.
    pub node_id: i32,
    /// `log.dirs`.
    pub log_dirs: Vec<String>,
    /// `metadata.log.dir`.
    pub metadata_dir: String,
    /// Where clients come in, at least one.
    pub listeners: Vec<Listener>,
    /// What the quorum is told.
    pub controller: Option<Endpoint>,
    /// `process.roles`.
    pub roles: Vec<String>,
    /// What is strange, but no mistake.
    pub warnings: Vec<Problem>,
}

/// Reads a file's settings; of a key that comes twice the last one counts.
///
/// # Errors
/// Text that is not a properties file.
pub fn read(name: &str, content: &[u8]) -> Result<Vec<Setting>, Problem> {
    let entries = parse_properties(content)
        .map_err(|error| Problem { place: name.to_owned(), text: error.to_string() })?;
    let setting = |(line, key, value)| Setting { key, value, place: format!("{name}:{line}") };
    Ok(entries.into_iter().map(setting).collect())
}

/// Reads an `--override key=value`.
///
/// # Errors
/// No `=` in it.
pub fn read_override(text: &str) -> Result<Setting, Problem> {
    let place = "--override".to_owned();
    match text.split_once('=') {
        Some((key, value)) => {
            Ok(Setting { key: key.trim().to_owned(), value: value.to_owned(), place })
        }
        None => Err(Problem { place, text: format!("{text:?}: expected KEY=VALUE") }),
    }
}

/// The setting a variable of the environment is, by the rules of Apache Kafka's container image:
/// `KAFKA_LOG_DIRS` is `log.dirs`, `__` is `_` and `___` is `-`.
pub fn read_variable(name: &str, value: &str) -> Option<Setting> {
    let rest = name.strip_prefix("KAFKA_CFG_").or_else(|| name.strip_prefix("KAFKA_"))?;
    if NOT_KEYS.contains(&name) || NOT_KEY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let lower = rest.to_ascii_lowercase();
    let key = lower.replace("___", "-").replace("__", "\u{0}").replace('_', ".");
    let key = key.replace('\u{0}', "_");
    Some(Setting { key, value: value.to_owned(), place: name.to_owned() })
}

/// The settings that the variables of an environment are. The node and the tool that formats its
/// directories read them alike, so that both mean the same directories.
pub fn read_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Setting> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter_map(|(name, value)| read_variable(&name, &value.to_string_lossy()))
        .collect()
}

/// Makes a plan of settings, later ones over earlier ones. `hostname` is what this machine calls
/// itself.
///
/// # Errors
/// Every mistake that was found.
pub fn plan(settings: Vec<Setting>, hostname: &str) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut plan = Plan::default();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for setting in settings {
        places.insert(setting.key.clone(), setting.place);
        plan.values.insert(setting.key, setting.value);
    }
    for (key, value) in &plan.values {
        let place = places.get(key).cloned().unwrap_or_default();
        match check(key, value) {
            Verdict::Fine => {}
            Verdict::Strange(text) => plan.warnings.push(Problem { place, text }),
            Verdict::Wrong(text) => problems.push(Problem { place, text }),
        }
    }
    let place = |key: &str| places.get(key).cloned().unwrap_or_else(|| "configuration".to_owned());
    let mut mistake = |key: &str, text: String| problems.push(Problem { place: place(key), text });
    plan_identity(&mut plan, &mut mistake);
    plan_listeners(&mut plan, hostname, &mut mistake);
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

enum Verdict {
    Fine,
    Strange(String),
    Wrong(String),
}

fn check(key: &str, value: &str) -> Verdict {
    let wrong = |invalid: Invalid| {
        Verdict::Wrong(format!("{} = {:?}: {}", invalid.key, invalid.value, invalid.allowed))
    };
    if let Some(row) = broker::find(key) {
        return broker::check_static(row, value).map_or_else(wrong, |()| Verdict::Fine);
    }
    // A listener's own form of a key is judged as the key is.
    if let Some(row) =
        Some(broker::base_key(key)).filter(|base| *base != key).and_then(broker::find)
        && matches!(row.state, broker::State::Refused(_))
    {
        let text = broker::check_static(row, value).err().map(|invalid| invalid.allowed);
        return match text {
            Some(text) => Verdict::Wrong(format!("{key} = {value:?}: {text}")),
            None => Verdict::Fine,
        };
    }
    // Keys that are not in the table because plug-ins own them, and that guard access.
    let guard = ["super.users", "allow.everyone.if.no.acl.found"].contains(&key)
        || key.starts_with("authorizer.")
        || key.contains(".sasl.")
        || key.contains(".ssl.");
    if guard {
        return Verdict::Wrong(format!(
            "{key}: it guards access, and this version has no authorizer, no TLS and no SASL"
        ));
    }
    // Of a listener of its own: checked, but there is one value for all of them.
    if let Some(row) =
        Some(broker::base_key(key)).filter(|base| *base != key).and_then(broker::find)
    {
        return match broker::check_static(row, value) {
            Ok(()) => Verdict::Strange(format!(
                "{key} has no effect: this version has one {} for all listeners",
                row.name
            )),
            Err(invalid) => Verdict::Wrong(format!("{key} = {value:?}: {}", invalid.allowed)),
        };
    }
    let text = match broker::nearest(key) {
        Some(nearest) => format!("unknown key {key}; did you mean {nearest}?"),
        None => format!("unknown key {key}"),
    };
    Verdict::Strange(text)
}

fn plan_identity(plan: &mut Plan, mistake: &mut dyn FnMut(&str, String)) {
    let text = |key: &str| plan.values.get(key).map(|value| value.trim().to_owned());
    match text("node.id").or_else(|| text("broker.id")).map(|id| id.parse::<i32>()) {
        Some(Ok(id)) if id >= 0 => plan.node_id = id,
        // A value of another type was said above.
        Some(Err(_)) => {}
        Some(Ok(id)) => mistake("node.id", format!("node.id = \"{id}\": expected 0 or more")),
        None => mistake("node.id", "node.id is missing: expected a number, say 1".into()),
    }
    // The older name says the same.
    if let Some(id) = text("node.id") {
        plan.values.entry("broker.id".to_owned()).or_insert(id);
    }
    let text = |key: &str| plan.values.get(key).map(|value| value.trim().to_owned());
    let roles: Vec<String> = text("process.roles")
        .map(|roles| split_list(&roles).map(str::to_owned).collect())
        .unwrap_or_default();
    let both = ["broker", "controller"].iter().all(|role| roles.iter().any(|had| had == role));
    if !both {
        let text = format!(
            "process.roles = {:?}: expected \"broker,controller\"; this version runs both in one \
             node",
            roles.join(",")
        );
        mistake("process.roles", text);
    }
    plan.roles = roles;
    plan.log_dirs = log_dirs(&plan.values);
    let Some(first) = plan.log_dirs.first().cloned() else {
        mistake("log.dirs", "log.dirs = \"\": expected a directory".into());
        return;
    };
    for (index, dir) in plan.log_dirs.iter().enumerate() {
        if plan.log_dirs.iter().take(index).any(|other| other == dir) {
            mistake("log.dirs", format!("log.dirs names {dir} twice"));
        }
    }
    plan.metadata_dir = text("metadata.log.dir").filter(|dir| !dir.is_empty()).unwrap_or(first);
}

/// `log.dirs`, or what stands in for it.
pub(crate) fn log_dirs(values: &BTreeMap<String, String>) -> Vec<String> {
    let dirs = values.get("log.dirs").or_else(|| values.get("log.dir"));
    let dirs = dirs.map_or("/tmp/kafka-logs", String::as_str);
    split_list(dirs).map(str::to_owned).collect()
}

fn plan_listeners(plan: &mut Plan, hostname: &str, mistake: &mut dyn FnMut(&str, String)) {
    let text = |key: &str, default: &str| {
        plan.values.get(key).map_or(default, String::as_str).trim().to_owned()
    };
    let listeners = parse_endpoints(&text("listeners", "PLAINTEXT://:9092"), true);
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(text) => return mistake("listeners", format!("listeners: {text}")),
    };
    let protocols = text("listener.security.protocol.map", DEFAULT_PROTOCOLS);
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for entry in split_list(&protocols) {
        let Some((listener, protocol)) = entry.split_once(':') else {
            let text = format!("{PROTOCOLS}: {entry:?}: expected LISTENER:PROTOCOL");
            mistake(PROTOCOLS, text);
            continue;
        };
        let listener = listener.trim().to_ascii_uppercase();
        if map.insert(listener.clone(), protocol.trim().to_ascii_uppercase()).is_some() {
            mistake(PROTOCOLS, format!("{PROTOCOLS}: listener {listener} comes twice"));
        }
    }
    let mapped = plan.values.contains_key(PROTOCOLS);
    let protocol = |name: &str| map.get(name).cloned();
    let controllers = text("controller.listener.names", "");
    let is_controller = |endpoint: &&Endpoint| split_list(&controllers).any(|n| n == endpoint.name);
    // A name that meets no listener, for its case or because it is missing, would let clients in by
    // the controller's.
    if plan.roles.iter().any(|role| role == "controller")
        && !listeners.iter().any(|l| is_controller(&l))
    {
        let text = format!(
            "controller.listener.names = {controllers:?}: expected the name of one of the listeners, \
             written as there: {}",
            names(&listeners)
        );
        mistake("controller.listener.names", text);
    }
    for endpoint in &listeners {
        let protocol = match protocol(&endpoint.name) {
            Some(protocol) => protocol,
            // As Apache Kafka takes a controller's listener where nothing is mapped.
            None if is_controller(&endpoint) && !mapped => "PLAINTEXT".to_owned(),
            None => {
                let text = format!(
                    "listeners: {} has no protocol in listener.security.protocol.map",
                    endpoint.name
                );
                mistake("listeners", text);
                continue;
            }
        };
        if protocol != "PLAINTEXT" {
            let key = match plan.values.contains_key("listener.security.protocol.map") {
                true => "listener.security.protocol.map",
                false => "listeners",
            };
            let text = format!(
                "{key}: listener {} is to be {protocol}, and this version has neither TLS nor \
                 SASL; it does not serve in plaintext what was meant to be guarded",
                endpoint.name
            );
            mistake(key, text);
        }
    }
    plan.controller = listeners.iter().find(is_controller).cloned();
    if let Some(controller) = plan.controller.as_mut().filter(|told| told.host.is_empty()) {
        controller.host = hostname.to_owned();
    }
    let for_clients: Vec<Endpoint> =
        listeners.iter().filter(|listener| !is_controller(listener)).cloned().collect();
    if for_clients.is_empty() {
        return mistake("listeners", "listeners: none of them is for clients".into());
    }
    let told = match parse_endpoints(&text("advertised.listeners", ""), false) {
        // Without the key every listener is told as it is.
        Ok(told) if told.is_empty() => for_clients.clone(),
        Ok(told) => told,
        Err(text) => {
            return mistake("advertised.listeners", format!("advertised.listeners: {text}"));
        }
    };
    for told in &told {
        let text = if told.host == "0.0.0.0" {
            "clients can't connect to 0.0.0.0; name a host they know".to_owned()
        } else if is_controller(&told) {
            format!("{} is the controller's and can't be advertised to clients", told.name)
        } else if !for_clients.iter().any(|listener| listener.name == told.name) {
            format!("{} is not in listeners: expected {}", told.name, names(&for_clients))
        } else {
            continue;
        };
        mistake("advertised.listeners", format!("advertised.listeners: {text}"));
    }
    let both = ["inter.broker.listener.name", "security.inter.broker.protocol"];
    if both.iter().all(|key| plan.values.contains_key(*key)) {
        let text = format!("{} and {}: only one of them may be set", both[0], both[1]);
        mistake(both[0], text);
    }
    let among = text("inter.broker.listener.name", "PLAINTEXT");
    if !told.iter().any(|told| told.name.eq_ignore_ascii_case(&among)) {
        let text = format!(
            "inter.broker.listener.name = {among:?}: expected an advertised listener: {}",
            names(&told)
        );
        mistake("inter.broker.listener.name", text);
    }
    let listener = |bind: Endpoint| {
        let advertised = told.iter().find(|told| told.name == bind.name).cloned();
        let advertised = advertised.map(|told| match told.host.is_empty() {
            true => Endpoint { host: hostname.to_owned(), ..told },
            false => told,
        });
        Listener { bind, advertised }
    };
    plan.listeners = for_clients.into_iter().map(listener).collect();
}

fn names(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Reads `NAME://host:port,...`. Two listeners can't share a port of this machine; what is told may,
/// as behind one load balancer.
pub(crate) fn parse_endpoints(text: &str, apart: bool) -> Result<Vec<Endpoint>, String> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in split_list(text) {
        let bad = || format!("{entry:?}: expected NAME://host:port");
        let (name, address) = entry.split_once("://").ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        // An address of IPv6 stands in brackets.
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = name.to_ascii_uppercase();
        if endpoints.iter().any(|other| other.name == name) {
            return Err(format!("listener {name} comes twice"));
        }
        if apart
            && port != 0
            && endpoints.iter().any(|other| other.port == port && other.host == host)
        {
            return Err(format!("port {port} comes twice"));
        }
        endpoints.push(Endpoint { name, host: host.to_owned(), port });
    }
    Ok(endpoints)
}

const PROTOCOLS: &str = "listener.security.protocol.map";
const DEFAULT_PROTOCOLS: &str =
    "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

/// Variables that begin like keys and are none: those of Apache Kafka's scripts and of consoles.
const NOT_KEYS: [&str; 13] = [
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPT",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_BROKERS",
];
const NOT_KEY_PREFIXES: [&str; 2] = ["KAFKA_CLUSTERS_", "KAFKA_REST_"];

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<Plan, Vec<String>> {
        let settings = read("server.properties", text.as_bytes()).unwrap();
        plan(settings, "here.example")
            .map_err(|problems| problems.into_iter().map(|problem| problem.to_string()).collect())
    }

    const GOOD: &str = "process.roles=broker,controller\nnode.id=1\n\
                        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
                        controller.listener.names=CONTROLLER\nlog.dirs=/a,/b\n";

    #[test]
    fn a_file_of_apache_kafka_is_understood() {
        let plan = planned(GOOD).unwrap();
        assert_eq!((plan.node_id, plan.metadata_dir.as_str()), (1, "/a"));
        assert_eq!(plan.log_dirs, ["/a", "/b"]);
        let [listener] = &plan.listeners[..] else { panic!("{:?}", plan.listeners) };
        assert_eq!(listener.bind.port, 9092);
        assert_eq!(listener.advertised.as_ref().unwrap().host, "here.example");
        assert_eq!(plan.controller.unwrap().port, 9093);
        assert_eq!(plan.warnings, []);
        let told = format!("{GOOD}advertised.listeners=PLAINTEXT://letters.example:19092\n");
        let told = planned(&told).unwrap().listeners.remove(0).advertised.unwrap();
        assert_eq!((told.host.as_str(), told.port), ("letters.example", 19092));
    }

    const TWO: &str = "process.roles=broker,controller\nnode.id=1\nlog.dirs=/a\n\
                       controller.listener.names=CONTROLLER\n\
                       listeners=IN://:9092,OUT://:9192,CONTROLLER://:9093\n\
                       listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT,CONTROLLER:PLAINTEXT\n";

    #[test]
    fn each_listener_tells_its_own_address_and_one_left_out_tells_none() {
        let told = format!(
            "{TWO}inter.broker.listener.name=IN\nadvertised.listeners=IN://a.example:19092\n"
        );
        let listeners = planned(&told).unwrap().listeners;
        let told: Vec<(&str, Option<&str>)> = listeners
            .iter()
            .map(|one| {
                (one.bind.name.as_str(), one.advertised.as_ref().map(|told| told.host.as_str()))
            })
            .collect();
        assert_eq!(told, [("IN", Some("a.example")), ("OUT", None)]);
        let shared = format!(
            "{TWO}inter.broker.listener.name=IN\nadvertised.listeners=IN://a:1,OUT://a:1\n\
             listener.name.out.max.connections=3\n"
        );
        let shared = planned(&shared).unwrap();
        assert_eq!(shared.listeners.len(), 2);
        assert!(shared.warnings[0].text.contains("has no effect"), "{:?}", shared.warnings);
        for (lines, said) in [
            ("", "inter.broker.listener.name = \"PLAINTEXT\""),
            ("inter.broker.listener.name=OTHER\n", "expected an advertised listener: IN, OUT"),
            ("inter.broker.listener.name=IN\nadvertised.listeners=IN://a:1,X://a:2\n", "X is not"),
            ("advertised.listeners=CONTROLLER://a:1\n", "can't be advertised"),
            ("controller.listener.names=controller\n", "written as there: IN, OUT, CONTROLLER"),
            ("controller.listener.names=\n", "expected the name of one of the listeners"),
            (
                "inter.broker.listener.name=IN\nsecurity.inter.broker.protocol=PLAINTEXT\n",
                "only one of them",
            ),
            (
                "listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\n",
                "CONTROLLER has no protocol",
            ),
            ("listener.name.out.max.connections=many\n", "expected"),
        ] {
            let problems = planned(&format!("{TWO}{lines}")).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(said)), "{lines}: {problems:?}");
        }
    }

    #[test]
    fn every_mistake_is_said_at_once_with_its_place() {
        let text = format!("{GOOD}num.partitions=abc\nssl.client.auth=required\n");
        let problems = planned(&text).unwrap_err();
        assert_eq!(
            problems,
            [
                "server.properties:6: num.partitions = \"abc\": expected a 32-bit integer",
                "server.properties:7: ssl.client.auth = \"required\": only \"none\" is possible: \
                 TLS is not available yet",
            ]
        );
    }

    #[test]
    fn what_was_meant_to_be_guarded_is_never_served_in_plaintext() {
        for line in [
            "listeners=SASL_PLAINTEXT://:9092,CONTROLLER://:9093",
            "listener.security.protocol.map=PLAINTEXT:SSL,CONTROLLER:PLAINTEXT",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ottla",
            "listener.name.plaintext.ssl.keystore.location=/x",
            "listener.name.controller.sasl.enabled.mechanisms=PLAIN",
            "listener.name.plaintext.connections.max.reauth.ms=5",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PLAINTEXT:SASL_SSL,\
             CONTROLLER:PLAINTEXT",
        ] {
            let problems = planned(&format!("{GOOD}{line}\n")).unwrap_err();
            assert!(problems[0].starts_with("server.properties:6: "), "{line}: {problems:?}");
        }
    }

    #[test]
    fn unknown_keys_are_warned_about_with_the_nearest_one() {
        let plan = planned(&format!("{GOOD}log.retention.hour=5\n")).unwrap();
        assert_eq!(
            plan.warnings[0].to_string(),
            "server.properties:6: unknown key log.retention.hour; did you mean log.retention.hours?"
        );
    }

    #[test]
    fn variables_follow_the_rules_of_the_container_image() {
        let key = |name: &str| read_variable(name, "v").map(|setting| setting.key);
        assert_eq!(key("KAFKA_LOG_DIRS").as_deref(), Some("log.dirs"));
        assert_eq!(key("KAFKA_CFG_NODE_ID").as_deref(), Some("node.id"));
        assert_eq!(key("KAFKA_A__B___C").as_deref(), Some("a_b-c"));
        for other in ["KAFKA_OPTS", "KAFKA_CLUSTERS_0_NAME", "PATH", "KAFKA_BROKERS"] {
            assert_eq!(key(other), None, "{other}");
        }
    }

    #[test]
    fn roles_and_identity_are_asked_for() {
        let problems = planned("log.dirs=/a\n").unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains("node.id is missing")));
        assert!(problems.iter().any(|problem| problem.contains("process.roles")));
    }
}
