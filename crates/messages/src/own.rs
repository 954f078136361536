//! Tagged fields of our own (KIP-482), with tags far from those that Apache Kafka gives out.
//! Whoever doesn't know them passes over them, so a message with one means to Apache Kafka what it
//! means without.

use wire::Bytes;

use crate::fetch_request::FetchPartition;
use crate::fetch_response::PartitionData;

/// In a partition of a Fetch request: the bytes of a key, for a consumer that has no use for
/// records without it. What can't hold it may be left out of the answer (decision 9).
const FETCH_KEY: u32 = 10_001;
/// In a partition of the response, where that came to nothing: the offset, eight bytes, below which
/// there is no record with the key from the offset asked for on.
const SEARCHED_TO: u32 = 10_002;

impl FetchPartition {
    /// Asks for records with that key alone; versions below 12 can't.
    pub fn set_key(&mut self, key: Bytes) {
        self.unknown_tags.insert(FETCH_KEY, key);
    }

    /// The only key that is asked for, if one is.
    pub fn key(&self) -> Option<&Bytes> {
        self.unknown_tags.get(FETCH_KEY)
    }
}

impl PartitionData {
    /// Tells that records below that offset were looked through; versions below 12 can't.
    pub fn set_searched_to(&mut self, offset: i64) {
        self.unknown_tags.insert(SEARCHED_TO, Bytes::copy_from_slice(&offset.to_be_bytes()));
    }

    /// The offset up to which there is nothing, if the broker looked for a key.
    pub fn searched_to(&self) -> Option<i64> {
        let bytes = self.unknown_tags.get(SEARCHED_TO)?;
        Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch_request::FetchTopic;
    use crate::fetch_response::{FetchResponse, FetchableTopicResponse};
    use crate::{FetchRequest, Message};
    use wire::Writer;

    #[test]
    fn both_fields_pass_through_every_version_that_has_tags_and_no_other() {
        let mut partition = FetchPartition::default();
        partition.set_key(Bytes::from_static(b"a\0key"));
        let topic = FetchTopic { partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { topics: vec![topic], ..Default::default() };
        let mut data = PartitionData { records: Some(Bytes::new()), ..Default::default() };
        data.set_searched_to(-5);
        let topic = FetchableTopicResponse { partitions: vec![data], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        for version in FetchRequest::VERSIONS.0..=FetchRequest::VERSIONS.1 {
            let tagged = version >= FetchRequest::FLEXIBLE_FROM;
            let mut writer = Writer::new();
            request.encode(&mut writer, version).unwrap();
            let read = FetchRequest::from_bytes(writer.finish().to_bytes(), version).unwrap();
            let key = read.topics[0].partitions[0].key().cloned();
            assert_eq!(key, tagged.then(|| Bytes::from_static(b"a\0key")), "{version}");
            let mut writer = Writer::new();
            response.encode(&mut writer, version).unwrap();
            let read = FetchResponse::from_bytes(writer.finish().to_bytes(), version).unwrap();
            let searched = read.responses[0].partitions[0].searched_to();
            assert_eq!(searched, tagged.then_some(-5), "{version}");
        }
        let mut short = PartitionData::default();
        short.unknown_tags.insert(SEARCHED_TO, Bytes::from_static(b"seven b"));
        assert_eq!(short.searched_to(), None);
    }
}
