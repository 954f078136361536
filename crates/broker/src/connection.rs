//! From a received frame to a request that the node can carry out. Pure; runs on the connection's
//! own thread, so that decoding never holds up another connection.

use messages::header::request_header_version;
use messages::{ApiKey, RequestHeader};
use wire::{Bytes, Reader};

use crate::api;
use crate::event::{Call, ConnId, Event, ListenerId};

/// Reads one frame, without its size prefix, that came in by `listener`.
///
/// # Errors
/// Why the connection must be closed, for the log: Apache Kafka, too, closes on what it can't
/// read, because after that no answer could be matched to a request.
pub fn read(
    conn: ConnId,
    listener: ListenerId,
    serial: u64,
    frame: Bytes,
) -> Result<Event, String> {
    let mut reader = Reader::new(frame);
    let mut peek = reader.clone();
    let key = peek.i16().map_err(|error| error.to_string())?;
    let version = peek.i16().map_err(|error| error.to_string())?;
    let api = ApiKey::from_i16(key).ok_or_else(|| format!("unknown API key {key}"))?;
    let Some(entry) = api::find(api) else {
        return Err(format!("API {} is not available here", api.facts().name));
    };
    let known = (entry.versions.0..=entry.versions.1).contains(&version);
    if !known && api != ApiKey::ApiVersions {
        return Err(format!("{} has no version {version}", api.facts().name));
    }
    // A newer client's ApiVersions is answered in version 0 with what is known (KIP-511); its
    // header is read as the newest one known here.
    let header_version =
        request_header_version(api, if known { version } else { entry.versions.1 });
    let header = RequestHeader::decode(&mut reader, header_version)
        .map_err(|error| format!("{} request header: {error}", api.facts().name))?;
    let call = Call {
        conn,
        serial,
        listener,
        api,
        version: if known { version } else { 0 },
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    };
    let handler = if known {
        (entry.prepare)(&mut reader, version)
            .map_err(|error| format!("{} v{version} request: {error}", api.facts().name))?
    } else {
        api::api_versions::unsupported()
    };
    Ok(Event::Requested { call, handler })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(frame: &[u8]) -> String {
        match read(ConnId(1), ListenerId(0), 0, Bytes::copy_from_slice(frame)) {
            Err(reason) => reason,
            Ok(_) => panic!("accepted {frame:?}"),
        }
    }

    #[test]
    fn hostile_frames_are_refused_with_a_reason() {
        assert!(refusal(&[]).contains("frame too short"));
        assert_eq!(refusal(&[0x7f, 0xff, 0, 0, 0, 0, 0, 0]), "unknown API key 32767");
        assert_eq!(refusal(&[0, 1, 0, 99, 0, 0, 0, 0, 0, 0]), "Fetch has no version 99");
        // Metadata v1 with 2^31 - 1 topics in an otherwise empty body.
        let hostile = [0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff];
        assert!(refusal(&hostile).contains("array longer than the frame"));
        let invalid_utf8 = [0, 3, 0, 1, 0, 0, 0, 7, 0, 1, 0xff, 0, 0, 0, 0];
        assert!(refusal(&invalid_utf8).contains("UTF-8"));
    }

    #[test]
    fn apiversions_of_the_future_is_answered_in_version_0() {
        let frame = [0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0];
        match read(ConnId(1), ListenerId(0), 0, Bytes::copy_from_slice(&frame)) {
            Ok(Event::Requested { call, .. }) => {
                assert_eq!((call.version, call.correlation_id), (0, 7));
            }
            _ => panic!("refused"),
        }
    }
}
