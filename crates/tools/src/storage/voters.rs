//! `--initial-controllers`: `id@host:port:directory,...`.

use std::net::Ipv6Addr;

use messages::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use wire::Uuid;

use crate::java;

/// The voters by id; `listener` is the name of their controllers' listener.
///
/// # Errors
/// None, one that can't be read, or one id twice.
pub fn parse(text: &str, listener: &str) -> Result<Vec<Voter>, String> {
    let mut voters: Vec<Voter> = Vec::new();
    for one in text.trim().split(',').filter(|one| !one.is_empty()) {
        let voter = voter(one.trim(), listener)?;
        if voters.iter().any(|other| other.voter_id == voter.voter_id) {
            return Err(format!("Node id {} was specified more than once.", voter.voter_id));
        }
        voters.push(voter);
    }
    if voters.is_empty() {
        return Err("No voters given.".into());
    }
    voters.sort_by_key(|voter| voter.voter_id);
    Ok(voters)
}

fn voter(text: &str, listener: &str) -> Result<Voter, String> {
    let wrong = |what: &str| format!("{what} in dynamic voter string {text:?}.");
    let (id, rest) = text.split_once('@').ok_or_else(|| wrong("No @ found"))?;
    let id: i32 = java::number(id).map_err(|_| wrong("Failed to parse node id"))?;
    if id < 0 {
        return Err(wrong(&format!("Invalid negative node id {id}")));
    }
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| wrong("No right bracket found"))?,
        None => {
            let colon = rest.find(':').ok_or_else(|| wrong("No colon following hostname"))?;
            rest.split_at_checked(colon).unwrap_or_default()
        }
    };
    let rest = rest.strip_prefix(':').ok_or_else(|| wrong("No colon before the port"))?;
    let (port, directory) = rest.split_once(':').ok_or_else(|| wrong("No colon following port"))?;
    let port: i32 = java::number(port).map_err(|_| wrong("Failed to parse port"))?;
    let port = u16::try_from(port).map_err(|_| wrong(&format!("Invalid port {port}")))?;
    let directory: Uuid = directory.parse().map_err(|_| wrong("Failed to parse directory ID"))?;
    let endpoint =
        Endpoint { name: listener.to_owned(), host: told(host), port, ..Default::default() };
    Ok(Voter {
        voter_id: id,
        voter_directory_id: directory,
        endpoints: vec![endpoint],
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
            ..Default::default()
        },
        ..Default::default()
    })
}

/// A host as Java's addresses tell it: IPv6 in full, and none at all is this machine.
fn told(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            groups.join(":")
        }
        Err(_) if host.is_empty() => "localhost".to_owned(),
        Err(_) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "JEXY6aqzQY-32P5TStzaFg";

    #[test]
    fn voters_are_read_and_come_by_id() {
        let text = format!("2@[::1]:1:{ID}, 1@h:65535:{ID},,");
        let voters = parse(&text, "C").unwrap();
        let told = |voter: &Voter| {
            let endpoint = &voter.endpoints[0];
            (voter.voter_id, endpoint.host.clone(), endpoint.port)
        };
        let told: Vec<_> = voters.iter().map(told).collect();
        assert_eq!(told, [(1, "h".into(), 65535), (2, "0:0:0:0:0:0:0:1".into(), 1)]);
        assert_eq!(parse(&format!("1@:1:{ID}"), "C").unwrap()[0].endpoints[0].host, "localhost");
    }

    #[test]
    fn what_is_no_voter_is_refused() {
        for (text, said) in [
            ("", "No voters"),
            (",", "No voters"),
            ("x", "No @"),
            ("@h:1:ID", "node id"),
            ("a@h:1:ID", "node id"),
            ("-1@h:1:ID", "negative"),
            ("1@", "hostname"),
            ("1@h", "hostname"),
            ("1@[::1", "bracket"),
            ("1@[::1]1:ID", "before the port"),
            ("1@h:1", "following port"),
            ("1@h:x:ID", "parse port"),
            ("1@h:70000:ID", "Invalid port 70000"),
            ("1@h:1:zz", "directory ID"),
            ("1@h:1:ID,1@i:2:ID", "more than once"),
        ] {
            let told = parse(&text.replace("ID", ID), "C").unwrap_err();
            assert!(told.contains(said), "{text}: {told}");
        }
    }
}
