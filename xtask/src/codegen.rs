//! `cargo xtask codegen [--check]`: writes `crates/messages/src/generated` from the compact
//! schemas: for every message a module with its structs and their codecs, and the descriptors
//! that the JSON face walks.
//!
//! Generated functions are not generic and handle every version; where a field is in all versions
//! of its message no version test is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::codegen_schema;
use crate::schema::{Field, Message, Versions, is_primitive, parse};
use crate::schemas::{schema_root, snake};

pub fn run(args: &[String]) -> Result<(), String> {
    let files = render()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/messages/src/generated");
    if args.first().is_some_and(|arg| arg == "--check") {
        for (name, text) in &files {
            let found = fs::read_to_string(root.join(name)).unwrap_or_default();
            if found != *text {
                return Err(format!("generated/{name} is stale: run cargo xtask codegen"));
            }
        }
        let found = fs::read_dir(&root).map_err(|error| error.to_string())?.count();
        if found != files.len() {
            return Err(format!("generated/ has {found} files, expected {}", files.len()));
        }
        println!("generated/ is what schema/ says: {} files", files.len());
        return Ok(());
    }
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    for (name, text) in &files {
        fs::write(root.join(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Every file of `generated/` by name.
fn render() -> Result<BTreeMap<String, String>, String> {
    let mut messages = Vec::new();
    for path in schema_files(&schema_root())? {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let parsed = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        messages.extend(parsed);
    }
    messages.retain(|message| !message.versions.is_none());
    messages.sort_by(|left, right| left.name.cmp(&right.name));
    let mut files = BTreeMap::new();
    let mut index = String::from(HEADER);
    index.push_str("//! The list of all messages.\n\n");
    for message in &messages {
        let _ = writeln!(index, "pub mod {};", snake(&message.name));
    }
    index.push('\n');
    for message in &messages {
        let _ = writeln!(index, "pub use {}::{};", snake(&message.name), message.name);
        let text = module(message)?;
        files.insert(format!("{}.rs", snake(&message.name)), text);
    }
    codegen_schema::index(&mut index, &messages);
    files.insert("mod.rs".to_owned(), index);
    files.insert("api_key.rs".to_owned(), codegen_schema::api_keys(&messages));
    for text in files.values_mut() {
        *text = rustfmt(text)?;
    }
    Ok(files)
}

fn schema_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            files.extend(schema_files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The generator prints one statement a line; the formatter makes the result the same whatever
/// this file looks like.
fn rustfmt(text: &str) -> Result<String, String> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=100,use_small_heuristics=Max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("rustfmt: {error}"))?;
    // rustfmt reads all of its input before it prints, so this can't block for ever.
    child
        .stdin
        .take()
        .ok_or("rustfmt has no stdin")?
        .write_all(text.as_bytes())
        .map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("rustfmt refused:\n{text}"));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// One struct of a message: the message itself or one nested in it.
pub struct Shape<'a> {
    pub name: &'a str,
    pub fields: Vec<&'a Field>,
}

/// The structs of a message, itself first, without fields that no valid version has.
pub fn shapes(message: &Message) -> Vec<Shape<'_>> {
    let mut out = Vec::new();
    collect(&message.name, &message.fields, message.versions, &mut out);
    for shared in &message.structs {
        collect(&shared.name, &shared.fields, message.versions, &mut out);
    }
    out
}

fn collect<'a>(name: &'a str, fields: &'a [Field], valid: Versions, out: &mut Vec<Shape<'a>>) {
    let fields: Vec<&Field> =
        fields.iter().filter(|field| !field.versions.within(valid).is_none()).collect();
    out.push(Shape { name, fields: fields.clone() });
    for field in fields {
        if !field.fields.is_empty() {
            collect(field.element(), &field.fields, valid, out);
        }
    }
}

/// What the codec functions of one message need to know of it.
struct Context<'a> {
    message: &'a Message,
    shapes: &'a [Shape<'a>],
}

