//! A node on a disk in memory: bytes in, bytes out, the time at hand.

use std::collections::VecDeque;
use std::path::PathBuf;

use broker::startup::{self, Options};
use broker::{Cleaned, ConnId, Effect, Event, Lane, Listener, ListenerId, Node, Now, Scrubbed};
use messages::create_topics_request::CreatableTopic;
use messages::header::{request_header_version, response_header_version};
use messages::*;
use ottla_log::disk::mem::MemDisk;
use ottla_log::disk::{Completion, Disk};
use ottla_log::{CleanStep, ScrubStep};
use wire::{Bytes, Reader, Writer};

/// A node, its disk, its clock.
pub struct Rig {
    pub disk: MemDisk,
    pub node: Node,
    pub serial: u64,
    pub now: Now,
    /// Loads wait until they are asked for.
    pub loads: VecDeque<Event>,
    /// What the operator was told of records kept for groups.
    pub said: Vec<String>,
    /// A lane whose operations do not end, and those that would have.
    pub stuck: Option<Lane>,
    pub late: Vec<Event>,
}

fn open(disk: &MemDisk) -> Node {
    let listener = Listener::plaintext("localhost", 9092);
    let options = Options::alone(PathBuf::from("/data"), 1, listener, [1, 2, 3, 4]);
    let now = Now { wall_ms: 1_800_000_000_000, steady_ms: 0 };
    startup::open(disk, &options, now).expect("a node").0
}

impl Rig {
    /// A node on what is there.
    pub fn on(disk: MemDisk) -> Self {
        let node = open(&disk);
        let now = Now { wall_ms: 1_800_000_000_000, steady_ms: 0 };
        let mut rig = Self {
            disk,
            node,
            serial: 0,
            now,
            loads: VecDeque::new(),
            said: Vec::new(),
            stuck: None,
            late: Vec::new(),
        };
        rig.step(Event::Connected(ConnId(1), "/10.0.0.9".into()));
        rig
    }

    /// A node with the topic `t` of three partitions.
    pub fn new() -> Self {
        let mut rig = Self::on(MemDisk::new());
        let topic = CreatableTopic {
            name: "t".into(),
            num_partitions: 3,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer: CreateTopicsResponse = rig.ask(7, &request);
        assert_eq!(answer.topics[0].error_code, 0);
        rig
    }

    /// Another process on the same disk.
    pub fn restart(&mut self) {
        self.node = open(&self.disk);
        self.step(Event::Ticked);
    }

    /// Steps, and carries out what is ordered; gives the answers' frames.
    pub fn step(&mut self, event: Event) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.node.step(self.now, event, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Disk(lane, submission) => {
                        let result = self.disk.execute(&submission.op);
                        let completion = Completion { token: submission.token, result };
                        let event = Event::Completed(lane, vec![completion]);
                        if self.stuck == Some(lane) {
                            self.late.push(event);
                        } else {
                            events.push_back(event);
                        }
                    }
                    Effect::Load(lane, load, plan) => {
                        let read = plan.execute(&self.disk, true).map_err(|e| e.to_string());
                        self.loads.push_back(Event::Loaded(lane, load, read));
                    }
                    Effect::Clean(lane, order) => {
                        let mut job = order.plan.start(order.budget);
                        let news = loop {
                            match job.step(&self.disk, &mut |_| true) {
                                Ok(CleanStep::Mapped) => {}
                                Ok(CleanStep::Group(group)) => {
                                    let news = Cleaned::Group(group);
                                    events.push_back(Event::Cleaned(lane, news));
                                }
                                Ok(CleanStep::Done(done)) => break Ok(done),
                                Err(error) => break Err(error),
                            }
                        };
                        events.push_back(Event::Cleaned(lane, Cleaned::Ended(news)));
                    }
                    Effect::Scrub(lane, order) => {
                        let mut job = order.plan.start();
                        let mut tell = |news| events.push_back(Event::Scrubbed(lane, news));
                        let end = loop {
                            match job.step(&self.disk) {
                                Ok(ScrubStep::Checked(bytes)) => tell(Scrubbed::Checked(bytes)),
                                Ok(ScrubStep::Found(_, file, damage)) => {
                                    tell(Scrubbed::Found(file, damage));
                                }
                                Ok(ScrubStep::Done(stats)) => break Ok(stats),
                                Err(error) => break Err(error),
                            }
                        };
                        tell(Scrubbed::Ended(Some(end)));
                    }
                    Effect::BuildKeyFilter(lane, order) => {
                        let built = Box::new(order.plan.build(&self.disk, &mut |_| true));
                        events.push_back(Event::KeyFilterBuilt(lane, built));
                    }
                    Effect::Reply(reply) => {
                        let mut reply = reply;
                        reply.find(&self.disk).expect("a disk that waits");
                        events.push_back(Event::Damaged(reply.take_damage()));
                        let outline = reply.outline().expect("a field the version lacks");
                        let frame =
                            outline.map(|outline| outline.read(&self.disk).expect("a file"));
                        frames.extend(frame.map(|frame| frame.to_bytes()));
                    }
                    Effect::Info(text) if text.starts_with("scrub: ") => {}
                    Effect::Info(text) => self.said.push(text),
                    Effect::Error(text) => self.said.push(format!("ERROR {text}")),
                    Effect::Warn(text) if text.contains("retention.consumer.groups") => {
                        self.said.push(format!("WARN {text}"));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        frames
    }

    /// Carries out the loads that wait.
    pub fn load(&mut self) {
        while let Some(event) = self.loads.pop_front() {
            self.step(event);
        }
    }

    /// Lets the stuck operations end.
    pub fn unstick(&mut self) {
        self.stuck = None;
        for event in std::mem::take(&mut self.late) {
            self.step(event);
        }
    }

    pub fn ask<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> A {
        let mut frames = self.send(version, request);
        assert_eq!(frames.len(), 1, "{} v{version}", Q::NAME);
        let api = ApiKey::from_i16(Q::KEY).expect("an API");
        let mut reader = Reader::new(frames.remove(0));
        reader.i32().expect("a size");
        let header_version = response_header_version(api, version);
        ResponseHeader::decode(&mut reader, header_version).expect("a header");
        let answer = A::decode(&mut reader, version).expect("an answer");
        reader.finish().expect("nothing behind it");
        answer
    }

    /// Sends a request; gives what is answered at once.
    pub fn send<Q: Message>(&mut self, version: i16, request: &Q) -> Vec<Bytes> {
        let api = ApiKey::from_i16(Q::KEY).expect("an API");
        let mut writer = Writer::new();
        let header = RequestHeader {
            request_api_key: Q::KEY,
            request_api_version: version,
            correlation_id: 5,
            client_id: Some("me".into()),
            ..Default::default()
        };
        header.encode(&mut writer, request_header_version(api, version)).expect("a header");
        request.encode(&mut writer, version).expect("a request");
        let frame = writer.finish().to_bytes();
        let event = broker::connection::read(ConnId(1), ListenerId(0), self.serial, frame)
            .expect("readable");
        self.serial += 1;
        self.step(event)
    }
}
