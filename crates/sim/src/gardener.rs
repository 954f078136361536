//! A client that makes topics, configures them and removes them again, all the time.
//!
//! Promise C9: a topic whose creation was acknowledged is there, one whose removal was acknowledged
//! is not, and neither changes by itself, whatever is cut, killed or snapshotted in between. An
//! unanswered request may have done its work or not.

use std::collections::BTreeMap;

use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::delete_topics_request::DeleteTopicState;
use messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use wire::Bytes;

use crate::client::{request, response};
use crate::random::Random;

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    There,
    Gone,
    Either,
}

/// The client.
#[derive(Debug)]
pub struct Gardener {
    topics: BTreeMap<&'static str, Known>,
    /// What was asked and is not answered: the topic, and whether it is to be there.
    asked: Option<(&'static str, bool)>,
    correlation: i32,
}

impl Default for Gardener {
    fn default() -> Self {
        let topics = NAMES.into_iter().map(|name| (name, Known::Gone)).collect();
        Self { topics, asked: None, correlation: 0 }
    }
}

impl Gardener {
    /// True if no answer is waited for.
    pub fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    /// The connection is gone, and with it the answer.
    pub fn disconnected(&mut self) {
        if let Some((name, _)) = self.asked.take() {
            self.topics.insert(name, Known::Either);
        }
    }

    /// The next request.
    ///
    /// # Errors
    /// It can't be encoded.
    pub fn next(&mut self, random: &mut Random) -> Result<Bytes, String> {
        let name = random.pick(&NAMES);
        let wanted = match self.topics.get(name) {
            Some(Known::There) => random.chance(20),
            Some(Known::Gone) => random.chance(80),
            _ => random.chance(50),
        };
        self.asked = Some((name, wanted));
        self.correlation += 1;
        if wanted {
            let config = CreatableTopicConfig {
                name: "max.message.bytes".into(),
                value: Some(random.pick(&["1000", "2000000"]).into()),
                ..Default::default()
            };
            let message = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: name.into(),
                    num_partitions: 1 + random.below(3) as i32,
                    replication_factor: 1,
                    configs: vec![config],
                    ..Default::default()
                }],
                timeout_ms: 10_000,
                ..Default::default()
            };
            return request(&message, 5, self.correlation);
        }
        let message = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }],
            timeout_ms: 10_000,
            ..Default::default()
        };
        request(&message, 6, self.correlation)
    }

    /// Takes the answer.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn answered(&mut self, frame: Bytes) -> Result<(), String> {
        let Some((name, wanted)) = self.asked.take() else {
            return Err("C6: an answer to nothing".into());
        };
        let code = if wanted {
            let message: CreateTopicsResponse = response(frame, 5, self.correlation)?;
            message.topics.first().map_or(-1, |topic| topic.error_code)
        } else {
            let message: DeleteTopicsResponse = response(frame, 6, self.correlation)?;
            message.responses.first().map_or(-1, |topic| topic.error_code)
        };
        let known = self.topics.insert(name, if wanted { Known::There } else { Known::Gone });
        let known = known.unwrap_or(Known::Either);
        match (wanted, code, known) {
            (true, 0, Known::There) => Err(format!("C9: {name} was there, and was made again")),
            (false, 0, Known::Gone) => Err(format!("C9: {name} was gone, and was removed again")),
            (true, TOPIC_ALREADY_EXISTS, Known::Gone) => Err(format!("C9: {name} came back")),
            (false, UNKNOWN_TOPIC_OR_PARTITION, Known::There) => {
                Err(format!("C9: {name} was made, and is not there"))
            }
            (_, 0, _)
            | (true, TOPIC_ALREADY_EXISTS, _)
            | (false, UNKNOWN_TOPIC_OR_PARTITION, _) => Ok(()),
            _ => Err(format!("C9: {name}: error {code}")),
        }
    }

    /// Looks at what a node has after all is done.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn inspect(&self, node: &broker::Node) -> Result<(), String> {
        for (name, known) in &self.topics {
            let topic = node.image.topic(name);
            match known {
                Known::There if topic.is_none() => return Err(format!("C9: {name} is lost")),
                Known::Gone if topic.is_some() => return Err(format!("C9: {name} is back")),
                _ => {}
            }
            let Some(topic) = topic else { continue };
            let set = node.image.topic_overrides(name).len();
            if set != 1 {
                return Err(format!("C9: {name} has {set} settings, not the one it was made with"));
            }
            for index in 0..topic.partitions.len() as i32 {
                let partition = node.partition(name, index);
                if partition.is_none_or(|partition| partition.topic_id != topic.id) {
                    return Err(format!("C9: {name}-{index} is not served"));
                }
            }
        }
        Ok(())
    }
}

const NAMES: [&str; 3] = ["aster", "bellis", "crocus"];
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
