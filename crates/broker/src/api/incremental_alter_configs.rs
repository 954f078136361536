//! IncrementalAlterConfigs: single keys set, deleted, appended to (KIP-339).
//!
//! Levels of loggers are this broker's own and change at once; everything else is metadata.

use std::collections::BTreeMap;

use messages::IncrementalAlterConfigsRequest;
use messages::incremental_alter_configs_request::AlterConfigsResource;
use metadata::controller::configs::{self, Context};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(IncrementalAlterConfigs, 0..=1, IncrementalAlterConfigsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: IncrementalAlterConfigsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let node_id = node.config.node_id;
    let mut levels = node.log_levels.clone();
    let context = Context { node_id, layers: &node.layers };
    let (records, response) =
        configs::incremental_alter(node.ahead(), &request, context, |resource, validate_only| {
            let changed = alter_levels(resource, node_id, &levels)
                .map_err(|(code, text)| (code, Some(text)))?;
            if !validate_only {
                levels = changed;
            }
            Ok(())
        });
    for (logger, level) in &levels {
        if node.log_levels.get(logger) != Some(level) {
            out.push(Effect::LogLevel(logger.clone(), level.clone()));
        }
    }
    node.log_levels = levels;
    node.write_and_answer(call, records, response, now, out);
}

/// The levels after a change.
fn alter_levels(
    resource: &AlterConfigsResource,
    node_id: i32,
    levels: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, (ErrorCode, String)> {
    let refuse = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    let config = |text: String| Err((ErrorCode::INVALID_CONFIG, text));
    match resource.resource_name.parse::<i32>() {
        Ok(id) if id == node_id => {}
        Ok(id) => {
            return refuse(format!("Unexpected node id. Expected {node_id}, but received {id}"));
        }
        Err(_) => {
            let name = &resource.resource_name;
            return refuse(format!("Node id must be an integer, but it is: {name}"));
        }
    }
    let mut changed = levels.clone();
    for wanted in &resource.configs {
        let name = &wanted.name;
        let known = levels.contains_key(name);
        match wanted.config_operation {
            SET | DELETE if !known => return config(format!("Logger {name} does not exist!")),
            SET => {
                let level = wanted.value.clone().unwrap_or_default();
                if !LEVELS.contains(&level.as_str()) {
                    return config(format!(
                        "Cannot set the log level of {name} to {level} as it is not a supported \
                         log level. Valid log levels are {}",
                        LEVELS.join(", ")
                    ));
                }
                changed.insert(name.clone(), level);
            }
            DELETE => {
                let text = "Removing the log level of the root logger is not allowed";
                return refuse(text.to_owned());
            }
            APPEND => return refuse(not_allowed("APPEND operation")),
            SUBTRACT => return refuse(not_allowed("SUBTRACT operation")),
            other => return refuse(not_allowed(&format!("Unknown operation type {other}"))),
        }
    }
    Ok(changed)
}

fn not_allowed(what: &str) -> String {
    format!("{what} is not allowed for the BROKER_LOGGER resource")
}

/// The levels there are.
const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
