//! The records of `__consumer_offsets`, as another coordinator or a damaged disk may have left
//! them: read, replayed, brought to life, ticked and asked.
//!
//! Invariant G1: whatever the records say, the groups that come of them keep their own invariants
//! (`Groups::check`), and everybody who asks is answered.

use coordinator::group::{Groups, Turn};
use coordinator::record::Record;
use coordinator::{Caller, GroupConfig, IdSource, Now, Request};
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_fetch_request::OffsetFetchRequestGroup;
use messages::schema::Message;
use messages::{
    GroupMetadataKey, HeartbeatRequest, JoinGroupRequest, ListGroupsRequest, OffsetCommitKey,
    OffsetCommitRequest, join_group_request::JoinGroupRequestProtocol,
};
use wire::{Bytes, Reader, Uuid, Writer};

use crate::memory::{bounded, decoder_limit};
use crate::mutate::mutate;
use crate::random::Random;
use crate::{Input, corpus};

/// Records, each as the lengths and bytes of its key and value and the producer it belongs to.
pub fn make(random: &mut Random) -> Input {
    let mut writer = Writer::new();
    for _ in 0..1 + random.below(12) {
        let (key, value) = record(random);
        writer.i32(key.len() as i32);
        writer.raw(&key);
        writer.i32(value.as_ref().map_or(-1, |value| value.len() as i32));
        writer.raw(&value.unwrap_or_default());
        // Most belong to no transaction; 3 and 4 end those of 1 and 2.
        writer.i8(random.pick(&[0, 0, 0, 0, 1, 2, 3, 4]));
    }
    Input { flags: random.bits(), bytes: writer.finish().to_bytes(), ..Input::default() }
}

fn record(random: &mut Random) -> (Vec<u8>, Option<Vec<u8>>) {
    // Few names, so that records are about the same groups.
    let group = random.pick(&["a", "b", ""]).to_owned();
    let topic = random.pick(&["t", "u"]).to_owned();
    let mut writer = Writer::new();
    let named = match random.below(10) {
        0..=4 => {
            writer.i16(random.pick(&[0, 1, 1]));
            let key = OffsetCommitKey { group, topic, partition: random.below(3) as i32 };
            let _ = key.encode(&mut writer, 0);
            "OffsetCommitValue"
        }
        5..=8 => {
            writer.i16(2);
            let _ = GroupMetadataKey { group }.encode(&mut writer, 0);
            "GroupMetadataValue"
        }
        _ => {
            writer.i16(random.pick(&[3, 5, 11, 17, 99]));
            let _ = GroupMetadataKey { group }.encode(&mut writer, 0);
            "ConsumerGroupMetadataValue"
        }
    };
    let mut key = writer.finish().to_bytes().to_vec();
    let Some(message) = Message::find(named) else { return (key, None) };
    let mut value = || {
        let (first, last) = (message.versions.first, message.versions.last);
        let version = first + random.below((last - first) as usize + 1) as i16;
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend_from_slice(&corpus::encoded(random, message, version));
        bytes
    };
    let (mut bytes, partner) = (value(), value());
    if random.chance(30) {
        mutate(random, &mut bytes, &partner);
    }
    if random.chance(5) {
        mutate(random, &mut key, &partner);
    }
    (key, random.chance(85).then_some(bytes))
}

struct Ids(u128);

impl IdSource for Ids {
    fn next_id(&mut self) -> Uuid {
        self.0 += 1;
        Uuid(self.0)
    }
}

/// G1, and that a record is written as it was read.
pub fn check(input: &Input) -> Result<(), String> {
    let mut reader = Reader::new(input.bytes.clone());
    let mut groups = Groups::new(GroupConfig::default());
    let limit = decoder_limit(input.bytes.len());
    while let Ok((key, value, producer)) = next(&mut reader) {
        let read = bounded("Record::decode", limit, || Record::decode(Some(key), value))?;
        let Ok(Some(record)) = read else { continue };
        if let Ok(first) = record.encode() {
            // In a version of ours, which may lack what was read; then always the same.
            let (key, value) = first.clone();
            match Record::decode(Some(key), value) {
                Ok(Some(again)) if again.encode() == Ok(first) => {}
                other => return Err(format!("{record:?} was written as {other:?}")),
            }
        }
        match producer {
            0 => groups.replay(&record, None),
            1 | 2 => groups.replay(&record, Some(producer.into())),
            ended => groups.end_transaction(i64::from(ended) - 2, ended == 3),
        }
    }
    let mut ids = Ids(0);
    let mut now = Now { wall_ms: 1_700_000_000_000, steady_ms: 0 };
    let mut turn = |groups: &mut Groups, now, act: &mut dyn FnMut(&mut Groups, &mut Turn<'_>)| {
        let mut turn = Turn::new(now, &mut ids, 1 << 20);
        act(groups, &mut turn);
        groups.check();
        turn.answers.into_iter().map(|(token, ..)| token).collect::<Vec<u64>>()
    };
    turn(&mut groups, now, &mut Groups::start);
    let mut token = 0;
    let mut answered = Vec::new();
    for step in [1, 10_000, 40_000, 700_000, 2_000_000_000] {
        answered.extend(turn(&mut groups, now, &mut Groups::tick));
        for request in requests(input.flags, &groups) {
            token += 1;
            let caller = Caller {
                token,
                // Before version 4 who joins is a member at once.
                version: 3,
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
            };
            answered.extend(turn(&mut groups, now, &mut |groups, turn| {
                groups.request(caller.clone(), request.clone(), turn);
            }));
        }
        now.steady_ms += step;
        now.wall_ms += step;
    }
    answered.extend(turn(&mut groups, now, &mut Groups::tick));
    answered.extend(turn(&mut groups, now, &mut |groups, turn| {
        groups.stop(wire::ErrorCode::NOT_COORDINATOR, turn);
    }));
    answered.sort_unstable();
    match answered.iter().copied().eq(1..=token) {
        true => Ok(()),
        false => Err(format!("{token} asked, answered: {answered:?}")),
    }
}

fn next(reader: &mut Reader) -> Result<(Bytes, Option<Bytes>, i8), wire::DecodeError> {
    let bytes = |reader: &mut Reader| {
        let length = reader.i32()?;
        match usize::try_from(length) {
            Ok(length) => reader.take(length).map(Some),
            Err(_) => Ok(None),
        }
    };
    let key = bytes(reader)?.unwrap_or_default();
    Ok((key, bytes(reader)?, reader.i8()?))
}

fn requests(flags: u64, groups: &Groups) -> Vec<Request> {
    let ids: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
    let mut all = vec![
        Request::Describe(ids.clone()),
        Request::List(ListGroupsRequest::default()),
        Request::Join(JoinGroupRequest {
            group_id: "a".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
    ];
    all.push(Request::Fetch(
        ids.iter()
            .map(|id| OffsetFetchRequestGroup { group_id: id.clone(), ..Default::default() })
            .collect(),
        flags & 2 == 2,
    ));
    // A member that the records speak of.
    for (id, group) in groups.live().iter().filter(|(id, _)| ids.contains(id)) {
        if let Some(member) = group.members.keys().next() {
            all.push(Request::Heartbeat(HeartbeatRequest {
                group_id: id.clone(),
                generation_id: group.generation,
                member_id: member.clone(),
                ..Default::default()
            }));
        }
    }
    if flags & 4 == 4 {
        let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        all.push(Request::Commit(OffsetCommitRequest {
            group_id: "b".into(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        }));
    }
    if flags & 1 == 1 {
        all.push(Request::Delete(ids));
    }
    all
}
