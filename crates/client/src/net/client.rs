//! The client: a connection per broker and lane, the metadata, and calls that find their broker.
//!
//! A *lane* keeps requests that a broker may hold back (fetches, joining a group) from delaying
//! others: brokers answer a connection's requests in order. Administration uses lane 0, looking
//! keys up lane 1, each producer and consumer takes lanes of its own.
//!
//! Invariants:
//! - I1: at most one connection a broker and lane; whoever needs it while it is being made waits.
//! - I2: no lock of the standard library is held across an await.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use messages::metadata_request::MetadataRequestTopic;
use messages::{ApiKey, FindCoordinatorRequest, MetadataRequest};
use wire::ErrorCode;

use super::connection::Connection;
use super::pause;
use crate::error::{ApiError, Error, Result};
use crate::metadata::{Metadata, Topic};
use crate::options::Options;
use crate::request::Request;

/// The lane in which keys are looked up.
pub(crate) const LOOK_UP_LANE: u32 = 1;

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Whoever answers.
    Any,
    /// A broker.
    Broker(i32),
    /// Whom metadata calls the controller: a broker that passes on what changes the cluster.
    Controller,
    /// The coordinator of a group.
    Group(String),
}

/// A cluster, connected to. Cheap to clone; clones share connections and metadata.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    metadata: Mutex<Known>,
    slots: Mutex<BTreeMap<(Place, u32), Arc<Slot>>>,
    coordinators: Mutex<BTreeMap<String, i32>>,
    lanes: AtomicU32,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Metadata,
    refreshed: BTreeMap<String, Instant>,
    refreshed_all: Option<Instant>,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Broker(i32),
    Bootstrap(String),
}

/// A connection, or the room for one.
#[derive(Debug, Default)]
struct Slot {
    state: tokio::sync::Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Who is tried first when anybody will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Live,
    New,
    /// Its connection was lost, or could not be made.
    Failed,
    /// The same, a moment ago.
    Resting,
    /// Somebody waits for its connection already.
    Connecting,
}

/// How a call is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    pub lane: u32,
    /// A fixed version.
    pub version: Option<i16>,
    /// No version above this one.
    pub version_max: Option<i16>,
    /// Another patience than `request.timeout.ms`.
    pub patience: Option<Duration>,
}

impl Client {
    /// Connects to the first bootstrap server that answers and learns the cluster's brokers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] as soon as every server was tried once.
    pub async fn connect(options: Options) -> Result<Self> {
        let client = Self::unconnected(options);
        client.refresh(Some(Vec::new()), false).await?;
        Ok(client)
    }

