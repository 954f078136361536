//! `ottla config`: what is configured for topics, brokers, groups, loggers and client metrics.

use client::admin::{ConfigEntry, ConfigResource, ResourceKind};
use client::{Admin, ApiError};
use serde_json::{Value, json};

use super::output::{Column, column};
use super::{
    COMMAND_CONFIG, Call, DRY_RUN, NOT_FOUND, OUTPUT, PROPERTY, SERVER, Tally, Verb, did_you_mean,
    error_fields, failed, nearest_topic, told, topic,
};
use crate::flags::{Spec, switch};
use crate::{Failure, cluster};

pub(super) static LIST: Verb = Verb {
    spec: &Spec {
        tool: "ottla config list",
        about: "Lists what can be configured, of all kinds or of one.",
        flags: &[OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("[KIND]", 0..=1),
    run: list,
};

pub(super) static DESCRIBE: Verb = Verb {
    spec: &Spec {
        tool: "ottla config describe",
        about: "Shows what is configured for a topic, broker (a number, or default for all), \
                broker-logger, group or client-metrics: what was set, or these keys.",
        flags: &[switch(&["all"], "Defaults, too."), OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("KIND NAME [KEY]...", 2..=usize::MAX),
    run: describe,
};

pub(super) static SET: Verb = Verb {
    spec: &Spec {
        tool: "ottla config set",
        about: "Sets keys; KEY+=VALUE adds to a list, KEY-=VALUE takes away from it.",
        flags: &[DRY_RUN, OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("KIND NAME KEY=VALUE...", 3..=usize::MAX),
    run: set,
};

pub(super) static UNSET: Verb = Verb {
    spec: &Spec {
        tool: "ottla config unset",
        about: "Takes keys' values away, so that the cluster's or the default counts again.",
        flags: &[DRY_RUN, OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("KIND NAME KEY...", 3..=usize::MAX),
    run: unset,
};

const RESOURCES: &[Column] = &[column("NAME", "name"), column("KIND", "kind")];
const ENTRIES: &[Column] = &[
    column("KEY", "key"),
    column("VALUE", "value"),
    column("SOURCE", "source"),
    column("READ-ONLY", "read_only"),
];
const CHANGED: &[Column] =
    &[column("NAME", "name"), column("KIND", "kind"), column("RESULT", "result")];

const KINDS: &[(&str, ResourceKind)] = &[
    ("topic", ResourceKind::Topic),
    ("broker", ResourceKind::Broker),
    ("broker-logger", ResourceKind::BrokerLogger),
    ("group", ResourceKind::Group),
    ("client-metrics", ResourceKind::ClientMetrics),
];

fn kind(call: &Call<'_, '_>, word: &str) -> Result<ResourceKind, Failure> {
    let word = word.strip_suffix('s').filter(|word| *word != "client-metric").unwrap_or(word);
    let found = KINDS.iter().find(|(name, _)| *name == word);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        call.wrong(&format!("{word}: expected one of {}", names.join(", ")))
    })
}

fn kind_name(kind: ResourceKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// Kind and name of the command line, and what follows them.
fn resource<'a>(call: &'a Call<'_, '_>) -> Result<(ConfigResource, &'a [String]), Failure> {
    let [word, name, rest @ ..] = call.arguments() else {
        return Err(call.wrong("expected KIND NAME"));
    };
    let kind = kind(call, word)?;
    let name = match (kind, name.as_str()) {
        (ResourceKind::Broker, "default") => "",
        (_, name) => name,
    };
    Ok((ConfigResource::new(kind, name), rest))
}

fn list(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let kinds = call.arguments().first().map(|word| kind(call, word)).transpose()?;
    let kinds: Vec<ResourceKind> = kinds.into_iter().collect();
    let properties = call.properties(&[])?;
    let found = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        admin.list_config_resources(&kinds).await.map_err(failed)
    })??;
    let rows: Vec<Value> = found
        .iter()
        .map(|resource| json!({ "name": shown(resource), "kind": kind_name(resource.kind) }))
        .collect();
    call.output.rows(call.io.out, RESOURCES, &rows)?;
    Ok(0)
}

fn shown(resource: &ConfigResource) -> &str {
    if resource.name.is_empty() { "default" } else { &resource.name }
}

fn describe(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let (resource, keys) = resource(call)?;
    let keys = keys.to_vec();
    let properties = call.properties(&[])?;
    let entries = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        entries(&admin, &resource).await
    })??;
    let all = call.parsed.has("all");
    let mut tally = Tally::default();
    for key in &keys {
        let known = known_keys(&resource, &entries);
        if known.contains(&key.as_str()) {
            tally.done();
            continue;
        }
        let nearest = config::nearest(key, known.into_iter());
        let hint = did_you_mean(nearest);
        call.say(&format!("error: unknown key {key}{hint}"));
        tally.codes.push(NOT_FOUND);
    }
    let wanted = |entry: &&ConfigEntry| match keys.is_empty() {
        true => all || (entry.source.name() != "DEFAULT_CONFIG" && is_own(&resource, entry)),
        false => keys.contains(&entry.name),
    };
    let mut entries: Vec<&ConfigEntry> = entries.iter().filter(wanted).collect();
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    let rows: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            json!({
                "key": entry.name,
                "value": if entry.sensitive { None } else { entry.value.as_deref() },
                "source": entry.source.name().to_ascii_lowercase(),
                "read_only": entry.read_only,
                "sensitive": entry.sensitive,
            })
        })
        .collect();
    call.output.rows(call.io.out, ENTRIES, &rows)?;
    Ok(tally.code())
}

