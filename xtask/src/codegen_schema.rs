//! The generated parts that are data: descriptors of messages, their index, and the API keys.

use std::fmt::Write as _;

use crate::codegen::{HEADER, Shape};
use crate::schema::{Field, Message, Versions, is_primitive};
use crate::schemas::snake;

/// Appends the descriptor of a message to its module.
pub fn descriptor(out: &mut String, message: &Message, shapes: &[Shape<'_>]) {
    let _ = writeln!(
        out,
        "/// What [`{}`] consists of.
        pub static SCHEMA: schema::Message = schema::Message {{
            name: \"{}\",
            kind: schema::Kind::{},
            key: {:?},
            versions: {},
            flexible: {},
            unstable: {},
            structs: &[",
        message.name,
        message.name,
        kind(&message.kind),
        message.key,
        range(message.versions),
        range(message.flexible.within(message.versions)),
        message.unstable,
    );
    for shape in shapes {
        let _ = writeln!(
            out,
            "schema::Struct {{ name: \"{}\", fields: &[{}] }},",
            shape.name,
            shape.fields.iter().map(|field| field_row(field, message, shapes)).collect::<String>()
        );
    }
    out.push_str("] };\n");
}

fn field_row(field: &Field, message: &Message, shapes: &[Shape<'_>]) -> String {
    let element = field.element();
    let element = if is_primitive(element) {
        format!("schema::Type::{}", camel(element))
    } else {
        let index = shapes.iter().position(|shape| shape.name == element).unwrap_or(0);
        format!("schema::Type::Struct({index})")
    };
    format!(
        "schema::Field {{ name: \"{}\", element: {element}, array: {}, versions: {}, nullable: {},
            tag: {}, default: {}, ignorable: {}, never_flexible: {} }},\n",
        lower_first(&field.name),
        field.is_array(),
        range(field.versions.within(message.versions)),
        range(field.nullable.within(message.versions)),
        match field.tag {
            Some(tag) => format!("Some(({tag}, {}))", range(field.tagged.within(message.versions))),
            None => "None".into(),
        },
        match &field.default {
            Some(text) => format!("Some({text:?})"),
            None => "None".into(),
        },
        field.ignorable,
        field.never_flexible,
    )
}

/// The JSON name of a field.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

fn kind(text: &str) -> String {
    text.split('-').map(camel).collect()
}

fn range(versions: Versions) -> String {
    format!("schema::Versions {{ first: {}, last: {} }}", versions.first, versions.last)
}

/// Appends the tables over all messages to `mod.rs`.
pub fn index(out: &mut String, messages: &[Message]) {
    out.push_str(
        "\n/// Every message, by name.\npub static ALL: &[&crate::schema::Message] = &[\n",
    );
    for message in messages {
        let _ = writeln!(out, "&{}::SCHEMA,", snake(&message.name));
    }
    out.push_str("];\n\npub mod api_key;\n\n");
    out.push_str(
        "/// Decodes and encodes again the message of that name through its Rust type.
        ///
        /// # Errors
        /// No such message, or bytes that are not one.
        pub fn transcode(name: &str, version: i16, bytes: wire::Bytes)
            -> Result<wire::Bytes, crate::TranscodeError> { match name {\n",
    );
    for message in messages {
        let _ = writeln!(
            out,
            "\"{name}\" => crate::transcode_as::<{name}>(version, bytes),",
            name = message.name
        );
    }
    out.push_str("_ => Err(crate::TranscodeError::Unknown), } }\n");
}

/// The module with the API keys.
pub fn api_keys(messages: &[Message]) -> String {
    let mut requests: Vec<&Message> =
        messages.iter().filter(|message| message.kind == "request").collect();
    requests.sort_by_key(|message| message.key);
    let mut out = String::from(HEADER);
    out.push_str(
        "//! The APIs of the protocol.\n\n/// An API of the protocol, by its key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]
        pub enum ApiKey {\n",
    );
    let names: Vec<(&str, i16)> = requests
        .iter()
        .map(|message| (message.name.trim_end_matches("Request"), message.key.unwrap_or_default()))
        .collect();
    for (name, key) in &names {
        let _ = writeln!(out, "/// {name}.\n{name} = {key},");
    }
    out.push_str("}\n\nimpl ApiKey {\n/// All of them, in the order of their keys.\n");
    out.push_str("pub const ALL: &[Self] = &[\n");
    for (name, _) in &names {
        let _ = writeln!(out, "Self::{name},");
    }
    out.push_str("];\n\n/// The API with this key.\npub fn from_i16(key: i16) -> Option<Self> {");
    out.push_str("match key {\n");
    for (name, key) in &names {
        let _ = writeln!(out, "{key} => Some(Self::{name}),");
    }
    out.push_str("_ => None,\n} }\n\n/// What is known of it.\npub fn facts(self) -> ApiFacts {");
    out.push_str("match self {\n");
    for (message, (name, _)) in requests.iter().zip(&names) {
        let flexible = message.flexible.within(message.versions);
        let _ = writeln!(
            out,
            "Self::{name} => ApiFacts {{ name: \"{name}\", versions: ({}, {}),
                flexible_from: {}, unstable_last: {}, broker: {}, controller: {} }},",
            message.versions.first,
            message.versions.last,
            if flexible.is_none() { i16::MAX } else { flexible.first },
            message.unstable,
            message.listeners.iter().any(|listener| listener == "broker"),
            message.listeners.iter().any(|listener| listener == "controller"),
        );
    }
    out.push_str(
        "} } }

        /// What the schemas say of an API as a whole.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct ApiFacts {
            /// As in the protocol's documentation.
            pub name: &'static str,
            /// First and last version, both inclusive.
            pub versions: (i16, i16),
            /// First version with compact encodings and tagged fields; `i16::MAX` if none.
            pub flexible_from: i16,
            /// The last version is not stable yet.
            pub unstable_last: bool,
            /// Served on broker listeners.
            pub broker: bool,
            /// Served on controller listeners.
            pub controller: bool,
        }\n",
    );
    out
}
