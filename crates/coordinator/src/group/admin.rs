//! Looking at groups, and deleting them.
//!
//! Every group here is classic. One of another protocol is listed with its type, and otherwise
//! answered as Apache Kafka answers for a group that is not classic.

use messages::delete_groups_response::DeletableGroupResult;
use messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use messages::list_groups_response::ListedGroup;
use messages::{
    DeleteGroupsResponse, DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse,
};
use wire::ErrorCode;

use super::classic::{Group, Member, State};
use super::{Groups, Turn};
use crate::record::Record;

impl Groups {
    /// DescribeGroups.
    pub(super) fn describe(&self, ids: &[String], version: i16) -> DescribeGroupsResponse {
        let groups = ids.iter().map(|id| match self.live.get(id) {
            Some(group) => described(id, group),
            None => self.absent(id, version),
        });
        DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
    }

    /// Before version 6 a group that isn't there was only called dead (KIP-1043).
    fn absent(&self, id: &str, version: i16) -> DescribedGroup {
        let mut answer = DescribedGroup {
            group_id: id.to_owned(),
            group_state: "Dead".to_owned(),
            ..Default::default()
        };
        if version >= 6 {
            answer.error_code = ErrorCode::GROUP_ID_NOT_FOUND.0;
            answer.error_message = Some(self.why_absent(id));
        }
        answer
    }

    fn why_absent(&self, id: &str) -> String {
        match self.durable.foreign.contains_key(id) {
            true => format!("Group {id} is not a classic group."),
            false => format!("Group {id} not found."),
        }
    }

    /// ListGroups: names of states and types are compared without regard to case (KIP-518,
    /// KIP-848).
    pub(super) fn list(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|one| one.trim().eq_ignore_ascii_case(name))
        };
        let classic = self
            .live
            .iter()
            .filter(|(_, group)| {
                wanted(&request.states_filter, group.state.name())
                    && wanted(&request.types_filter, "Classic")
            })
            .map(|(id, group)| ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                group_state: group.state.name().to_owned(),
                group_type: "classic".to_owned(),
                ..Default::default()
            });
        let foreign = self
            .durable
            .foreign
            .iter()
            .filter(|(_, kind)| {
                // Their members are not known, so no state but this one can be claimed.
                wanted(&request.states_filter, "Empty")
                    && wanted(&request.types_filter, kind.name())
            })
            .map(|(id, kind)| ListedGroup {
                group_id: id.clone(),
                protocol_type: kind.name().to_ascii_lowercase(),
                group_state: "Empty".to_owned(),
                group_type: kind.name().to_ascii_lowercase(),
                ..Default::default()
            });
        ListGroupsResponse { groups: classic.chain(foreign).collect(), ..Default::default() }
    }

    /// DeleteGroups.
    pub(super) fn delete(&mut self, ids: &[String], turn: &mut Turn<'_>) -> DeleteGroupsResponse {
        let mut answer = DeleteGroupsResponse::default();
        for id in ids {
            let (code, message) = match self.delete_one(id, turn) {
                Ok(()) => (ErrorCode::NONE, None),
                Err(ErrorCode::GROUP_ID_NOT_FOUND) => {
                    (ErrorCode::GROUP_ID_NOT_FOUND, Some(self.why_absent(id)))
                }
                Err(ErrorCode::NON_EMPTY_GROUP) => {
                    (ErrorCode::NON_EMPTY_GROUP, Some("The group is not empty.".to_owned()))
                }
                Err(code) => (code, None),
            };
            answer.results.push(DeletableGroupResult {
                group_id: id.clone(),
                error_code: code.0,
                error_message: message,
                ..Default::default()
            });
        }
        answer
    }

    fn delete_one(&mut self, id: &str, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let group = self.live.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if group.state != State::Empty {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut records = self.offset_tombstones(id);
        // A group that only ever had offsets has no record, and a tombstone more does no harm.
        records.push(Record::Group(id.to_owned(), None));
        turn.write(&mut self.durable, &records)?;
        self.bury(id);
        Ok(())
    }
}

fn described(id: &str, group: &Group) -> DescribedGroup {
    // Outside a stable generation no protocol is in force.
    let protocol = group.protocol.as_deref().filter(|_| group.state == State::Stable);
    let member = |(id, member): (&String, &Member)| DescribedGroupMember {
        member_id: id.clone(),
        group_instance_id: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
        member_assignment: member.assignment.clone(),
        ..Default::default()
    };
    DescribedGroup {
        group_id: id.to_owned(),
        group_state: group.state.name().to_owned(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: group.members.iter().map(member).collect(),
        ..Default::default()
    }
}
