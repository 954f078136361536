//! Administration: topics, configuration, offsets, groups, the cluster.
//!
//! Each call gives a result per item where the protocol has one, in the order of the question, so
//! that a tool can print what the broker said about each. A call fails as a whole if nobody
//! answered. Calls are repeated within `default.api.timeout.ms` where the broker says that the
//! same request may succeed later; a cluster that can't be reached fails at once.
//!
//! Holds no state but the client, and does no I/O of its own.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod topics;

pub use cluster::{ClusterBroker, ClusterDescription, LogDir, LogDirReplica};
pub use configs::{
    AlterOp, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym, ResourceKind,
};
pub use groups::{CommittedOffset, GroupDescription, GroupListing, MemberDescription};
pub(crate) use groups::{commit_topics, offsets_by_name};
pub use offsets::{Isolation, ListedOffset, OffsetSpec};
pub use topics::{
    CreatedTopic, NewTopic, PartitionDescription, TopicDescription, TopicListing, TopicRef,
};

use messages::Message;
use wire::ErrorCode;

use crate::error::{ApiError, Error, Result};
use crate::net::client::How;
use crate::net::{Client, Patience, To};
use crate::request::Request;

/// One item of an answer: what was asked about, and what the broker said.
pub type Item<K, T> = (K, Result<T, ApiError>);

/// Administers a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Through that client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client it goes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn patience(&self) -> Patience {
        let options = self.client.options();
        Patience::new(options.api_timeout, options.retry_backoff)
    }

    /// The `timeout_ms` that requests carry.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.options().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Calls until the answer is not an error that says "later". `code` finds the code that
    /// speaks for a whole answer.
    async fn insist<R: Request + Clone>(
        &self,
        to: &To,
        how: How,
        shape: impl Fn(i16) -> Result<R> + Send + Sync,
        code: impl Fn(&R::Response) -> ErrorCode + Send + Sync,
    ) -> Result<R::Response> {
        let mut patience = self.patience();
        loop {
            let error = match self.client.call_how::<R, R>(to, how, &shape).await {
                Ok(response) => {
                    let code = code(&response);
                    let moved = MOVED.contains(&code) || code.refreshes_metadata();
                    if !moved {
                        return Ok(response);
                    }
                    let name = <R::Response as Message>::NAME;
                    match patience.again(name, ApiError::of(code).into()).await {
                        Ok(()) => {
                            self.look_again(to).await?;
                            continue;
                        }
                        // The answer says it better than a timeout does.
                        Err(_) => return Ok(response),
                    }
                }
                Err(error) => error,
            };
            if matches!(error, Error::Timeout { .. }) {
                return Err(error);
            }
            patience.again(R::API.facts().name, error).await?;
            self.look_again(to).await?;
        }
    }

    /// As [`Self::insist`], with the same request in every version.
    async fn repeat<R: Request + Clone>(
        &self,
        to: &To,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode + Send + Sync,
    ) -> Result<R::Response> {
        self.insist(to, How::default(), |_| Ok(request.clone()), code).await
    }

    /// Asks who is who. Fails at once if nobody can be reached.
    async fn look_again(&self, to: &To) -> Result<()> {
        if let To::Group(group) = to {
            self.client.forget_coordinator(group);
        }
        match self.client.refresh(Some(Vec::new()), false).await {
            Err(lost @ (Error::Disconnected { .. } | Error::Broker(..))) => {
                // A second time over a new connection; a third is for the caller's patience.
                self.client.refresh(Some(Vec::new()), false).await.map_err(|_| lost)
            }
            other => other,
        }
    }
}

/// Codes after which another broker, or the same a little later, has the answer.
const MOVED: [ErrorCode; 4] = [
    ErrorCode::NOT_CONTROLLER,
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
];

/// No code speaks for the whole answer.
fn none<R>(_: &R) -> ErrorCode {
    ErrorCode::NONE
}

/// `NOT_CONTROLLER` if any item says so.
fn not_controller(mut codes: impl Iterator<Item = i16>) -> ErrorCode {
    let moved = codes.any(|code| ErrorCode(code) == ErrorCode::NOT_CONTROLLER);
    if moved { ErrorCode::NOT_CONTROLLER } else { ErrorCode::NONE }
}

/// What a broker left out of its answer.
fn unanswered(what: &str) -> ApiError {
    ApiError {
        code: ErrorCode::UNKNOWN_SERVER_ERROR,
        message: format!("The answer says nothing about {what}."),
    }
}
