//! Valid messages of every schema and version, made by walking the schemas with a generator and
//! encoding the outcome with the project's own codec.

use messages::json::{base64, from_json};
use messages::schema::{ALL, Field, Kind, Message, Type};
use serde_json::{Map, Value};
use wire::{Bytes, Uuid};

use crate::batches;
use crate::random::Random;

/// A message that has versions, by its index in [`ALL`], and one of them.
pub fn any_message(random: &mut Random) -> (usize, i16) {
    loop {
        let index = random.below(ALL.len());
        if let Some(version) = any_version(random, ALL[index]) {
            return (index, version);
        }
    }
}

/// A metadata record by its index in [`ALL`], and a version.
pub fn any_metadata(random: &mut Random) -> (usize, i16) {
    loop {
        let (index, version) = any_message(random);
        if ALL[index].kind == Kind::Metadata {
            return (index, version);
        }
    }
}

fn any_version(random: &mut Random, message: &Message) -> Option<i16> {
    let (first, last) = (message.versions.first, message.versions.last);
    (first <= last).then(|| first + random.below((last - first) as usize + 1) as i16)
}

/// A valid message, encoded; random bytes where its values can't all be carried by the version.
pub fn encoded(random: &mut Random, message: &Message, version: i16) -> Bytes {
    let value = object(random, message, version, 0);
    from_json(message, version, &value).unwrap_or_else(|_| random.bytes(40).into())
}

fn object(random: &mut Random, message: &Message, version: i16, index: usize) -> Value {
    let mut object = Map::new();
    for field in message.structs[index].fields {
        if !field.versions.contains(version) {
            continue;
        }
        let tagged = field.tag.is_some_and(|(_, versions)| versions.contains(version));
        if tagged && random.chance(50) {
            continue;
        }
        object.insert(field.name.to_owned(), value(random, message, version, field));
    }
    Value::Object(object)
}

fn value(random: &mut Random, message: &Message, version: i16, field: &Field) -> Value {
    if field.nullable.contains(version) && random.chance(20) {
        return Value::Null;
    }
    if field.array {
        let count = random.pick(&[0, 1, 1, 2, 3]);
        return (0..count).map(|_| element(random, message, version, field.element)).collect();
    }
    element(random, message, version, field.element)
}

fn element(random: &mut Random, message: &Message, version: i16, kind: Type) -> Value {
    let number = random.number();
    match kind {
        Type::Bool => (number & 1 == 0).into(),
        Type::Int8 => (number as i8).into(),
        Type::Int16 => (number as i16).into(),
        Type::Uint16 => (number as u16).into(),
        Type::Int32 => (number as i32).into(),
        Type::Uint32 => (number as u32).into(),
        Type::Int64 => number.into(),
        Type::Float64 => (number as f64 / 3.0).into(),
        Type::Uuid => Uuid(u128::from(random.bits()) << 64 | number as u128).to_string().into(),
        Type::String => text(random).into(),
        Type::Bytes => {
            let count = random.below(12);
            base64(&random.bytes(count)).into()
        }
        Type::Records => base64(&batches::records(random)).into(),
        Type::Struct(index) => object(random, message, version, index),
    }
}

fn text(random: &mut Random) -> String {
    random.pick(&["", "t", "topic-1", "__consumer_offsets", "été", "a b\n", "range"]).to_owned()
}
