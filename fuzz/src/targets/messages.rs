//! Messages in every version, typed and as JSON; metadata records; whole request frames.

use broker::{ConnId, ListenerId, api, connection};
use messages::header::request_header_version;
use messages::schema::{ALL, Message};
use messages::{Message as _, RequestHeader};
use metadata::Record;
use wire::{Bytes, BytesMut, Writer};

use crate::memory::{bounded, decoder_limit};
use crate::mutate::mutate;
use crate::random::Random;
use crate::{Input, corpus};

/// Any message.
pub fn make(random: &mut Random) -> Input {
    let (choice, version) = corpus::any_message(random);
    let mut bytes = corpus::encoded(random, ALL[choice], version).to_vec();
    let partner = corpus::encoded(random, ALL[choice], version);
    mutate(random, &mut bytes, &partner);
    Input { choice, version, flags: 0, bytes: bytes.into() }
}

/// Decodes and encodes; what comes out decodes again and encodes to itself.
pub fn transcode(input: &Input) -> Result<(), String> {
    let name = ALL[input.choice].name;
    let again = |bytes| messages::transcode(name, input.version, bytes);
    let limit = decoder_limit(input.bytes.len());
    let first = match bounded("transcode", limit, || again(input.bytes.clone()))? {
        Ok(first) => first,
        Err(messages::TranscodeError::Decode(_)) => return Ok(()),
        Err(error) => return Err(format!("{name}: decoded, then {error:?}")),
    };
    match again(first.clone()) {
        Ok(second) if second == first => Ok(()),
        Ok(_) => Err(format!("{name}: encoded anew in other bytes")),
        Err(error) => Err(format!("{name}: does not read what it wrote: {error:?}")),
    }
}

/// Reads as JSON whatever the typed codec reads.
pub fn json(input: &Input) -> Result<(), String> {
    let message: &Message = ALL[input.choice];
    let bytes = input.bytes.clone();
    // Each object is a tree node of several hundred bytes and an array element may be one byte
    // on the wire. Only tools and `quorum-state` take this way, so more is allowed.
    let limit = 2_048 * bytes.len() + (1 << 20);
    let typed = messages::transcode(message.name, input.version, bytes.clone());
    let read =
        bounded("to_json", limit, || messages::json::to_json(message, input.version, bytes))?;
    match (typed, read) {
        (Ok(_), Err(error)) => Err(format!("{}: typed reads it, JSON: {error}", message.name)),
        _ => Ok(()),
    }
}

/// A record of the metadata log in its frame.
pub fn make_metadata(random: &mut Random) -> Input {
    let mut framed = || {
        let (choice, version) = corpus::any_metadata(random);
        let mut writer = Writer::new();
        writer.uvarint(1);
        writer.uvarint(ALL[choice].key.unwrap_or(0) as u32);
        writer.uvarint(version as u32);
        writer.raw(&corpus::encoded(random, ALL[choice], version));
        writer.finish().to_bytes()
    };
    let (bytes, partner) = (framed(), framed());
    let mut bytes = bytes.to_vec();
    mutate(random, &mut bytes, &partner);
    Input { bytes: bytes.into(), ..Input::default() }
}

/// Reads and writes a metadata record. One of another version than is written today is only read:
/// its unknown tags may be known, and malformed, in the written version.
pub fn metadata_record(input: &Input) -> Result<(), String> {
    let limit = decoder_limit(input.bytes.len());
    let read = bounded("from_value", limit, || Record::from_value(input.bytes.clone()))?;
    let Some(written) = read.ok().and_then(|record| record.to_value(33).ok()) else {
        return Ok(());
    };
    if input.bytes.get(..3) != written.get(..3) {
        return Ok(());
    }
    let again = Record::from_value(written.clone()).map_err(|error| error.to_string())?;
    match again.to_value(33) {
        Ok(bytes) if bytes == written => Ok(()),
        other => Err(format!("record written anew in other bytes: {other:?}")),
    }
}

/// Header and body of a request that is served.
pub fn make_frame(random: &mut Random) -> Input {
    let api = &api::APIS[random.below(api::APIS.len())];
    let (first, last) = api.versions;
    let version = first + random.below((last - first) as usize + 1) as i16;
    let header = RequestHeader {
        request_api_key: api.key as i16,
        request_api_version: version,
        correlation_id: random.number() as i32,
        client_id: random.chance(80).then(|| "client".into()),
        ..RequestHeader::default()
    };
    let header = header.to_bytes(request_header_version(api.key, version)).unwrap_or_default();
    let name = format!("{}Request", api.key.facts().name);
    let mut body = || match Message::find(&name) {
        Some(message) => corpus::encoded(random, message, version),
        None => Bytes::new(),
    };
    let (body, partner) = (body(), body());
    let mut frame = BytesMut::from(&header[..]);
    frame.extend_from_slice(&body);
    let mut bytes = frame.to_vec();
    mutate(random, &mut bytes, &partner);
    Input { bytes: bytes.into(), ..Input::default() }
}

/// Reads a frame as the connection does.
pub fn frame(input: &Input) -> Result<(), String> {
    let limit = decoder_limit(input.bytes.len());
    let read = || connection::read(ConnId(1), ListenerId(0), 0, input.bytes.clone()).is_ok();
    bounded("connection::read", limit, read).map(|_| ())
}
