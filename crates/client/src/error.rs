//! What can go wrong, for a program to branch on and for a human to read in one line.

use std::time::Duration;

use wire::ErrorCode;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call as a whole failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster answered with an error: its code, and words where it sent some.
    #[error("{}", words(*_0, _1))]
    Broker(ErrorCode, String),
    /// No connection could be made.
    #[error("cannot reach {address} ({why})")]
    Unreachable {
        /// Whom, as `host:port`; several are separated by commas.
        address: String,
        /// In a few words.
        why: String,
    },
    /// A connection was lost with requests under way; they may or may not have been carried out.
    #[error("connection to {address} lost ({why})")]
    Disconnected {
        /// To whom, as `host:port`.
        address: String,
        /// In a few words.
        why: String,
    },
    /// Nothing came of it in time.
    #[error("timed out after {} ms: {what}", after.as_millis())]
    Timeout {
        /// What was waited for, and the last error on the way if there was one.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// A peer sent what the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The broker does not serve an API, or not in a version that can say what was asked.
    #[error("{0}")]
    Unsupported(String),
    /// A property or an argument.
    #[error("{0}")]
    Config(String),
    /// The client, producer or consumer was closed.
    #[error("{0} is closed")]
    Closed(&'static str),
}

impl Error {
    /// True if the same call may succeed later: connections, time, and codes that say so.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker(code, _) => code.is_retriable(),
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::Timeout { .. } => true,
            Self::Protocol(_) | Self::Unsupported(_) | Self::Config(_) | Self::Closed(_) => false,
        }
    }

    /// The broker's code, if it answered.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker(code, _) => Some(*code),
            _ => None,
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self::Broker(error.code, error.message)
    }
}

impl From<config::Invalid> for Error {
    fn from(invalid: config::Invalid) -> Self {
        Self::Config(invalid.to_string())
    }
}

/// What the cluster said about one item of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Never `NONE`.
    pub code: ErrorCode,
    /// The broker's words; empty if it sent none. `Display` then gives the usual ones.
    pub message: String,
}

impl ApiError {
    /// `Ok` for `NONE`, else the error with the broker's words.
    ///
    /// # Errors
    /// The code, if it is one.
    pub fn check(code: i16, message: Option<String>) -> Result<(), Self> {
        let code = ErrorCode(code);
        if code.is_none() {
            return Ok(());
        }
        Err(Self { code, message: message.unwrap_or_default() })
    }

    pub(crate) fn of(code: ErrorCode) -> Self {
        Self { code, message: String::new() }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(words(self.code, &self.message))
    }
}

impl std::error::Error for ApiError {}

/// The broker's words, or else the usual ones, or else the code's name.
fn words(code: ErrorCode, message: &str) -> &str {
    if !message.is_empty() {
        return message;
    }
    let known = Some(code.words()).filter(|words| !words.is_empty());
    known.or_else(|| code.name()).unwrap_or("error code unknown to this client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_for_a_human() {
        let refused =
            Error::Unreachable { address: "localhost:9".into(), why: "connection refused".into() };
        assert_eq!(refused.to_string(), "cannot reach localhost:9 (connection refused)");
        let told =
            Error::Broker(ErrorCode::TOPIC_ALREADY_EXISTS, "Topic 'a' already exists.".into());
        assert_eq!(told.to_string(), "Topic 'a' already exists.");
        let mute = Error::Broker(ErrorCode::NON_EMPTY_GROUP, String::new());
        assert_eq!(mute.to_string(), "The group is not empty.");
        let after = Duration::from_millis(5);
        let late = Error::Timeout { what: "metadata".into(), after };
        assert_eq!(late.to_string(), "timed out after 5 ms: metadata");
        assert!(late.is_retriable() && !told.is_retriable() && refused.is_retriable());
    }
}