    /// A client that connects once somebody asks something of the cluster.
    pub fn unconnected(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            metadata: Mutex::default(),
            slots: Mutex::default(),
            coordinators: Mutex::default(),
            lanes: AtomicU32::new(LOOK_UP_LANE + 1),
        }))
    }

    /// What the client was made with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Sends a request once and waits for the answer, in the highest version both sides know.
    ///
    /// A code within the answer is the caller's to look at; so are attempts after an error that
    /// [is retriable](Error::is_retriable). Safe to cancel; the request may have been carried out.
    ///
    /// # Errors
    /// No connection, no answer in time, no common version.
    pub async fn call<R: Request>(&self, to: To, request: R) -> Result<R::Response> {
        self.call_how::<R, _>(&to, How::default(), |_| Ok(&request)).await
    }

    /// The same in a version of the caller's choice.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_version<R: Request>(
        &self,
        to: To,
        request: R,
        version: i16,
    ) -> Result<R::Response> {
        let how = How { version: Some(version), ..How::default() };
        self.call_how::<R, _>(&to, how, |_| Ok(&request)).await
    }

    /// The same for a request whose shape depends on the version.
    ///
    /// # Errors
    /// As [`Self::call`], and what `shape` returns.
    pub async fn call_shaped<R: Request>(
        &self,
        to: To,
        shape: impl FnOnce(i16) -> Result<R> + Send,
    ) -> Result<R::Response> {
        self.call_how::<R, R>(&to, How::default(), shape).await
    }

    pub(crate) async fn call_how<R: Request, B: std::borrow::Borrow<R> + Send>(
        &self,
        to: &To,
        how: How,
        shape: impl FnOnce(i16) -> Result<B> + Send,
    ) -> Result<R::Response> {
        let connection = self.connection(to, how.lane).await?;
        let version = match how.version {
            Some(version) => version,
            None => connection.version(R::API)?.min(how.version_max.unwrap_or(i16::MAX)),
        };
        let request = shape(version)?;
        let patience = how.patience.unwrap_or(self.0.options.request_timeout);
        let answer = connection.begin(request.borrow(), version)?;
        answer.response::<R>(version, patience).await
    }

    /// First and last version of every API that a broker serves, by key.
    ///
    /// # Errors
    /// No connection.
    pub async fn api_versions(&self, broker: i32) -> Result<BTreeMap<i16, (i16, i16)>> {
        Ok(self.connection(&To::Broker(broker), 0).await?.versions().clone())
    }

    /// True if `to` serves an API in a version this client knows.
    ///
    /// # Errors
    /// No connection.
    pub async fn supports(&self, to: To, api: ApiKey) -> Result<bool> {
        Ok(self.connection(&to, 0).await?.version(api).is_ok())
    }

    /// Lanes of connections of the caller's own, and with them the duty to
    /// [give them back](Self::close_lane).
    pub(crate) fn take_lane(&self) -> u32 {
        self.0.lanes.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes the connections of a lane.
    pub(crate) fn close_lane(&self, lane: u32) {
        lock(&self.0.slots).retain(|(_, of), _| *of != lane);
    }

    /// A live connection to `to`.
    ///
    /// # Errors
    /// Nobody can be reached, or there is no such broker.
    pub(crate) async fn connection(&self, to: &To, lane: u32) -> Result<Connection> {
        match to {
            To::Broker(id) => self.to_place(&Place::Broker(*id), lane).await,
            To::Any => self.to_anyone(lane).await,
            To::Controller => {
                let controller = lock(&self.0.metadata).metadata.controller;
                match controller {
                    Some(id) => self.to_place(&Place::Broker(id), lane).await,
                    None => self.to_anyone(lane).await,
                }
            }
            To::Group(group) => {
                let id = self.coordinator(group).await?;
                self.to_place(&Place::Broker(id), lane).await
            }
        }
    }

    /// Whoever is connected already, then the brokers, then the bootstrap servers; among those
    /// first who did not fail lately. Nobody waits for one that is slow while another may answer.
    async fn to_anyone(&self, lane: u32) -> Result<Connection> {
        let mut places: Vec<Place> = {
            let known = lock(&self.0.metadata);
            known.metadata.brokers.keys().map(|id| Place::Broker(*id)).collect()
        };
        places.extend(self.0.options.bootstrap.iter().cloned().map(Place::Bootstrap));
        // Stable: brokers stay before bootstrap servers.
        places.sort_by_cached_key(|place| self.rank(place, lane));
        let mut failed: Vec<(String, String)> = Vec::new();
        let mut other = None;
        for place in places {
            match self.to_place(&place, lane).await {
                Ok(connection) => return Ok(connection),
                Err(Error::Unreachable { address, why }) => {
                    if !failed.iter().any(|(known, _)| *known == address) {
                        failed.push((address, why));
                    }
                }
                Err(error) => other = Some(error),
            }
        }
        match (other, failed.pop()) {
            (Some(error), _) => Err(error),
            (None, Some((last, why))) => {
                let address = failed.iter().map(|(address, _)| address.clone()).chain([last]);
                let address = address.collect::<Vec<_>>().join(", ");
                Err(Error::Unreachable { address, why })
            }
            (None, None) => {
                Err(Error::Config("No bootstrap urls given in bootstrap.servers".into()))
            }
        }
    }

    fn rank(&self, place: &Place, lane: u32) -> Rank {
        let slot = lock(&self.0.slots).get(&(place.clone(), lane)).cloned();
        let Some(slot) = slot else { return Rank::New };
        let Ok(state) = slot.state.try_lock() else { return Rank::Connecting };
        match (&state.connection, state.not_before) {
            (Some(open), _) if !open.is_dead() => Rank::Live,
            (_, Some(until)) if until > Instant::now() => Rank::Resting,
            (None, None) if state.failures == 0 => Rank::New,
            _ => Rank::Failed,
        }
    }

    /// Invariant I1: the slot's lock is held while the connection is made.
    async fn to_place(&self, place: &Place, lane: u32) -> Result<Connection> {
        let slot = lock(&self.0.slots).entry((place.clone(), lane)).or_default().clone();
        let mut state = slot.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|open| !open.is_dead()) {
            // A broker may have come back under another address.
            if self.address(place).is_none_or(|address| address == connection.address()) {
                return Ok(connection.clone());
            }
        }
        state.connection = None;
        let Some(address) = self.address(place) else {
            let Place::Broker(id) = place else { return Err(Error::Closed("client")) };
            return Err(Error::Broker(
                ErrorCode::BROKER_NOT_AVAILABLE,
                format!("Broker {id} is not known to the cluster."),
            ));
        };
        if let Some(not_before) = state.not_before.take() {
            pause(not_before.saturating_duration_since(Instant::now())).await;
        }
        let options = &self.0.options;
        let opened = Connection::open(
            &address,
            &options.client_id,
            options.connect_timeout,
            options.request_timeout,
            options.response_bytes_max,
        );
        match opened.await {
            Ok(connection) => {
                *state = SlotState { connection: Some(connection.clone()), ..Default::default() };
                Ok(connection)
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let pause = options.reconnect_backoff.after(state.failures);
                state.not_before = Instant::now().checked_add(pause);
                Err(error)
            }
        }
    }

    fn address(&self, place: &Place) -> Option<String> {
        match place {
            Place::Bootstrap(address) => Some(address.clone()),
            Place::Broker(id) => {
                let known = lock(&self.0.metadata);
                known.metadata.brokers.get(id).map(|broker| broker.address())
            }
        }
    }

    /// The broker that coordinates a group.
    ///
    /// # Errors
    /// Nobody can be reached, or nobody coordinates it now.
    pub async fn coordinator(&self, group: &str) -> Result<i32> {
        if let Some(id) = lock(&self.0.coordinators).get(group) {
            return Ok(*id);
        }
        let connection = self.to_anyone(0).await?;
        let version = connection.version(ApiKey::FindCoordinator)?;
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![group.to_owned()];
        } else {
            request.key = group.to_owned();
        }
        let answer = connection.begin(&request, version)?;
        let patience = self.0.options.request_timeout;
        let response = answer.response::<FindCoordinatorRequest>(version, patience).await?;
        let found = lock(&self.0.metadata).metadata.coordinator(response);
        let id =
            found.map_err(|(code, message)| Error::Broker(code, message.unwrap_or_default()))?;
        lock(&self.0.coordinators).insert(group.to_owned(), id);
        Ok(id)
    }

    /// Forgets who coordinates a group, so that the next call asks again.
    pub fn forget_coordinator(&self, group: &str) {
        lock(&self.0.coordinators).remove(group);
    }

    /// Asks for metadata: of no topic, of some, or (`None`) of all.
    ///
    /// # Errors
    /// Nobody can be reached, or the answer is an error as a whole.
    pub async fn refresh(&self, topics: Option<Vec<String>>, may_create: bool) -> Result<()> {
        let all = topics.is_none();
        let named = topics.clone();
        let shape = |version: i16| {
            let topics = topics.map(|names| {
                let named = |name| MetadataRequestTopic { name: Some(name), ..Default::default() };
                names.into_iter().map(named).collect::<Vec<_>>()
            });
            Ok(MetadataRequest {
                // Version 0 has an empty list for "all", and none for "none".
                topics: if version == 0 { Some(topics.unwrap_or_default()) } else { topics },
                allow_auto_topic_creation: may_create || version < 4,
                ..Default::default()
            })
        };
        let response = self.call_how::<MetadataRequest, _>(&To::Any, How::default(), shape).await?;
        ApiError::check(response.error_code, None)?;
        if response.brokers.is_empty() {
            let why = "it names no brokers yet".to_owned();
            return Err(Error::Unreachable { address: "the cluster".into(), why });
        }
        let now = Instant::now();
        let mut known = lock(&self.0.metadata);
        known.metadata.update(response, all);
        match named {
            None => {
                known.refreshed_all = Some(now);
                known.refreshed.clear();
            }
            Some(names) => known.refreshed.extend(names.into_iter().map(|name| (name, now))),
        }
        Ok(())
    }

    /// A look at what is known now; nothing is asked.
    pub fn metadata<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        look(&lock(&self.0.metadata).metadata)
    }

    pub(crate) fn metadata_mut<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        change(&mut lock(&self.0.metadata).metadata)
    }

    /// A topic as known, asked for if it is not known or `metadata.max.age.ms` old.
    ///
    /// # Errors
    /// The broker's code, or nobody can be reached.
    pub async fn topic(&self, name: &str, may_create: bool) -> Result<Arc<Topic>> {
        if let Some(topic) = self.fresh(name) {
            return Ok(topic);
        }
        self.refresh(Some(vec![name.to_owned()]), may_create).await?;
        let known = lock(&self.0.metadata);
        match (known.metadata.topic(name), known.metadata.error(name)) {
            (Some(topic), _) => Ok(topic.clone()),
            (None, code) => {
                let code = code.unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                Err(ApiError::of(code).into())
            }
        }
    }

    /// The topic, unless what is known of it is too old.
    pub(crate) fn fresh(&self, name: &str) -> Option<Arc<Topic>> {
        let known = lock(&self.0.metadata);
        let refreshed = known.refreshed.get(name).max(known.refreshed_all.as_ref())?;
        let age = refreshed.elapsed();
        let topic = known.metadata.topic(name)?;
        (age < self.0.options.metadata_max_age).then(|| topic.clone())
    }

    /// The partitions of a topic, with leaders and epochs.
    ///
    /// # Errors
    /// As [`Self::topic`]; the topic is not created.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<crate::metadata::Partition>> {
        Ok(self.topic(topic, false).await?.partitions.clone())
    }

    /// Closes every connection; requests under way fail.
    pub fn close(&self) {
        lock(&self.0.slots).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; and if it did, the data is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