fn module(message: &Message) -> Result<String, String> {
    let shapes = shapes(message);
    let context = Context { message, shapes: &shapes };
    let mut out = String::from(HEADER);
    let _ = writeln!(out, "//! `{}`, versions {}.\n", message.name, message.versions);
    out.push_str("use crate::prelude::*;\n\n");
    for (index, shape) in shapes.iter().enumerate() {
        context.definition(&mut out, shape);
        context.default(&mut out, shape)?;
        let _ = writeln!(out, "impl {} {{", shape.name);
        context.decode(&mut out, shape);
        context.encode(&mut out, shape)?;
        out.push_str("}\n\n");
        if index == 0 {
            context.message_impl(&mut out);
        }
    }
    codegen_schema::descriptor(&mut out, message, &shapes);
    Ok(out)
}

impl Context<'_> {
    fn definition(&self, out: &mut String, shape: &Shape<'_>) {
        let _ = writeln!(out, "/// `{}` of [`{}`].", shape.name, self.message.name);
        let derived = if shape.fields.iter().all(|field| has_zero_default(field)) {
            "Clone, Debug, Default, PartialEq"
        } else {
            "Clone, Debug, PartialEq"
        };
        let _ = writeln!(out, "#[derive({derived})]\npub struct {} {{", shape.name);
        for field in &shape.fields {
            let _ = writeln!(
                out,
                "/// {}: `{}`, versions {}{}.",
                field.name,
                field.kind,
                field.versions,
                if field.nullable.is_none() {
                    String::new()
                } else {
                    format!(", null {}", field.nullable)
                }
            );
            let _ = writeln!(out, "pub {}: {},", ident(field), rust_type(field));
        }
        if self.has_tags() {
            out.push_str("/// Tagged fields this schema does not know.\n");
            out.push_str("pub unknown_tags: UnknownTags,\n");
        }
        out.push_str("}\n\n");
    }

    fn has_tags(&self) -> bool {
        !self.message.flexible.within(self.message.versions).is_none()
    }

    fn default(&self, out: &mut String, shape: &Shape<'_>) -> Result<(), String> {
        if shape.fields.iter().all(|field| has_zero_default(field)) {
            return Ok(());
        }
        let _ = writeln!(out, "impl Default for {} {{ fn default() -> Self {{ Self {{", shape.name);
        for field in &shape.fields {
            let _ = writeln!(out, "{}: {},", ident(field), default_value(field)?);
        }
        if self.has_tags() {
            out.push_str("unknown_tags: UnknownTags::default(),\n");
        }
        out.push_str("} } }\n\n");
        Ok(())
    }

    fn message_impl(&self, out: &mut String) {
        let message = self.message;
        let flexible = message.flexible.within(message.versions);
        let _ = writeln!(
            out,
            "impl Message for {name} {{
                const NAME: &'static str = \"{name}\";
                const KEY: i16 = {};
                const VERSIONS: (i16, i16) = ({}, {});
                const FLEXIBLE_FROM: i16 = {};
                fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{
                    Self::decode(r, version)
                }}
                fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{
                    Self::encode(self, w, version)
                }}
            }}\n",
            message.key.unwrap_or(-1),
            message.versions.first,
            message.versions.last,
            if flexible.is_none() { i16::MAX } else { flexible.first },
            name = message.name,
        );
    }

    /// The test that `version` is in `range`, or `None` if all versions of the message are.
    fn condition(&self, range: Versions) -> Option<String> {
        let valid = self.message.versions;
        let low = (range.first > valid.first).then(|| format!("version >= {}", range.first));
        let high = (range.last < valid.last).then(|| format!("version <= {}", range.last));
        match (low, high) {
            (None, None) => None,
            (Some(only), None) | (None, Some(only)) => Some(only),
            (Some(_), Some(_)) if range.first == range.last => {
                Some(format!("version == {}", range.first))
            }
            (Some(_), Some(_)) => {
                Some(format!("({}..={}).contains(&version)", range.first, range.last))
            }
        }
    }

    /// The expression for "compact encoding" of a field.
    fn flexible(&self, field: &Field) -> String {
        if field.never_flexible || !self.has_tags() {
            return "false".into();
        }
        self.condition(self.message.flexible).unwrap_or_else(|| "true".into())
    }

    /// Versions in which the field stands in the body, not among the tags.
    fn body(&self, field: &Field) -> Option<Versions> {
        let range = field.versions.within(self.message.versions);
        if field.tag.is_none() {
            return Some(range);
        }
        let before = Versions { first: range.first, last: field.tagged.first - 1 };
        (!before.is_none()).then_some(before)
    }

    fn decode(&self, out: &mut String, shape: &Shape<'_>) {
        let _ = writeln!(
            out,
            "/// Reads the given version.
            ///
            /// # Errors
            /// Bytes that are not such a struct.
            pub fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{"
        );
        out.push_str("let mut s = Self::default();\n");
        for field in &shape.fields {
            let Some(range) = self.body(field) else { continue };
            let read = format!(
                "s.{} = {};",
                ident(field),
                self.read(field, "r", &self.flexible(field), false)
            );
            match self.condition(range) {
                Some(test) => {
                    let _ = writeln!(out, "if {test} {{ {read} }}");
                }
                None => {
                    let _ = writeln!(out, "{read}");
                }
            }
        }
        if self.has_tags() {
            let arms = self.tag_arms(shape);
            let tags = if arms.is_empty() {
                "s.unknown_tags = UnknownTags::decode(r)?;".to_owned()
            } else {
                format!(
                    "for _ in 0..r.uvarint()? {{
                        let tag = r.uvarint()?;
                        let size = r.uvarint()? as usize;
                        match tag {{
                            {arms}
                            _ => s.unknown_tags.push(tag, size, r)?,
                        }}
                    }}"
                )
            };
            match self.condition(self.message.flexible) {
                Some(test) => {
                    let _ = writeln!(out, "if {test} {{ {tags} }}");
                }
                None => {
                    let _ = writeln!(out, "{tags}");
                }
            }
        }
        out.push_str("let _ = version;\nOk(s)\n}\n\n");
    }

    fn tag_arms(&self, shape: &Shape<'_>) -> String {
        let mut arms = String::new();
        for field in &shape.fields {
            let Some(tag) = field.tag else { continue };
            let guard = match self.condition(field.tagged.within(self.message.flexible)) {
                Some(test) if Some(&test) != self.condition(self.message.flexible).as_ref() => {
                    format!(" if {test}")
                }
                _ => String::new(),
            };
            let _ = writeln!(
                arms,
                "{tag}{guard} => {{
                    let mut body = r.sub(size)?;
                    s.{} = {};
                    body.finish()?;
                    r.absorb(&body);
                }}",
                ident(field),
                self.read(field, "(&mut body)", "true", true),
            );
        }
        arms
    }

    /// The expression that reads a field's value from `r`, the body of a tag if `tagged`.
    fn read(&self, field: &Field, r: &str, flexible: &str, tagged: bool) -> String {
        let nullable = !field.nullable.is_none();
        // Null is read where any version allows it; versions that don't are told apart below.
        let null_test = self
            .condition(field.nullable)
            .filter(|test| Some(test) != self.condition(field.versions).as_ref());
        let element = field.element();
        let value = if field.is_array() {
            let (wire, memory) = self.element_size(element);
            let item = if is_primitive(element) {
                primitive_read(element, r, flexible, false)
            } else {
                format!("{element}::decode({}, version)?", reborrow(r))
            };
            let body = format!(
                "let mut list = Vec::with_capacity(count); for _ in 0..count {{ list.push({item}); }}"
            );
            if nullable {
                format!(
                    "match {r}.nullable_array_len({flexible}, {wire}, {memory})? {{
                        None => None,
                        Some(count) => {{ {body} Some(list) }}
                    }}"
                )
            } else {
                format!(
                    "{{ let count = {r}.array_len({flexible}, {wire}, {memory})?; {body} list }}"
                )
            }
        } else if is_primitive(element) {
            primitive_read(element, r, flexible, nullable)
        } else if nullable {
            // A nullable struct is preceded by a marker in the versions that allow null: -1 or 1
            // in a byte, but as a tagged field the unsigned varint 0 or 1.
            let null =
                if tagged { format!("{r}.uvarint()? == 0") } else { format!("{r}.i8()? < 0") };
            let some = format!("Some({element}::decode({}, version)?)", reborrow(r));
            let marked = format!("if {null} {{ None }} else {{ {some} }}");
            return match null_test {
                Some(test) => format!("if {test} {{ {marked} }} else {{ {some} }}"),
                None => marked,
            };
        } else {
            format!("{element}::decode({}, version)?", reborrow(r))
        };
        match null_test.filter(|_| nullable) {
            Some(test) => format!(
                "{{ let value = {value};
                    if value.is_none() && !({test}) {{ return Err({r}.error(\"null {}\")); }}
                    value }}",
                field.name
            ),
            None => value,
        }
    }

    /// The least bytes an element takes on the wire, and what it takes in memory.
    fn element_size(&self, element: &str) -> (usize, String) {
        match element {
            "bool" | "int8" => (1, "1".into()),
            "int16" | "uint16" => (2, "2".into()),
            "int32" | "uint32" => (4, "4".into()),
            "int64" | "float64" => (8, "8".into()),
            "uuid" => (16, "16".into()),
            "string" | "bytes" | "records" => (1, "32".into()),
            name => (self.least_wire(name), format!("size_of::<{name}>()")),
        }
    }

    fn least_wire(&self, name: &str) -> usize {
        let valid = self.message.versions;
        let Some(shape) = self.shapes.iter().find(|shape| shape.name == name) else { return 1 };
        let at = |version: i16| -> usize {
            shape
                .fields
                .iter()
                .filter(|field| self.body(field).is_some_and(|range| range.contains(version)))
                .map(|field| {
                    if field.is_array() || !field.nullable.is_none() {
                        return 1;
                    }
                    match field.kind.as_str() {
                        kind if is_primitive(kind) => self.element_size(kind).0,
                        kind => self.least_wire(kind),
                    }
                })
                .sum()
        };
        (valid.first..=valid.last).map(at).min().unwrap_or(1).max(1)
    }

    fn encode(&self, out: &mut String, shape: &Shape<'_>) -> Result<(), String> {
        let _ = writeln!(
            out,
            "/// Writes the given version.
            ///
            /// # Errors
            /// A field that this version can't carry is set.
            pub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{"
        );
        for field in &shape.fields {
            let present = self.condition(field.versions);
            let body = self.body(field);
            let mut text = String::new();
            if let Some(range) = body {
                let write = self.write(field, shape, &self.flexible(field), false);
                match self.condition(range) {
                    Some(test) => {
                        let _ = write!(text, "if {test} {{ {write} }}");
                    }
                    None => text = write,
                }
            }
            if let Some(test) = present.filter(|_| !field.ignorable) {
                let refuse = format!(
                    "if {} {{ return Err(EncodeError {{ field: \"{}.{}\", version }}); }}",
                    differs(field)?,
                    shape.name,
                    field.name
                );
                if body == Some(field.versions.within(self.message.versions)) {
                    let _ = write!(text, " else {refuse}");
                } else {
                    let _ = write!(text, "if !({test}) {{ {refuse} }}");
                }
            }
            let _ = writeln!(out, "{text}");
        }
        if self.has_tags() {
            let tags = self.write_tags(shape)?;
            match self.condition(self.message.flexible) {
                Some(test) => {
                    let _ = writeln!(out, "if {test} {{ {tags} }}");
                }
                None => {
                    let _ = writeln!(out, "{tags}");
                }
            }
        }
        out.push_str("let _ = (w, version);\nOk(())\n}\n");
        Ok(())
    }

    fn write_tags(&self, shape: &Shape<'_>) -> Result<String, String> {
        let mut fields: Vec<&&Field> =
            shape.fields.iter().filter(|field| field.tag.is_some()).collect();
        if fields.is_empty() {
            return Ok("self.unknown_tags.encode(w);".into());
        }
        fields.sort_by_key(|field| field.tag);
        let flexible = self.condition(self.message.flexible);
        let mut count = String::from("let mut count = self.unknown_tags.len();\n");
        let mut body = String::new();
        for (index, field) in fields.iter().enumerate() {
            let guard = match self.condition(field.tagged) {
                Some(test) if Some(&test) != flexible.as_ref() => format!("{test} && "),
                _ => String::new(),
            };
            let _ = writeln!(count, "let has_{index} = {guard}{};", differs(field)?);
            let _ = writeln!(count, "count += usize::from(has_{index});");
            let tag = field.tag.unwrap_or_default();
            let _ = writeln!(
                body,
                "self.unknown_tags.encode_below({tag}, &mut next, w);
                if has_{index} {{ w.tagged({tag}, &mut |w| {{ {} Ok(()) }})?; }}",
                self.write(field, shape, "true", true)
            );
        }
        Ok(format!(
            "{count} w.uvarint(count as u32);\nlet mut next = 0;\n{body}
            self.unknown_tags.encode_below(u32::MAX, &mut next, w);"
        ))
    }

    /// The statements that write a field's value to `w`.
    fn write(&self, field: &Field, shape: &Shape<'_>, flexible: &str, tagged: bool) -> String {
        let place = format!("self.{}", ident(field));
        let element = field.element();
        let label = format!("{}.{}", shape.name, field.name);
        if field.nullable.is_none() {
            return self.write_value(field, &place, flexible, &label, false);
        }
        let null_test = self
            .condition(field.nullable)
            .filter(|test| Some(test) != self.condition(field.versions).as_ref());
        let is_struct = !field.is_array() && !is_primitive(element);
        let null = match (field.is_array(), element) {
            (false, "string") => format!("w.null_string({flexible});"),
            _ if is_struct && tagged => "w.uvarint(0);".to_owned(),
            _ if is_struct => "w.i8(-1);".to_owned(),
            _ => format!("w.null_wide({flexible});"),
        };
        let marker = match (&null_test, is_struct) {
            (_, true) if tagged => "w.uvarint(1);".to_owned(),
            (Some(test), true) => format!("if {test} {{ w.i8(1); }}"),
            (None, true) => "w.i8(1);".to_owned(),
            _ => String::new(),
        };
        let some = self.write_value(field, "value", flexible, &label, true);
        let refusal = match null_test {
            Some(test) => format!(
                "None if !({test}) => return Err(EncodeError {{ field: \"{label}\", version }}),"
            ),
            None => String::new(),
        };
        format!(
            "match &{place} {{ Some(value) => {{ {marker} {some} }} {refusal} None => {{ {null} }} }}"
        )
    }

    fn write_value(
        &self,
        field: &Field,
        place: &str,
        flexible: &str,
        label: &str,
        by_reference: bool,
    ) -> String {
        let element = field.element();
        if field.is_array() {
            let item = if is_primitive(element) {
                primitive_write(element, "item", flexible, label, true)
            } else {
                "item.encode(w, version)?;".to_owned()
            };
            let list = if by_reference { place.to_owned() } else { format!("&{place}") };
            return format!(
                "w.wide_len({flexible}, {place}.len()); for item in {list} {{ {item} }}"
            );
        }
        if is_primitive(element) {
            return primitive_write(element, place, flexible, label, by_reference);
        }
        format!("{place}.encode(w, version)?;")
    }
}

fn reborrow(r: &str) -> &str {
    if r == "r" { "r" } else { "&mut body" }
}

fn primitive_read(kind: &str, r: &str, flexible: &str, nullable: bool) -> String {
    let null = if nullable { "nullable_" } else { "" };
    match kind {
        "string" => format!("{r}.{null}string({flexible})?"),
        "bytes" | "records" => format!("{r}.{null}bytes({flexible})?"),
        other => format!("{r}.{}()?", short(other)),
    }
}

fn primitive_write(kind: &str, place: &str, flexible: &str, label: &str, by_ref: bool) -> String {
    let shared = if by_ref { place.to_owned() } else { format!("&{place}") };
    match kind {
        "string" => format!("w.string({flexible}, {shared}, \"{label}\")?;"),
        "bytes" | "records" => format!("w.{kind}({flexible}, {shared});"),
        other => {
            let value = if by_ref { format!("*{place}") } else { place.to_owned() };
            format!("w.{}({value});", short(other))
        }
    }
}

/// The reader's and writer's name of a fixed-size type.
fn short(kind: &str) -> &str {
    match kind {
        "int8" => "i8",
        "int16" => "i16",
        "uint16" => "u16",
        "int32" => "i32",
        "uint32" => "u32",
        "int64" => "i64",
        "float64" => "f64",
        other => other,
    }
}

fn rust_type(field: &Field) -> String {
    let element = match field.element() {
        "string" => "String",
        "bytes" | "records" => "Bytes",
        "uuid" => "Uuid",
        other if is_primitive(other) => short(other),
        other => other,
    };
    let whole = if field.is_array() { format!("Vec<{element}>") } else { element.to_owned() };
    if field.nullable.is_none() { whole } else { format!("Option<{whole}>") }
}

/// The field's name in Rust.
pub fn ident(field: &Field) -> String {
    let name = snake(&field.name);
    if ["type", "match", "self", "ref", "move"].contains(&name.as_str()) {
        return format!("{name}_");
    }
    name
}

fn number(text: &str) -> Result<i64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("default {text} is not a number"))
}