/// What brokers were told is not what a topic was told.
fn is_own(resource: &ConfigResource, entry: &ConfigEntry) -> bool {
    match resource.kind {
        ResourceKind::Topic => entry.source.name() == "DYNAMIC_TOPIC_CONFIG",
        ResourceKind::Group => entry.source.name() == "DYNAMIC_GROUP_CONFIG",
        _ => true,
    }
}

async fn entries(admin: &Admin, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, Failure> {
    let asked = [resource.clone()];
    let described = admin.describe_configs(&asked, false, false).await.map_err(failed)?;
    match described.into_iter().next() {
        Some((_, Ok(entries))) => Ok(entries),
        Some((_, Err(error))) => {
            let hint = hint(admin, resource).await;
            let text = format!("error: {}: {error}{hint}", shown(resource));
            Err(told(text, super::exit_code(error.code)))
        }
        None => Err(told(format!("error: {}: no answer", shown(resource)), super::FAILED)),
    }
}

async fn hint(admin: &Admin, resource: &ConfigResource) -> String {
    match resource.kind {
        ResourceKind::Topic => nearest_topic(admin, &resource.name).await,
        _ => String::new(),
    }
}

fn set(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let (resource, pairs) = resource(call)?;
    let pairs = pairs.iter().map(|pair| {
        let split = pair.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            split.ok_or_else(|| call.wrong(&format!("{pair}: expected KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let pairs = pairs.collect::<Result<Vec<_>, Failure>>()?;
    change(call, resource, pairs, Vec::new())
}

fn unset(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let (resource, keys) = resource(call)?;
    let keys = keys.to_vec();
    change(call, resource, Vec::new(), keys)
}

fn change(
    call: &mut Call<'_, '_>,
    resource: ConfigResource,
    set: Vec<(String, String)>,
    unset: Vec<String>,
) -> Result<u8, Failure> {
    let dry = call.parsed.has("dry-run");
    let properties = call.properties(&[])?;
    let names: Vec<String> = set.iter().map(|(name, _)| name).chain(&unset).cloned().collect();
    let asked = [(resource.clone(), topic::changes(set, unset))];
    let result = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let altered = admin.incremental_alter_configs(&asked, dry).await.map_err(failed)?;
        let result = altered.into_iter().next().map(|(_, result)| result);
        match result {
            Some(Err(error)) => {
                let hint = match error.code {
                    wire::ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => hint(&admin, &resource).await,
                    _ => nearest_key(&admin, &resource, &names).await,
                };
                Ok(Err(ApiError { message: format!("{error}{hint}"), code: error.code }))
            }
            Some(Ok(())) => Ok(Ok(())),
            None => Err(told("error: no answer", super::FAILED)),
        }
    })??;
    let mut tally = Tally::default();
    let mut row = json!({ "name": shown(&resource), "kind": kind_name(resource.kind) });
    let word = match &result {
        Ok(()) if dry => "would be changed",
        Ok(()) => "changed",
        Err(_) => "failed",
    };
    if let Some(row) = row.as_object_mut() {
        row.insert("result".into(), word.into());
        if let Err(error) = &result {
            row.insert("error".into(), error_fields(error));
        }
    }
    match &result {
        Ok(()) => tally.done(),
        Err(error) => tally.failed(call.io, shown(&resource), error),
    }
    if result.is_ok() || call.output.is_json() {
        call.output.rows(call.io.out, CHANGED, &[row])?;
    }
    Ok(tally.code())
}

/// Keys that a resource shows, and those of our own, which are shown only where they are set.
fn known_keys<'a>(resource: &ConfigResource, entries: &'a [ConfigEntry]) -> Vec<&'a str> {
    let rows = config::topic::ROWS.iter();
    let own = rows.filter(|row| resource.kind == ResourceKind::Topic && row.doc.is_some());
    entries.iter().map(|entry| entry.name.as_str()).chain(own.map(|row| row.name)).collect()
}

/// For a key that is none, the one that was meant.
async fn nearest_key(admin: &Admin, resource: &ConfigResource, names: &[String]) -> String {
    let Ok(entries) = entries(admin, resource).await else { return String::new() };
    let known = known_keys(resource, &entries);
    let unknown = names.iter().map(|name| name.trim_end_matches(['+', '-']));
    let mut unknown = unknown.filter(|name| !known.contains(name));
    let nearest = unknown.find_map(|name| config::nearest(name, known.iter().copied()));
    did_you_mean(nearest)
}
