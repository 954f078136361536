//! 128-bit ids as Apache Kafka writes them: 16 bytes big-endian on the wire, URL-safe base64
//! without padding in text.

use std::fmt;
use std::str::FromStr;

/// A topic, directory, incarnation or cluster id.
///
/// The high half orders first, as in `org.apache.kafka.common.Uuid` when compared unsigned.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// All bits zero: "no id" everywhere in the protocol.
    pub const ZERO: Self = Self(0);
    /// The topic id of `__cluster_metadata`; as a directory id, UNASSIGNED (KIP-858).
    pub const ONE: Self = Self(1);

    /// True for the "no id" value.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// True for the ids no cluster may hand out: high half zero, low half below 100 (KIP-858).
    pub fn is_reserved(self) -> bool {
        self.0 < 100
    }

    /// The 16 bytes in wire order.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the 16 bytes of the wire.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 22 digits of 6 bits cover 132 bits: the last digit carries 4 padding bits.
        let mut text = [0u8; 22];
        for (index, place) in text.iter_mut().enumerate() {
            let shift = 122 - 6 * index as i32;
            let digit = if shift >= 0 { self.0 >> shift } else { self.0 << -shift } & 63;
            *place = ALPHABET.get(digit as usize).copied().unwrap_or(b'A');
        }
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not 22 digits of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a base64 id of 22 characters")]
pub struct InvalidUuid;

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        // Java's decoder also takes the padded form.
        let text = text.strip_suffix("==").unwrap_or(text);
        if text.len() != 22 {
            return Err(InvalidUuid);
        }
        let mut value = 0u128;
        for (index, byte) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|&c| c == byte).ok_or(InvalidUuid)? as u128;
            if index < 21 {
                value = (value << 6) | digit;
            } else {
                value = (value << 2) | (digit >> 4);
            }
        }
        Ok(Self(value))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_matches_known_ids() {
        assert_eq!(Uuid::ONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for value in [0, 1, 99, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let id = Uuid(value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!("short".parse::<Uuid>(), Err(InvalidUuid));
        assert_eq!("AAAAAAAAAAAAAAAAAAAA!Q".parse::<Uuid>(), Err(InvalidUuid));
    }
}
