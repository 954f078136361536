//! `--add-scram`: `SCRAM-SHA-256=[name=alice,password=secret]` and what it becomes in the metadata
//! (RFC 5802). The password itself is written nowhere, nor is what may be a part of one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use broker::rng::Rng;
use hmac::{Hmac, KeyInit, Mac};
use messages::UserScramCredentialRecord;
use sha2::{Digest, Sha256, Sha512};

use crate::java;

/// The credential that an argument describes; `random` makes a salt if there is none.
///
/// # Errors
/// What is wrong with it.
pub fn parse(argument: &str, random: &mut Rng) -> Result<UserScramCredentialRecord, String> {
    let argument = argument.trim();
    let (mechanism, config) =
        argument.split_once('=').ok_or("Failed to find equals sign in a SCRAM argument")?;
    let mechanism = match mechanism {
        "SCRAM-SHA-256" => Mechanism::Sha256,
        "SCRAM-SHA-512" => Mechanism::Sha512,
        other => return Err(format!("The add-scram mechanism {other} is not supported.")),
    };
    let config = config.strip_prefix('[').ok_or("Expected configuration string to start with [")?;
    let config = config.strip_suffix(']').ok_or("Expected configuration string to end with ]")?;
    let mut parts = components(config)?;
    let name = parts.remove("name").ok_or("You must supply 'name' to add-scram")?;
    let salt = match parts.remove("salt") {
        None => None,
        Some(text) => {
            let salt = decode(&text);
            Some(salt.ok_or_else(|| format!("Failed to decode given salt: {text}"))?)
        }
    };
    let iterations = match parts.remove("iterations") {
        None => ITERATIONS_MIN,
        Some(text) => {
            java::number(&text).map_err(|_| format!("Failed to parse iterations count: {text}"))?
        }
    };
    let secret = match (parts.remove("password"), parts.remove("saltedpassword")) {
        (Some(password), _) => Secret::Password(password),
        (None, None) => {
            return Err("You must supply one of 'password' or 'saltedpassword' to add-scram".into());
        }
        (None, Some(_)) if salt.is_none() => {
            return Err("You must supply 'salt' with 'saltedpassword' to add-scram".into());
        }
        (None, Some(text)) => {
            let salted = decode(&text);
            // What was meant to be secret is not repeated.
            Secret::Salted(salted.ok_or("Failed to decode given saltedPassword")?)
        }
    };
    if !parts.is_empty() {
        // A password with a comma would be among them.
        return Err("Unknown SCRAM configurations besides name, password, saltedpassword, salt, \
                    and iterations"
            .into());
    }
    for (wrong, compared, limit) in [
        (iterations < ITERATIONS_MIN, ">=", ITERATIONS_MIN),
        (iterations > ITERATIONS_MAX, "<=", ITERATIONS_MAX),
    ] {
        if wrong {
            return Err(format!(
                "The 'iterations' value must be {compared} {limit} for add-scram using {}",
                mechanism.name()
            ));
        }
    }
    let salt = salt.unwrap_or_else(|| new_salt(random));
    let salted = match secret {
        Secret::Salted(salted) => salted,
        Secret::Password(password) => mechanism.salted(password.as_bytes(), &salt, iterations)?,
    };
    Ok(UserScramCredentialRecord {
        name,
        mechanism: mechanism.number(),
        stored_key: mechanism.hash(&mechanism.hmac(&salted, b"Client Key")?).into(),
        server_key: mechanism.hmac(&salted, b"Server Key")?.into(),
        salt: salt.into(),
        iterations,
        ..Default::default()
    })
}

/// A record as Java prints it.
pub fn shown(record: &UserScramCredentialRecord) -> String {
    format!(
        "UserScramCredentialRecord(name='{}', mechanism={}, salt={}, storedKey={}, serverKey={}, \
         iterations={})",
        record.name,
        record.mechanism,
        bytes(&record.salt),
        bytes(&record.stored_key),
        bytes(&record.server_key),
        record.iterations
    )
}

/// `Arrays.toString` of bytes, which have a sign there.
fn bytes(bytes: &[u8]) -> String {
    let mut text = String::from("[");
    for (index, byte) in bytes.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{}", byte.cast_signed());
    }
    text.push(']');
    text
}

fn components(config: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |component: &str| {
        let (name, value) =
            component.split_once('=').ok_or("No equals sign found in a SCRAM component")?;
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok((name.to_owned(), bare.unwrap_or(value).to_owned()))
    };
    java::split(config, ',').into_iter().map(pair).collect()
}

/// 25 digits of base 36, 129 bits, in the form Apache Kafka has them.
fn new_salt(random: &mut Rng) -> Vec<u8> {
    let digit = |value: u64| b"0123456789abcdefghijklmnopqrstuvwxyz".get(value as usize).copied();
    std::iter::repeat_with(|| digit(random.next_u64() % 36)).flatten().take(25).collect()
}

