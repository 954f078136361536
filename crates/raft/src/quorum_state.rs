//! The file `quorum-state`: what a node must remember about elections, as data and as text.
//!
//! Owns: `QuorumState` and its two versions. Version 0 belongs to `kraft.version` 0 and repeats
//! the ids of the voters, version 1 also has the directory of whom was voted for. Writing the
//! file, whole and durably, is the caller's.

use messages::quorum_state_data::Voter;
use messages::{Message, QuorumStateData, json, schema};
use ottla_log::planted::{self, Bug};
use wire::Uuid;

use crate::voters::ReplicaKey;

/// What a node remembers across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuorumState {
    /// The epoch.
    pub epoch: i32,
    /// Its leader, if known.
    pub leader: Option<i32>,
    /// For whom this node voted in the epoch; kept when the leader is known.
    pub voted: Option<ReplicaKey>,
}

impl QuorumState {
    /// The beginning of an epoch.
    pub fn of_epoch(epoch: i32) -> Self {
        Self { epoch, leader: None, voted: None }
    }

    pub fn to_data(self, version: i16, voters: impl Iterator<Item = i32>) -> QuorumStateData {
        let voter = |voter_id| Voter { voter_id, ..Default::default() };
        let directory_id = self.voted.map_or(Uuid::ZERO, |key| key.directory_id);
        let mut data = QuorumStateData {
            leader_id: self.leader.unwrap_or(-1),
            leader_epoch: self.epoch,
            voted_id: self.voted.map_or(-1, |key| key.id),
            ..Default::default()
        };
        if version == 0 {
            data.current_voters = Some(voters.map(voter).collect());
        } else {
            data.voted_directory_id = directory_id;
        }
        data
    }

    pub fn from_data(data: &QuorumStateData) -> Self {
        let known = |id: i32| Some(id).filter(|id| *id >= 0);
        let voted = known(data.voted_id).map(|id| ReplicaKey::new(id, data.voted_directory_id));
        Self {
            epoch: data.leader_epoch.max(0),
            leader: known(data.leader_id),
            voted: voted.filter(|_| !planted::is(Bug::RaftVoteForgotten)),
        }
    }
}

/// A `quorum-state` that can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStateError(
    /// What is wrong, for the operator.
    pub String,
);

impl std::fmt::Display for QuorumStateError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "quorum-state: {}", self.0)
    }
}

impl std::error::Error for QuorumStateError {}

fn refused(why: &dyn std::fmt::Display) -> QuorumStateError {
    QuorumStateError(why.to_string())
}

/// The one line of JSON that the file holds.
///
/// # Errors
/// A version that can't carry the data.
pub fn to_text(data: &QuorumStateData, version: i16) -> Result<String, QuorumStateError> {
    let bytes = data.to_bytes(version).map_err(|error| refused(&error))?;
    let schema = schema()?;
    let mut value = json::to_json(schema, version, bytes).map_err(|error| refused(&error))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("data_version".to_owned(), version.into());
    }
    Ok(value.to_string())
}

/// What the file holds, and in which version.
///
/// # Errors
/// Text that is not a `quorum-state` of a known version.
pub fn from_text(text: &str) -> Result<(QuorumStateData, i16), QuorumStateError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| refused(&error))?;
    let version = value.get("data_version").and_then(serde_json::Value::as_i64);
    let version = version.ok_or_else(|| refused(&"no data_version"))?;
    let (first, last) = QuorumStateData::VERSIONS;
    if !(i64::from(first)..=i64::from(last)).contains(&version) {
        return Err(refused(&format_args!("data_version {version} is not {first} to {last}")));
    }
    let version = version as i16;
    let bytes = json::from_json(schema()?, version, &value).map_err(|error| refused(&error))?;
    let data = QuorumStateData::from_bytes(bytes, version).map_err(|error| refused(&error))?;
    Ok((data, version))
}

fn schema() -> Result<&'static schema::Message, QuorumStateError> {
    schema::Message::find(QuorumStateData::NAME).ok_or_else(|| refused(&"no schema"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_survive_their_text() {
        let voted = ReplicaKey::new(2, Uuid(77));
        let state = QuorumState { epoch: 9, leader: Some(1), voted: Some(voted) };
        for version in [0, 1] {
            let data = state.to_data(version, [1, 2, 3].into_iter());
            let text = to_text(&data, version).unwrap();
            assert_eq!(from_text(&text).unwrap(), (data.clone(), version), "{text}");
            let back = QuorumState::from_data(&data);
            assert_eq!((back.epoch, back.leader), (9, Some(1)));
            assert!(back.voted.unwrap().names(&voted));
        }
    }

    #[test]
    fn files_of_apache_kafka_are_read() {
        // As written by 4.4.0 with one and with the other `kraft.version`.
        let text = r#"{"leaderId":1,"leaderEpoch":4,"votedId":-1,
            "votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let (data, version) = from_text(text).unwrap();
        let state = QuorumState::from_data(&data);
        assert_eq!((version, state), (1, QuorumState { epoch: 4, leader: Some(1), voted: None }));
        let text = r#"{"clusterId":"","leaderId":-1,"leaderEpoch":2,"votedId":3,
            "appliedOffset":0,"currentVoters":[{"voterId":3}],"data_version":0}"#;
        let (data, version) = from_text(text).unwrap();
        let voted = Some(ReplicaKey::new(3, Uuid::ZERO));
        let state = QuorumState::from_data(&data);
        assert_eq!((version, state), (0, QuorumState { epoch: 2, leader: None, voted }));
    }

    #[test]
    fn other_text_is_refused_with_the_reason() {
        for text in ["", "{}", "[]", r#"{"data_version":2}"#, r#"{"data_version":"1"}"#] {
            assert!(from_text(text).is_err(), "{text}");
        }
        let error = from_text(r#"{"data_version":7}"#).unwrap_err();
        assert_eq!(error.to_string(), "quorum-state: data_version 7 is not 0 to 1");
    }
}
