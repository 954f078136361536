//! The parsers of outside bytes, each with its inputs and the properties it keeps.

mod files;
mod groups;
mod messages;
mod records;

use crate::random::Random;
use crate::{Input, Target, log_files};

/// Every target; the number of cases is what the test affords.
pub const TARGETS: &[Target] = &[
    target("messages", 400_000, messages::make, messages::transcode),
    target("json", 200_000, messages::make, messages::json),
    target("metadata", 500_000, messages::make_metadata, messages::metadata_record),
    target("connection", 200_000, messages::make_frame, messages::frame),
    target("batches", 60_000, records::make_sequence, records::batches),
    target("records", 60_000, records::make, records::check),
    target("decompress", 12_000, records::make_packed, records::decompress),
    target("validate", 60_000, records::make, records::validate),
    target("files", 1_000_000, files::make, files::check),
    target("groups", 60_000, groups::make, groups::check),
    target("log_open", 40_000, log_files::make, log_files::check),
];

const fn target(
    name: &'static str,
    cases: u64,
    make: fn(&mut Random) -> Input,
    check: fn(&Input) -> Result<(), String>,
) -> Target {
    Target { name, cases, make, check }
}
