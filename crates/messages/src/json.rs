//! Messages as JSON in Apache Kafka's own shape: that of its `*JsonConverter` classes, which its
//! tools print and its `quorum-state` file holds.
//!
//! One walker over the schema descriptors serves all messages in both directions; typed messages
//! pass through their bytes. Byte fields are base64; unknown tagged fields are not shown.

use serde_json::{Map, Number, Value};
use wire::{Bytes, DecodeError, EncodeError, Reader, Uuid, Writer};

use crate::schema::{Field, Message, Type};

/// A JSON value that is not the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What was expected.
    pub what: &'static str,
    /// The field that lacks it.
    pub field: &'static str,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.field, self.what)
    }
}

impl std::error::Error for JsonError {}

impl From<EncodeError> for JsonError {
    fn from(error: EncodeError) -> Self {
        Self { what: "the version can't carry it", field: error.field }
    }
}

/// The JSON of an encoded message.
///
/// # Errors
/// Bytes that are not exactly such a message.
pub fn to_json(message: &Message, version: i16, bytes: Bytes) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = read(message, version, &mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// The JSON of the message that `reader` comes to; what follows it stays there.
///
/// # Errors
/// Bytes that don't begin with such a message.
pub fn read(message: &Message, version: i16, reader: &mut Reader) -> Result<Value, DecodeError> {
    Walker { message, version }.read_struct(0, reader)
}

/// The bytes of a message given as JSON.
///
/// # Errors
/// A value that is not such a message, or that this version can't carry.
pub fn from_json(message: &Message, version: i16, json: &Value) -> Result<Bytes, JsonError> {
    let mut writer = Writer::new();
    Walker { message, version }.write_struct(0, json, &mut writer)?;
    let bytes = writer.finish().to_bytes();
    // JSON may spell out a tagged field's default; the typed codec knows not to send it.
    crate::transcode(message.name, version, bytes)
        .map_err(|_| JsonError { what: "the version can't carry it", field: message.name })
}

#[derive(Clone, Copy)]
struct Walker<'a> {
    message: &'a Message,
    version: i16,
}

impl<'a> Walker<'a> {
    fn fields(self, index: usize) -> &'static [Field] {
        self.message.structs.get(index).map_or(&[], |found| found.fields)
    }

    fn flexible(self, field: &Field) -> bool {
        !field.never_flexible && self.message.flexible.contains(self.version)
    }

    /// The tag under which the field travels in this version.
    fn tag(self, field: &Field) -> Option<u32> {
        field.tag.filter(|(_, versions)| versions.contains(self.version)).map(|(tag, _)| tag)
    }

    fn read_struct(self, index: usize, r: &mut Reader) -> Result<Value, DecodeError> {
        let fields = self.fields(index);
        let mut object = Map::new();
        for field in fields {
            if field.versions.contains(self.version) && self.tag(field).is_none() {
                object.insert(field.name.to_owned(), self.read_field(field, false, r)?);
            }
        }
        if self.message.flexible.contains(self.version) {
            for _ in 0..r.uvarint()? {
                let tag = r.uvarint()?;
                let size = r.uvarint()? as usize;
                let mut body = r.sub(size)?;
                if let Some(field) = fields.iter().find(|field| self.tag(field) == Some(tag)) {
                    object.insert(field.name.to_owned(), self.read_field(field, true, &mut body)?);
                    body.finish()?;
                }
                r.absorb(&body);
            }
        }
        Ok(Value::Object(object))
    }

    fn read_field(self, field: &Field, tagged: bool, r: &mut Reader) -> Result<Value, DecodeError> {
        let flexible = self.flexible(field);
        let nullable = field.nullable.contains(self.version);
        if field.array {
            // A JSON value takes 32 bytes and more; the reader's budget bounds the whole.
            let Some(count) = r.nullable_array_len(flexible, 1, 32)? else {
                return if nullable { Ok(Value::Null) } else { Err(r.error("null array")) };
            };
            let mut list = Vec::new();
            for _ in 0..count {
                list.push(self.read_value(field.element, flexible, false, r)?);
            }
            return Ok(Value::Array(list));
        }
        if nullable && matches!(field.element, Type::Struct(_)) {
            let null = if tagged { r.uvarint()? == 0 } else { r.i8()? < 0 };
            if null {
                return Ok(Value::Null);
            }
        }
        self.read_value(field.element, flexible, nullable, r)
    }

    fn read_value(
        self,
        kind: Type,
        flexible: bool,
        nullable: bool,
        r: &mut Reader,
    ) -> Result<Value, DecodeError> {
        Ok(match kind {
            Type::Bool => Value::Bool(r.bool()?),
            Type::Int8 => r.i8()?.into(),
            Type::Int16 => r.i16()?.into(),
            Type::Uint16 => r.u16()?.into(),
            Type::Int32 => r.i32()?.into(),
            Type::Uint32 => r.u32()?.into(),
            Type::Int64 => r.i64()?.into(),
            Type::Float64 => Number::from_f64(r.f64()?).map_or(Value::Null, Value::Number),
            Type::Uuid => Value::String(r.uuid()?.to_string()),
            Type::String => match r.nullable_string(flexible)? {
                Some(text) => Value::String(text),
                None if nullable => Value::Null,
                None => return Err(r.error("null string where none is allowed")),
            },
            Type::Bytes | Type::Records => match r.nullable_bytes(flexible)? {
                Some(bytes) => Value::String(base64(&bytes)),
                None if nullable => Value::Null,
                None => return Err(r.error("null bytes where none are allowed")),
            },
            Type::Struct(index) => self.read_struct(index, r)?,
        })
    }

    fn write_struct(self, index: usize, json: &Value, w: &mut Writer) -> Result<(), JsonError> {
        let fields = self.fields(index);
        let mut tags: Vec<(u32, &Field, &Value)> = Vec::new();
        for field in fields {
            if !field.versions.contains(self.version) {
                continue;
            }
            let value = json.get(field.name);
            match (self.tag(field), value) {
                (Some(tag), Some(value)) => tags.push((tag, field, value)),
                (Some(_), None) => {}
                (None, Some(value)) => self.write_field(field, false, value, w)?,
                (None, None) => return Err(fault(field, "the field is missing")),
            }
        }
        if self.message.flexible.contains(self.version) {
            tags.sort_by_key(|(tag, ..)| *tag);
            w.uvarint(tags.len() as u32);
            for (tag, field, value) in tags {
                let mut inner = Writer::new();
                self.write_field(field, true, value, &mut inner)?;
                w.uvarint(tag);
                w.uvarint(inner.len() as u32);
                w.raw(&inner.finish().to_bytes());
            }
        }
        Ok(())
    }

    fn write_field(
        self,
        field: &Field,
        tagged: bool,
        json: &Value,
        w: &mut Writer,
    ) -> Result<(), JsonError> {
        let flexible = self.flexible(field);
        let nullable = field.nullable.contains(self.version);
        let is_struct = matches!(field.element, Type::Struct(_));
        if json.is_null() {
            if !nullable {
                return Err(fault(field, "null is not allowed"));
            }
            match field.element {
                _ if field.array => w.null_wide(flexible),
                Type::Struct(_) if tagged => w.uvarint(0),
                Type::Struct(_) => w.i8(-1),
                Type::String => w.null_string(flexible),
                _ => w.null_wide(flexible),
            }
            return Ok(());
        }
        if field.array {
            let list = json.as_array().ok_or(fault(field, "expected an array"))?;
            w.wide_len(flexible, list.len());
            for item in list {
                self.write_value(field, flexible, item, w)?;
            }
            return Ok(());
        }
        if nullable && is_struct {
            if tagged { w.uvarint(1) } else { w.i8(1) }
        }
        self.write_value(field, flexible, json, w)
    }

    fn write_value(
        self,
        field: &Field,
        flexible: bool,
        json: &Value,
        w: &mut Writer,
    ) -> Result<(), JsonError> {
        match field.element {
            Type::Bool => w.bool(json.as_bool().ok_or(fault(field, "expected a boolean"))?),
            Type::Int8 => w.i8(integer(field, json)?),
            Type::Int16 => w.i16(integer(field, json)?),
            Type::Uint16 => w.u16(integer(field, json)?),
            Type::Int32 => w.i32(integer(field, json)?),
            Type::Uint32 => w.u32(integer(field, json)?),
            Type::Int64 => w.i64(integer(field, json)?),
            Type::Float64 => w.f64(json.as_f64().ok_or(fault(field, "expected a number"))?),
            Type::Uuid => {
                let id: Option<Uuid> = json.as_str().and_then(|text| text.parse().ok());
                w.uuid(id.ok_or(fault(field, "expected a base64 id"))?);
            }
            Type::String => {
                let text = json.as_str().ok_or(fault(field, "expected a string"))?;
                w.string(flexible, text, field.name)?;
            }
            Type::Bytes | Type::Records => {
                let bytes = json.as_str().and_then(unbase64);
                w.bytes(flexible, &bytes.ok_or(fault(field, "expected base64"))?);
            }
            Type::Struct(index) => {
                if !json.is_object() {
                    return Err(fault(field, "expected an object"));
                }
                self.write_struct(index, json, w)?;
            }
        }
        Ok(())
    }
}

