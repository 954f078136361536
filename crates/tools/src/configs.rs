//! `kafka-configs`: describes and changes the configuration of topics, brokers, broker loggers,
//! groups and client metrics subscriptions.
//!
//! Standard output and exit codes are those of Apache Kafka 4.3.1; all errors go to standard
//! error. Refused, for no broker of ours has them: quotas and SCRAM credentials (users, clients,
//! ips), and `--bootstrap-controller`.

use std::collections::{BTreeMap, BTreeSet};

use client::Admin;
use client::admin::{AlterOp, ConfigChange, ConfigEntry, ConfigResource, ResourceKind};

use crate::cluster::{self, COMMAND_CONFIG, Trouble};
use crate::flags::{Parsed, Spec, switch, value};
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool =
    Tool { name: "kafka-configs", about: "Describes and changes configuration.", run };

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        value(&["bootstrap-server"], "host:port,...", "Required. Brokers to begin with."),
        value(&["bootstrap-controller"], "host:port,...", "Not available; use a broker."),
        COMMAND_CONFIG,
        switch(&["alter"], "Change configuration."),
        switch(&["describe"], "Show what was configured."),
        switch(&["all"], "With --describe: defaults, too."),
        value(
            &["entity-type"],
            "type",
            "topics, brokers, broker-loggers, groups or client-metrics. Not available: users, \
             clients, ips.",
        ),
        value(&["entity-name"], "name", "Which one of that type."),
        switch(&["entity-default"], "The default of that type."),
        value(
            &["add-config"],
            "key=value,...",
            "Keys to set; a value with commas stands in brackets: key=[a,b].",
        ),
        value(&["add-config-file"], "file", "Properties to set."),
        value(&["delete-config"], "key,...", "Keys to take back. May be repeated."),
        value(&["topic"], "topic", "A topic."),
        value(&["client"], "id", "Not available: quotas of a client id."),
        value(&["user"], "name", "Not available: quotas and credentials of a user."),
        value(&["broker"], "id", "A broker."),
        value(&["broker-logger"], "id", "The loggers of a broker."),
        value(&["ip"], "address", "Not available: quotas of an address."),
        value(&["client-metrics"], "name", "A client metrics subscription."),
        value(&["group"], "group", "A group."),
        switch(&["client-defaults"], "Not available: quotas of all client ids."),
        switch(&["user-defaults"], "Not available: quotas of all users."),
        switch(&["broker-defaults"], "The default of all brokers."),
        switch(&["ip-defaults"], "Not available: quotas of all addresses."),
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        let entity = check(&parsed)?;
        let changes = if parsed.has("alter") { Some(Changes::read(&parsed)?) } else { None };
        let properties = cluster::properties(&parsed)?;
        let outcome = cluster::block_on(async {
            let admin = cluster::connect(&properties, None, io).await?;
            match &changes {
                Some(changes) => alter(&admin, &entity, changes, io).await,
                None => describe(&admin, &entity, parsed.has("all"), io).await,
            }
        })?;
        match outcome {
            Ok(()) => Ok(0),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Said { text, .. }) => Err(Failure::new(format!("error: {text}"))),
        }
    })
}

/// What is to be described or changed.
struct Entity {
    kind: ResourceKind,
    /// The type as it is given, in the plural.
    types: &'static str,
    /// Empty is the default; `None` is every one.
    name: Option<String>,
}

impl Entity {
    fn singular(&self) -> &'static str {
        self.types.strip_suffix('s').unwrap_or(self.types)
    }
}

/// Whether the flags go together, and the entity they mean.
fn check(parsed: &Parsed) -> Result<Entity, Failure> {
    let misuse = |text: &str| Err(SPEC.misuse(text));
    parsed.exactly_one(&["describe", "alter"])?;
    parsed.exclude("describe", &["add-config", "delete-config"])?;
    if parsed.has("bootstrap-controller") {
        return misuse("--bootstrap-controller is not available; use --bootstrap-server");
    }
    parsed.require(&["bootstrap-server"])?;
    let (types, names) = entities(parsed)?;
    let Some(kind) = types.first() else {
        return misuse("at least one entity type is required");
    };
    let Some((types, kind)) = TYPES.iter().find(|(known, _)| known == kind) else {
        let known: Vec<&str> = TYPES.iter().map(|(known, _)| *known).collect();
        return misuse(&format!("unknown entity type {kind}; there are {}", known.join(", ")));
    };
    let Some(kind) = *kind else {
        return misuse(&format!("{types} are not available: no quotas, no SCRAM credentials"));
    };
    let name = names.into_iter().next();
    let given = name.as_deref().filter(|name| !name.is_empty());
    let is_broker = [ResourceKind::Broker, ResourceKind::BrokerLogger].contains(&kind);
    if is_broker && given.is_some_and(|id| java::number::<i32>(id).is_err()) {
        return misuse(&format!("a broker has a number, not the name {}", given.unwrap_or("")));
    }
    if parsed.has("describe") {
        if name.as_deref() == Some("") && kind != ResourceKind::Broker {
            return misuse(&format!("--describe of {types} has no default"));
        }
        if name.is_none() && kind == ResourceKind::BrokerLogger {
            return misuse("--describe of broker-loggers needs the number of the broker");
        }
    } else if given.is_none() && (kind != ResourceKind::Broker || name.is_none()) {
        return misuse(&format!("--alter of {types} needs a name"));
    }
    Ok(Entity { kind, types, name })
}

