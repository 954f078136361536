//! What bytes look like once Apache Kafka's standard deserializers made objects of them and Java
//! made text of those.

use std::io::Write as _;

use crate::java;

/// A class of `org.apache.kafka.common.serialization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deserializer {
    Boolean,
    ByteArray,
    ByteBuffer,
    Bytes,
    Double,
    Float,
    Integer,
    Long,
    Short,
    String,
    Uuid,
    Void,
}

impl Deserializer {
    /// By the full name of its class.
    pub fn from_class(class: &str) -> Option<Self> {
        let name = class.strip_prefix("org.apache.kafka.common.serialization.")?;
        Some(match name.strip_suffix("Deserializer")? {
            "Boolean" => Self::Boolean,
            "ByteArray" => Self::ByteArray,
            "ByteBuffer" => Self::ByteBuffer,
            "Bytes" => Self::Bytes,
            "Double" => Self::Double,
            "Float" => Self::Float,
            "Integer" => Self::Integer,
            "Long" => Self::Long,
            "Short" => Self::Short,
            "String" => Self::String,
            "UUID" => Self::Uuid,
            "Void" => Self::Void,
            _ => return None,
        })
    }

    /// Appends what Java prints of it.
    ///
    /// # Errors
    /// The words of Apache Kafka's class about bytes that can't be its.
    pub fn show(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let wrong = |name: &str, size: usize| {
            format!("Size of data received by {name}Deserializer is not {size}")
        };
        // Nothing fails when it is written to memory.
        let _ = match self {
            // Java would print where the array is; people mean what is in it.
            Self::ByteArray => out.write_all(bytes),
            Self::String => out.write_all(java::text(bytes).as_bytes()),
            Self::Short => {
                let number = bytes.try_into().map_err(|_| wrong("Short", 2))?;
                write!(out, "{}", i16::from_be_bytes(number))
            }
            Self::Integer => {
                let number = bytes.try_into().map_err(|_| wrong("Integer", 4))?;
                write!(out, "{}", i32::from_be_bytes(number))
            }
            Self::Long => {
                let number = bytes.try_into().map_err(|_| wrong("Long", 8))?;
                write!(out, "{}", i64::from_be_bytes(number))
            }
            Self::Float => {
                let number = bytes.try_into().map_err(|_| wrong("", 4))?;
                write!(out, "{}", java::float(f32::from_be_bytes(number)))
            }
            Self::Double => {
                let number = bytes.try_into().map_err(|_| wrong("", 8))?;
                write!(out, "{}", java::double(f64::from_be_bytes(number)))
            }
            Self::Boolean => match bytes {
                [0] => out.write_all(b"false"),
                [1] => out.write_all(b"true"),
                [other] => return Err(format!("Unexpected byte received: {other}")),
                _ => return Err(wrong("Boolean", 1)),
            },
            Self::ByteBuffer => {
                let length = bytes.len();
                write!(out, "java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]")
            }
            Self::Bytes => bytes.iter().try_for_each(|byte| match byte {
                b'\\' => write!(out, "\\x5C"),
                b' '..=b'~' => out.write_all(&[*byte]),
                other => write!(out, "\\x{other:02X}"),
            }),
            Self::Uuid => {
                let text = java::text(bytes);
                let uuid = uuid(&text).ok_or("Error parsing data into UUID")?;
                write!(out, "{uuid}")
            }
            Self::Void => return Err("Data should be null for a VoidDeserializer.".into()),
        };
        Ok(())
    }
}

/// `UUID.fromString(text).toString()`: groups may be shorter than they are printed, and of those
/// that are longer the last digits count.
fn uuid(text: &str) -> Option<String> {
    let mut groups = text.split('-').map(|group| {
        let digits = !group.is_empty() && group.bytes().all(|digit| digit.is_ascii_hexdigit());
        u64::from_str_radix(group, 16).ok().filter(|_| digits)
    });
    let mut group = |mask: u64| Some(groups.next()?? & mask);
    let (time_low, time_mid, time_high) = (group(0xffff_ffff)?, group(0xffff)?, group(0xffff)?);
    let (sequence, node) = (group(0xffff)?, group(0xffff_ffff_ffff)?);
    let ended = groups.next().is_none() && text.len() <= 36;
    ended.then(|| {
        format!("{time_low:08x}-{time_mid:04x}-{time_high:04x}-{sequence:04x}-{node:012x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(name: &str, bytes: &[u8]) -> String {
        let class = format!("org.apache.kafka.common.serialization.{name}Deserializer");
        let mut out = Vec::new();
        match Deserializer::from_class(&class).unwrap().show(bytes, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => error,
        }
    }

    #[test]
    fn objects_look_like_javas() {
        assert_eq!(show("Short", &[0xff, 0xfe]), "-2");
        assert_eq!(show("Integer", b"null"), "1853189228");
        assert_eq!(show("Long", &[0, 0, 0, 0, 0, 0, 1, 0]), "256");
        assert_eq!(show("Float", b"abcd"), "2.6100788E20");
        assert_eq!(show("Double", &1.5f64.to_be_bytes()), "1.5");
        assert_eq!(show("Boolean", &[1]), "true");
        assert_eq!(show("Bytes", b"a \\\x00\xff~"), "a \\x5C\\x00\\xFF~");
        assert_eq!(show("ByteBuffer", b"abcd"), "java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]");
        assert_eq!(show("String", b"a\xff"), "a\u{fffd}");
        let uuid = "0123ABCD-0000-1111-2222-0123456789ab";
        assert_eq!(show("UUID", uuid.as_bytes()), uuid.to_lowercase());
        assert_eq!(show("UUID", b"1-2-3-4-5"), "00000001-0002-0003-0004-000000000005");
    }

    #[test]
    fn bytes_that_can_not_be_are_refused_in_apache_kafkas_words() {
        assert_eq!(show("Long", b"abcd"), "Size of data received by LongDeserializer is not 8");
        assert_eq!(show("Double", b"abcd"), "Size of data received by Deserializer is not 8");
        assert_eq!(show("Boolean", &[2]), "Unexpected byte received: 2");
        for bad in ["", "abcd", "1-2-3-4", "1-2-3-4-5-6", "1-2-3-4-+5", "1--3-4-5"] {
            assert_eq!(show("UUID", bad.as_bytes()), "Error parsing data into UUID", "{bad}");
        }
        assert_eq!(show("Void", b""), "Data should be null for a VoidDeserializer.");
        for unknown in
            ["StringDeserializer", "org.apache.kafka.common.serialization.ListDeserializer"]
        {
            assert_eq!(Deserializer::from_class(unknown), None);
        }
    }
}
