//! DescribeGroups, ListGroups and DeleteGroups.

use super::api::{
    DeleteResponse, DescribedGroup, DescribedMember, GroupError, ListRequest, ListedGroup, Response,
};
use super::completion::{Change, Completion};
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::member::Member;
use super::records;
use crate::coordination::runner::{AppendToken, RequestToken};

impl GroupCoordinator {
    /// What there is to say about each group.
    pub(super) fn describe(&mut self, token: RequestToken, ids: &[String]) {
        let describe = |id: &String| match self.groups.get(id) {
            Some(group) => group.described(),
            None => DescribedGroup::without_members(id, Some(GroupError::GroupIdNotFound), DEAD),
        };
        let described = ids.iter().map(describe).collect();
        self.context.reply(token, Response::Describe(described));
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
        self.context.reply(token, Response::List(Ok(groups)));
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
            last_append = Some(self.delete_group(&id, last_append.is_some()));
        }
        let response = Response::Delete(results);
        match last_append.and_then(|append| self.context.under_way.get_mut(&append)) {
            // Each fails with the one before it, and successes come in order: the last one stands for all.
            Some(completion) => completion.reply = Some((token, response)),
            None => self.context.reply(token, response),
        }
    }

    /// Writes the end of a group without members: its offsets first, itself last. If it `continues` the deletion before
    /// it, it fails with that.
    fn delete_group(&mut self, id: &str, continues: bool) -> AppendToken {
        let offsets = self.offsets.latest_of(id);
        let offsets: Vec<(String, String, i32)> =
            offsets.map(|(topic, partition, _)| (id.to_owned(), topic.to_owned(), partition)).collect();
        let group = self.groups.remove(id);
        if let Some(group) = &group {
            group.cancel_timers(&mut self.context);
        }
        self.append_deletions(continues, group.into_iter().collect(), offsets)
    }

    /// Writes tombstones of offsets and then of groups, which were taken out already; yields the last append. What needs
    /// several fails from the first on that cannot be appended, lest a group goes and leaves offsets.
    pub(super) fn append_deletions(
        &mut self,
        continues: bool,
        groups: Vec<ClassicGroup>,
        offsets: Vec<(String, String, i32)>,
    ) -> AppendToken {
        let (mut log, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut continues = continues;
        for (group, topic, partition) in offsets {
            let tombstone = records::offset_tombstone(&group, &topic, partition);
            bytes += tombstone.key.len();
            if part.len() == RECORDS_PER_APPEND_MAX || (bytes > BYTES_PER_APPEND_MAX && !log.is_empty()) {
                bytes = tombstone.key.len();
                let (log, offsets) = (std::mem::take(&mut log), std::mem::take(&mut part));
                let change = Change::Deleted { groups: Vec::new(), offsets };
                self.context.append_behind(continues, log, Completion { reply: None, change });
                continues = true;
            }
            self.offsets.stage((&group, &topic, partition), self.context.next_append(), None);
            log.push(tombstone);
            part.push((group, topic, partition));
        }
        log.extend(groups.iter().map(|group| records::group_tombstone(&group.id)));
        let change = Change::Deleted { groups, offsets: part };
        self.context.append_behind(continues, log, Completion { reply: None, change })
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

/// Deletions come in large numbers. Their batches have at most so many records...
const RECORDS_PER_APPEND_MAX: usize = 1_000;
/// ...and bytes of keys, unless one key alone has more: well below the largest batch.
const BYTES_PER_APPEND_MAX: usize = 256 * 1024;
/// How a group that does not exist is described.
const DEAD: &str = "Dead";
/// The type of all groups here, in lower case as clients ask for it.
const GROUP_TYPE: &str = "classic";
