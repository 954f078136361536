//! `cargo xtask schemas DIR...`: reads the JSON message schemas that Apache Kafka's jars carry,
//! unpacked into DIR..., and writes them in the compact language, facts only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::schema::{Field, Message, Struct, Versions, print};

pub fn run(dirs: &[String]) -> Result<(), String> {
    if dirs.is_empty() {
        return Err("schemas: name the directories with the JSON files".into());
    }
    let mut files: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for dir in dirs {
        for entry in fs::read_dir(dir).map_err(|error| format!("{dir}: {error}"))? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let message =
                    read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                files.entry(home(&message, dir)).or_default().push(message);
            }
        }
    }
    let root = schema_root();
    for (name, mut messages) in files {
        // Request before response, key before value.
        messages.sort_by_key(|message| (message.kind == "response", message.name.clone()));
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap_or(&root)).map_err(|error| error.to_string())?;
        fs::write(&path, print(&messages)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Where the compact schemas live.
pub fn schema_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/messages/schema")
}

/// The file a message belongs to: both halves of an API, or of a coordinator record, share one.
fn home(message: &Message, dir: &str) -> String {
    let stem = ["Request", "Response", "Key", "Value", "Record"]
        .iter()
        .find_map(|suffix| message.name.strip_suffix(suffix))
        .unwrap_or(&message.name);
    let stem = snake(stem);
    let numbered = |extension: &str| match message.key {
        Some(key) => format!("{key:02}_{stem}.{extension}"),
        None => format!("{stem}.{extension}"),
    };
    match message.kind.as_str() {
        "request" | "response" => numbered("api"),
        "metadata" if dir.contains("storage") => format!("tiered/{}", numbered("rec")),
        "metadata" => format!("metadata/{}", numbered("rec")),
        "coordinator-key" | "coordinator-value" => {
            let group = ["group", "transaction", "share"]
                .into_iter()
                .find(|word| dir.contains(word))
                .unwrap_or("other");
            format!("{group}/{}", numbered("rec"))
        }
        _ => format!("data/{stem}.rec"),
    }
}

/// `FetchRequest` as `fetch_request`; runs of capitals stay together.
pub fn snake(name: &str) -> String {
    let mut out = String::new();
    let chars: Vec<char> = name.chars().collect();
    for (index, &letter) in chars.iter().enumerate() {
        let after_lower = index > 0 && !chars[index - 1].is_ascii_uppercase();
        let before_lower = chars.get(index + 1).is_some_and(|next| next.is_ascii_lowercase());
        if letter.is_ascii_uppercase() && index > 0 && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn read(path: &Path) -> Result<Message, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    // The files are JSON with `//` comments, which stand on lines of their own or after a comma.
    let bare: String = text
        .lines()
        .map(|line| match line.find("//") {
            Some(at) if line[..at].matches('"').count() % 2 == 0 => &line[..at],
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let json: Value = serde_json::from_str(&bare).map_err(|error| error.to_string())?;
    let versions = Versions::parse(json["validVersions"].as_str().ok_or("no validVersions")?)?;
    let flexible = match json["flexibleVersions"].as_str() {
        Some(text) => Versions::parse(text)?,
        None => Versions::NONE,
    };
    Ok(Message {
        kind: json["type"].as_str().ok_or("no type")?.to_owned(),
        name: json["name"].as_str().ok_or("no name")?.to_owned(),
        key: json["apiKey"].as_i64().map(|key| key as i16),
        versions,
        flexible,
        unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
        listeners: strings(&json["listeners"]),
        fields: fields(&json["fields"])?,
        structs: json["commonStructs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|shared| {
                Ok(Struct {
                    name: shared["name"].as_str().ok_or("struct without name")?.to_owned(),
                    fields: fields(&shared["fields"])?,
                })
            })
            .collect::<Result<_, String>>()?,
    })
}

fn strings(json: &Value) -> Vec<String> {
    json.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn fields(json: &Value) -> Result<Vec<Field>, String> {
    json.as_array().into_iter().flatten().map(field).collect()
}

fn field(json: &Value) -> Result<Field, String> {
    let name = json["name"].as_str().ok_or("field without name")?.to_owned();
    let range = |key: &str| match json[key].as_str() {
        Some(text) => Versions::parse(text),
        None => Ok(Versions::NONE),
    };
    let tagged = range("taggedVersions")?;
    // A tagged field may leave its versions out: they are the tagged ones.
    let versions = if json["versions"].is_null() { tagged } else { range("versions")? };
    Ok(Field {
        kind: json["type"].as_str().ok_or("field without type")?.to_owned(),
        versions,
        nullable: range("nullableVersions")?,
        tag: json["tag"].as_u64().map(|tag| tag as u32),
        tagged,
        // A literal null is no default; only the string "null" makes null the default.
        default: match &json["default"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
        ignorable: json["ignorable"].as_bool().unwrap_or(false),
        key: json["mapKey"].as_bool().unwrap_or(false),
        entity: json["entityType"].as_str().map(str::to_owned),
        never_flexible: json["flexibleVersions"].as_str() == Some("none"),
        fields: fields(&json["fields"])?,
        name,
    })
}