/// True if Rust's `Default` of the field's type is the schema's default.
fn has_zero_default(field: &Field) -> bool {
    let default = field.default.as_deref();
    if !field.nullable.is_none() {
        return default == Some("null");
    }
    matches!(default, None | Some("" | "0" | "false"))
}

fn default_value(field: &Field) -> Result<String, String> {
    let default = field.default.as_deref();
    if default == Some("null") {
        return Ok("None".into());
    }
    let value = match field.element() {
        _ if field.is_array() => "Vec::new()".to_owned(),
        "string" => match default.unwrap_or_default() {
            "" => "String::new()".to_owned(),
            text => format!("{text:?}.to_owned()"),
        },
        "bytes" | "records" => "Bytes::new()".into(),
        "uuid" => "Uuid::ZERO".into(),
        "bool" => default.unwrap_or("false").to_owned(),
        "float64" => {
            format!("{:?}", default.unwrap_or("0").parse::<f64>().map_err(|e| e.to_string())?)
        }
        kind if is_primitive(kind) => number(default.unwrap_or("0"))?.to_string(),
        kind => format!("{kind}::default()"),
    };
    Ok(if field.nullable.is_none() { value } else { format!("Some({value})") })
}

/// The test that a field is not at its default.
fn differs(field: &Field) -> Result<String, String> {
    let place = format!("self.{}", ident(field));
    let nullable = !field.nullable.is_none();
    if field.default.as_deref() == Some("null") {
        return Ok(format!("{place}.is_some()"));
    }
    let element = field.element();
    let list = field.is_array() || matches!(element, "bytes" | "records");
    if list || (element == "string" && field.default.as_deref().unwrap_or_default().is_empty()) {
        return Ok(if nullable {
            format!("{place}.as_ref().is_none_or(|value| !value.is_empty())")
        } else {
            format!("!{place}.is_empty()")
        });
    }
    let default = default_value(field)?;
    Ok(match (element, default.as_str()) {
        ("bool", "false") => place,
        ("bool", "true") => format!("!{place}"),
        ("uuid", _) => format!("!{place}.is_zero()"),
        _ => format!("{place} != {default}"),
    })
}

pub const HEADER: &str = "// Generated by `cargo xtask codegen` from crates/messages/schema.\n";