enum Secret {
    Password(String),
    Salted(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    fn number(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM_SHA_256",
            Self::Sha512 => "SCRAM_SHA_512",
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key, message),
        }
    }

    /// `Hi` of RFC 5802: PBKDF2 with one block.
    fn salted(self, password: &[u8], salt: &[u8], iterations: i32) -> Result<Vec<u8>, String> {
        let mut last = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat())?;
        let mut sum = last.clone();
        for _ in 1..iterations {
            last = self.hmac(password, &last)?;
            for (sum, byte) in sum.iter_mut().zip(&last) {
                *sum ^= byte;
            }
        }
        Ok(sum)
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
    // As Java has it, which knows no key without a byte.
    if key.is_empty() {
        return Err("The password given to add-scram is empty".into());
    }
    let mac = <M as KeyInit>::new_from_slice(key);
    let mut mac = mac.map_err(|error| format!("The password given to add-scram: {error}"))?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// Base64 with or without the padding at its end, as Java's basic decoder reads it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let expected = match digits.len() % 4 {
        0 => 0,
        2 => 2,
        3 => 1,
        _ => return None,
    };
    if padding != 0 && padding != expected {
        return None;
    }
    let mut bytes = Vec::new();
    let (mut value, mut bits) = (0u32, 0);
    for letter in digits.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        value = value << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((value >> bits) as u8);
            value &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Of both mechanisms.
const ITERATIONS_MIN: i32 = 4096;
const ITERATIONS_MAX: i32 = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Result<UserScramCredentialRecord, String> {
        parse(argument, &mut Rng::new([1, 2, 3, 4]))
    }

    #[test]
    fn keys_are_those_of_the_rfc() {
        // RFC 7677, section 3: the server of the example signs with these.
        let salted =
            Mechanism::Sha256.salted(b"pencil", &decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        let salted = salted.unwrap();
        let server_key = Mechanism::Sha256.hmac(&salted, b"Server Key").unwrap();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)\
                       hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%\
                       hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = Mechanism::Sha256.hmac(&server_key, message.as_bytes()).unwrap();
        assert_eq!(signature, decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap());
    }

    #[test]
    fn a_salt_is_made_if_none_is_given() {
        let mut random = Rng::new([1, 2, 3, 4]);
        let mut salt = || {
            let argument = "SCRAM-SHA-512=[name=a,password=b]";
            parse(argument, &mut random).unwrap().salt.to_vec()
        };
        let (first, second) = (salt(), salt());
        assert_ne!(first, second);
        assert!(first.len() == 25 && first.iter().all(u8::is_ascii_alphanumeric), "{first:?}");
    }

    #[test]
    fn quotes_and_a_comma_at_the_end_are_no_part_of_a_value() {
        let plain = read("SCRAM-SHA-256=[name=a,salt=N3E,password=b c,iterations=4096]").unwrap();
        let quoted = read(" SCRAM-SHA-256=[name=\"a\",salt=\"N3E=\",password=\"b c\",] ").unwrap();
        assert_eq!(plain, quoted);
        assert_eq!((&*plain.salt, plain.iterations), (&b"7q"[..], 4096));
        assert!(shown(&plain).starts_with(
            "UserScramCredentialRecord(name='a', mechanism=1, salt=[55, 113], storedKey=["
        ));
    }

    #[test]
    fn what_is_wrong_is_said_and_secrets_are_not() {
        for (argument, said) in [
            ("x", "equals sign"),
            ("SCRAM-SHA-1=[name=a,password=b]", "SCRAM-SHA-1 is not supported"),
            ("SCRAM-SHA-256=name=a", "start with ["),
            ("SCRAM-SHA-256=[name=a", "end with ]"),
            ("SCRAM-SHA-256=[]", "No equals sign"),
            ("SCRAM-SHA-256=[password=b]", "'name'"),
            ("SCRAM-SHA-256=[ name=a,password=b]", "'name'"),
            ("SCRAM-SHA-256=[name=a]", "one of 'password'"),
            ("SCRAM-SHA-256=[name=a,saltedpassword=YCE=]", "'salt' with"),
            ("SCRAM-SHA-256=[name=a,salt=!,password=b]", "decode given salt"),
            ("SCRAM-SHA-256=[name=a,salt=N3E==,password=b]", "decode given salt"),
            ("SCRAM-SHA-256=[name=a,salt=N3E=,saltedpassword=s!cret]", "saltedPassword"),
            ("SCRAM-SHA-256=[name=a,password=b,iterations=4095]", ">= 4096"),
            ("SCRAM-SHA-512=[name=a,password=b,iterations=16385]", "<= 16384"),
            ("SCRAM-SHA-256=[name=a,password=b,iterations=x]", "iterations count: x"),
            ("SCRAM-SHA-256=[name=a,password=s!cret,q=1]", "Unknown SCRAM configurations"),
            ("SCRAM-SHA-256=[name=a,password=x,s!cret]", "No equals sign"),
            ("SCRAM-SHA-256=[name=a,password=x,s!cret=y]", "Unknown SCRAM configurations"),
            ("s!cret", "equals sign"),
            ("SCRAM-SHA-256=[name=a,password=]", "empty"),
        ] {
            let told = read(argument).unwrap_err();
            assert!(told.contains(said), "{argument}: {told}");
            assert!(!told.contains("s!cret"), "{told}");
        }
    }
}
