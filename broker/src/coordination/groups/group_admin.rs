//! DescribeGroups, ListGroups and DeleteGroups.

use super::api::{
    AppendToken, DeleteResponse, DescribedGroup, DescribedMember, GroupError, ListRequest, ListedGroup,
    RequestToken, Response,
};
use super::commit::RECORDS_PER_APPEND_MAX;
use super::completion::{Completion, Effect};
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::member::Member;
use super::records;

impl GroupCoordinator {
    /// What there is to say about each group.
    pub(super) fn describe(&mut self, token: RequestToken, ids: &[String]) {
        let describe = |id: &String| match self.groups.get(id) {
            Some(group) => group.described(),
            None => DescribedGroup::without_members(id, Some(GroupError::GroupIdNotFound), DEAD),
        };
        let described = ids.iter().map(describe).collect();
        self.fx.reply(token, Response::Describe(described));
    }

    /// The groups in the states and of the types asked for.
    pub(super) fn list(&mut self, token: RequestToken, request: &ListRequest) {
        let matches = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|asked| asked.trim().eq_ignore_ascii_case(name))
        };
        let wanted = |group: &&ClassicGroup| {
            matches(&request.states, group.state.name()) && matches(&request.types, GROUP_TYPE)
        };
        let listed = |group: &ClassicGroup| ListedGroup {
            group_id: group.id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.name(),
        };
        let groups = self.groups.values().filter(wanted).map(listed).collect();
        self.fx.reply(token, Response::List(Ok(groups)));
    }

    /// Forgets groups that have no members, and their offsets.
    pub(super) fn delete(&mut self, token: RequestToken, ids: Vec<String>) {
        let (mut results, mut doomed): (DeleteResponse, Vec<String>) = (Vec::new(), Vec::new());
        for id in ids {
            let error = match self.groups.get(&id) {
                // A second mention of the same group finds it gone.
                None => Some(GroupError::GroupIdNotFound),
                Some(_) if doomed.contains(&id) => Some(GroupError::GroupIdNotFound),
                Some(group) if group.state != State::Empty => Some(GroupError::NonEmptyGroup),
                Some(_) => {
                    doomed.push(id.clone());
                    None
                }
            };
            results.push((id, error));
        }
        let mut last_append = None;
        for id in doomed {
            last_append = Some(self.delete_group(&id));
        }
        let response = Response::Delete(results);
        match last_append.and_then(|append| self.fx.under_way.get_mut(&append)) {
            // Successes come in append order, so the last one stands for all.
            Some(completion) => completion.reply = Some((token, response)),
            None => self.fx.reply(token, response),
        }
    }

    /// Writes the end of a group without members: its offsets first, itself last.
    pub(super) fn delete_group(&mut self, id: &str) -> AppendToken {
        let offsets = self.offsets.latest_of(id);
        let offsets: Vec<(String, String, i32)> =
            offsets.map(|(topic, partition, _)| (id.to_owned(), topic.to_owned(), partition)).collect();
        let mut chunks = offsets.chunks(RECORDS_PER_APPEND_MAX).peekable();
        while let Some(chunk) = chunks.next_if(|chunk| chunk.len() == RECORDS_PER_APPEND_MAX) {
            self.append_deletions(Vec::new(), chunk.to_vec());
        }
        let rest = chunks.next().unwrap_or_default().to_vec();
        let group = self.groups.remove(id);
        if let Some(group) = &group {
            group.cancel_timers(&mut self.fx);
        }
        self.append_deletions(group.into_iter().collect(), rest)
    }

    /// Writes tombstones of offsets and of groups, which were taken out already.
    pub(super) fn append_deletions(
        &mut self,
        groups: Vec<ClassicGroup>,
        offsets: Vec<(String, String, i32)>,
    ) -> AppendToken {
        let append = self.fx.next_append();
        let mut log = Vec::with_capacity(offsets.len() + groups.len());
        for (group, topic, partition) in &offsets {
            self.offsets.stage((group, topic, *partition), append, None);
            log.push(records::offset_tombstone(group, topic, *partition));
        }
        log.extend(groups.iter().map(|group| records::group_tombstone(&group.id)));
        self.fx.append(log, Completion { reply: None, effect: Effect::Deleted { groups, offsets } })
    }
}

impl ClassicGroup {
    fn described(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| is_stable).unwrap_or_default();
        let member = |(id, member): (&String, &Member)| DescribedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        };
        DescribedGroup {
            group_id: self.id.clone(),
            error: None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members().map(member).collect(),
            protocol,
        }
    }
}

/// How a group that does not exist is described.
const DEAD: &str = "Dead";
/// The type of all groups here, in lower case as clients ask for it.
const GROUP_TYPE: &str = "classic";