/// Types and names, paired by place.
fn entities(parsed: &Parsed) -> Result<(Vec<String>, Vec<String>), Failure> {
    let mut types: Vec<String> = parsed.values("entity-type").map(str::to_owned).collect();
    let names = parsed.in_order(&["entity-name", "entity-default"]);
    let mut names: Vec<String> =
        names.into_iter().map(|(_, name)| name.unwrap_or_default().to_owned()).collect();
    let mut specific = false;
    for (flag, kind) in SPECIFIC {
        if parsed.has(flag) {
            specific = true;
            types.push((*kind).to_owned());
            names.push(parsed.value(flag)?.unwrap_or_default().to_owned());
        }
    }
    let general = ["entity-type", "entity-name", "entity-default"];
    if specific && general.iter().any(|flag| parsed.has(flag)) {
        return Err(SPEC.misuse("--entity-... can't be used with --topic, --broker and the like"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = types.iter().find(|kind| !seen.insert(kind.as_str())) {
        return Err(SPEC.misuse(&format!("the entity type {twice} was given more than once")));
    }
    let both = |kind: &String| ["users", "clients"].contains(&kind.as_str());
    if types.len() > 1 && !types.iter().all(both) {
        return Err(SPEC.misuse("only users and clients go together"));
    }
    if parsed.has("alter") && names.len() > types.len() {
        return Err(SPEC.misuse("an entity name is required for every entity type"));
    }
    Ok((types, names))
}

/// Keys to set and to take back.
struct Changes {
    set: BTreeMap<String, String>,
    delete: Vec<String>,
}

impl Changes {
    fn read(parsed: &Parsed) -> Result<Self, Failure> {
        let (list, file) = (parsed.value("add-config")?, parsed.value("add-config-file")?);
        let set = match (list, file) {
            (Some(_), Some(_)) => {
                return Err(SPEC.misuse("--add-config can't be used with --add-config-file"));
            }
            (Some(list), None) => pairs(list).map_err(|text| SPEC.misuse(&text))?,
            (None, Some(path)) => cluster::read_properties(path)?,
            (None, None) => BTreeMap::new(),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$._-".contains(&byte);
        if let Some(key) = set.keys().find(|key| !key.bytes().all(is_plain)) {
            return Err(Failure::new(format!("error: {key}: a character that no key has")));
        }
        let delete: Vec<String> =
            parsed.separated("delete-config").map(|key| key.trim().to_owned()).collect();
        if list.is_none() && file.is_none() && !parsed.has("delete-config") {
            return Err(
                SPEC.misuse("--alter needs --add-config, --add-config-file or --delete-config")
            );
        }
        Ok(Self { set, delete })
    }
}

/// `key=value,key=[a,b]`.
fn pairs(list: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parts: Vec<&str> = split_outside(list, ',');
    while parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    let mut pairs = BTreeMap::new();
    for part in parts {
        let sides = split_outside(part, '=');
        let [key, value] = sides.as_slice() else {
            return Err(format!("{part}: expected key=value or key=[value,value]"));
        };
        pairs.insert(key.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned());
    }
    Ok(pairs)
}

/// Splits where `at` is not inside brackets: no `]` comes before the next `[` or the end.
fn split_outside(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (index, _) in text.match_indices(at) {
        let rest = text.get(index + 1..).unwrap_or_default();
        let outside = match rest.find(']') {
            None => true,
            Some(close) => rest.find('[').is_some_and(|open| open < close),
        };
        if outside {
            parts.push(text.get(start..index).unwrap_or_default());
            start = index + 1;
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

async fn alter(
    admin: &Admin,
    entity: &Entity,
    changes: &Changes,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let name = entity.name.clone().unwrap_or_default();
    let resource = ConfigResource::new(entity.kind, &name);
    if entity.kind == ResourceKind::BrokerLogger {
        let loggers: BTreeSet<String> = configs(admin, entity, &name, true)
            .await?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let named = changes.delete.iter().chain(changes.set.keys());
        let unknown: Vec<&str> =
            named.filter(|key| !loggers.contains(*key)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let text = format!("Invalid broker logger(s): {}", unknown.join(","));
            return Err(Trouble::said(text));
        }
    }
    let delete = changes.delete.iter().map(|key| ConfigChange {
        name: key.clone(),
        op: AlterOp::Delete,
        value: None,
    });
    let set = changes.set.iter().map(|(key, value)| ConfigChange {
        name: key.clone(),
        op: AlterOp::Set,
        value: Some(value.clone()),
    });
    let changes = [(resource, delete.chain(set).collect())];
    for (_, outcome) in admin.incremental_alter_configs(&changes, false).await? {
        outcome?;
    }
    match name.as_str() {
        "" => writeln!(
            io.out,
            "Completed updating default config for {} in the cluster.",
            entity.types
        )?,
        name => {
            writeln!(io.out, "Completed updating config for {} {name}.", entity.singular())?;
        }
    }
    Ok(())
}

async fn describe(
    admin: &Admin,
    entity: &Entity,
    all: bool,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    if let Some(name) = &entity.name {
        if entity.kind == ResourceKind::Topic {
            valid_topic(name).map_err(Trouble::said)?;
        }
        if !all && !name.is_empty() && !every(admin, entity.kind).await?.contains(name) {
            writeln!(
                io.out,
                "The {} '{name}' doesn't exist and doesn't have dynamic config.",
                entity.singular()
            )?;
            return Ok(());
        }
    }
    let names = match &entity.name {
        Some(name) => vec![name.clone()],
        None => every(admin, entity.kind).await?,
    };
    for name in names {
        match (name.as_str(), all) {
            ("", _) => {
                writeln!(io.out, "Default configs for {} in the cluster are:", entity.types)?
            }
            (name, true) => {
                writeln!(io.out, "All configs for {} {name} are:", entity.singular())?;
            }
            (name, false) => {
                writeln!(io.out, "Dynamic configs for {} {name} are:", entity.singular())?;
            }
        }
        for entry in configs(admin, entity, &name, all).await? {
            writeln!(io.out, "{}", line(&entry))?;
        }
    }
    Ok(())
}

/// Every entity of a kind that has or may have configuration.
async fn every(admin: &Admin, kind: ResourceKind) -> Result<Vec<String>, Trouble> {
    let named = |resources: Vec<ConfigResource>| resources.into_iter().map(|found| found.name);
    Ok(match kind {
        ResourceKind::Topic => {
            let topics = admin.list_topics().await?;
            let names = topics.into_iter().map(|topic| topic.name).collect();
            java::map_order(names, |name: &String| java::string_hash(name), 16)
        }
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            let cluster = admin.describe_cluster(false).await?;
            let ids = cluster.brokers.iter().map(|found| found.broker.id.to_string());
            ids.chain([String::new()]).collect()
        }
        ResourceKind::ClientMetrics => named(admin.list_config_resources(&[kind]).await?).collect(),
        ResourceKind::Group => {
            let groups = admin.list_groups(&[], &[]).await?;
            let mut names: Vec<String> = groups.into_iter().map(|group| group.group_id).collect();
            // Brokers before 4.1 can't list groups that have nothing but configuration.
            if let Ok(configured) = admin.list_config_resources(&[kind]).await {
                names.extend(named(configured));
            }
            let mut seen = BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        }
    })
}

/// What is configured by name, or with `all` everything that counts.
async fn configs(
    admin: &Admin,
    entity: &Entity,
    name: &str,
    all: bool,
) -> Result<Vec<ConfigEntry>, Trouble> {
    let own = match entity.kind {
        ResourceKind::Topic => Some("DYNAMIC_TOPIC_CONFIG"),
        ResourceKind::Broker if name.is_empty() => Some("DYNAMIC_DEFAULT_BROKER_CONFIG"),
        ResourceKind::Broker => Some("DYNAMIC_BROKER_CONFIG"),
        ResourceKind::BrokerLogger => None,
        ResourceKind::ClientMetrics => Some("DYNAMIC_CLIENT_METRICS_CONFIG"),
        ResourceKind::Group => Some("DYNAMIC_GROUP_CONFIG"),
    };
    let resource = ConfigResource::new(entity.kind, name);
    let mut found = Vec::new();
    for (_, entries) in admin.describe_configs(&[resource], true, false).await? {
        found.extend(entries?);
    }
    found.retain(|entry| all || own.is_none_or(|own| entry.source.name() == own));
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

fn line(entry: &ConfigEntry) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|layer| format!("{}:{}={}", layer.source.name(), layer.name, shown(&layer.value)))
        .collect();
    format!(
        "  {}={} sensitive={} synonyms={{{}}}",
        entry.name,
        shown(&entry.value),
        entry.sensitive,
        synonyms.join(", ")
    )
}

fn valid_topic(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let wrong = match name {
        "" => "the empty string is not allowed",
        "." | ".." => "'.' and '..' are not allowed",
        _ if name.len() > 249 => "more than 249 characters",
        _ if !name.bytes().all(is_plain) => "a character other than letters, digits, '.', '_', '-'",
        _ => return Ok(()),
    };
    Err(format!("topic name {name} is invalid: {wrong}"))
}

/// Types; those without a kind are not available.
const TYPES: &[(&str, Option<ResourceKind>)] = &[
    ("topics", Some(ResourceKind::Topic)),
    ("clients", None),
    ("users", None),
    ("brokers", Some(ResourceKind::Broker)),
    ("ips", None),
    ("client-metrics", Some(ResourceKind::ClientMetrics)),
    ("groups", Some(ResourceKind::Group)),
    ("broker-loggers", Some(ResourceKind::BrokerLogger)),
];
/// Flags that name a type and an entity of it at once, in the order in which they count.
const SPECIFIC: &[(&str, &str)] = &[
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];

#[cfg(test)]
mod tests {
    use client::admin::{ConfigSource, ConfigSynonym};

    use super::*;
    use crate::run_for_test;

    #[test]
    fn brackets_hold_commas_and_equals_signs_together() {
        let read = |text: &str| -> Vec<String> {
            pairs(text).unwrap().into_iter().map(|(k, v)| format!("{k}|{v}")).collect()
        };
        assert_eq!(read("a=1,b = [x,y] ,c="), ["a|1", "b|x,y", "c|"]);
        assert_eq!(read("S=[i=8192,p=x],b=2,"), ["S|i=8192,p=x", "b|2"]);
        for bad in ["a", "", "a=b=c", "a=1,,b=2"] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entities_are_named_in_three_ways() {
        let check = |args: &[&str]| {
            let mut all = vec!["--bootstrap-server=localhost:1", "--describe"];
            all.extend(args);
            let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut stdin = std::io::empty();
            let mut io = Io { stdin: &mut stdin, out: &mut out, err: &mut err };
            let parsed = SPEC.parse(&all, &mut io).unwrap();
            check(&parsed).map(|entity| (entity.singular(), entity.name)).map_err(|failure| {
                let Failure::Told { text, .. } = failure else { return String::new() };
                text.lines().next().unwrap_or_default().to_owned()
            })
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(check(&["--topic", "t"]), Ok(("topic", named("t"))));
        let args = ["--entity-type", "brokers", "--entity-default"];
        assert_eq!(check(&args), Ok(("broker", named(""))));
        assert_eq!(check(&["--broker-defaults"]), Ok(("broker", named(""))));
        let args = ["--entity-type", "client-metrics"];
        assert_eq!(check(&args), Ok(("client-metric", None)));
        for bad in [
            &["--entity-type", "topics", "--entity-default"][..],
            &["--entity-type", "nonsense"],
            &["--entity-type", "broker-loggers"],
            &["--broker", "x"],
            &["--user", "u"],
            &["--topic", "t", "--broker", "1"],
            &["--topic", "t", "--entity-type", "topics"],
            &["--entity-type", "topics", "--entity-type", "topics"],
            &[],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_leave_standard_output_empty() {
        for args in [
            &["--alter", "--describe", "--topic", "t"][..],
            &["--alter", "--topic", "t"],
            &["--alter", "--topic", "t", "--add-config", "nonsense"],
            &["--alter", "--topic", "t", "--add-config", "a b=1"],
            &["--alter", "--entity-type", "topics", "--delete-config", "a"],
            &["--describe", "--topic", "t", "--add-config", "a=1"],
        ] {
            let mut all = vec!["--bootstrap-server=localhost:1"];
            all.extend(args);
            let (code, out, err) = run_for_test(&TOOL, &all, "");
            assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
            assert!(err.starts_with("error: "), "{err}");
        }
    }

    #[test]
    fn a_line_has_the_value_and_every_layer() {
        let layer = |source, name: &str, value: &str| ConfigSynonym {
            name: name.into(),
            value: Some(value.into()),
            source: ConfigSource(source),
        };
        let entry = ConfigEntry {
            name: "retention.ms".into(),
            value: None,
            read_only: false,
            source: ConfigSource(1),
            sensitive: true,
            synonyms: vec![layer(1, "retention.ms", "5"), layer(5, "log.retention.hours", "168")],
            kind: 0,
            documentation: None,
        };
        assert_eq!(
            line(&entry),
            "  retention.ms=null sensitive=true synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5, \
             DEFAULT_CONFIG:log.retention.hours=168}"
        );
    }
}