fn fault(field: &Field, what: &'static str) -> JsonError {
    JsonError { what, field: field.name }
}

fn integer<T: TryFrom<i64>>(field: &Field, json: &Value) -> Result<T, JsonError> {
    let value = json.as_i64().and_then(|value| T::try_from(value).ok());
    value.ok_or(fault(field, "expected an integer of its size"))
}

/// Bytes as byte fields show them: standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            if index <= chunk.len() {
                let digit = (group >> (18 - 6 * index)) & 63;
                text.push(char::from(DIGITS.get(digit as usize).copied().unwrap_or(b'A')));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of a byte field; padding may be left out.
pub fn unbase64(text: &str) -> Option<Bytes> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for index in 0..4 {
            let digit = match chunk.get(index) {
                Some(letter) => DIGITS.iter().position(|known| known == letter)? as u32,
                None => 0,
            };
            group = group << 6 | digit;
        }
        if chunk.len() == 1 {
            return None;
        }
        out.extend(group.to_be_bytes().iter().skip(1).take(chunk.len() - 1));
    }
    Some(out.into())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message as _, QuorumStateData};

    #[test]
    fn base64_round_trips_every_length() {
        for length in 0..9u8 {
            let bytes: Vec<u8> = (0..length).map(|index| index.wrapping_mul(97)).collect();
            assert_eq!(unbase64(&base64(&bytes)).as_deref(), Some(bytes.as_slice()));
        }
        assert_eq!(unbase64("a"), None);
        assert_eq!(unbase64("a!aa"), None);
    }

    #[test]
    fn quorum_state_has_apache_kafkas_field_names() {
        let state = QuorumStateData { leader_id: 1, leader_epoch: 7, ..Default::default() };
        let schema = Message::find("QuorumStateData").unwrap();
        let json = to_json(schema, 1, state.to_bytes(1).unwrap()).unwrap();
        assert_eq!(json["leaderEpoch"], 7);
        let bytes = from_json(schema, 1, &json).unwrap();
        assert_eq!(QuorumStateData::from_bytes(bytes, 1).unwrap(), state);
        assert!(from_json(schema, 1, &Value::Null).is_err());
    }
}
