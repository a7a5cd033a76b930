//! Teams: their records are all in memory, and so are their accounts, so that a hold finds both. Which
//! keys are in a team is in the team's record and in the keys'; both are changed in one commit.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::queue::Write;
use super::records::{from_json, to_json};
use super::state::{Shared, State};
use crate::ledger::Account;
use crate::model::bounds::TEAMS_MAX;
use crate::model::ids::{AccountId, KeyId};
use crate::model::key::Key;
use crate::model::team::{Team, TeamId};
use crate::store::record::TeamRecord;
use crate::store::{Assigned, Deed, Durable, StoreError};

/// Every team, by id.
pub(super) type Teams = HashMap<TeamId, Arc<Team>>;

pub(super) fn write_team(connection: &Connection, team: &Team) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO teams (id, revision, record) VALUES (?1, ?2, ?3)")?
        .execute(params![
            team.id.as_str(),
            i64::try_from(team.revision).unwrap_or(i64::MAX),
            to_json(&TeamRecord::of(team))?
        ])?;
    Ok(())
}

pub(super) fn read_teams(connection: &Connection) -> rusqlite::Result<Teams> {
    let mut statement = connection.prepare("SELECT id, revision, record FROM teams")?;
    let teams = statement.query_map([], |row| {
        let id = TeamId::parse(row.get_ref(0)?.as_str()?)
            .ok_or(rusqlite::Error::InvalidColumnName("id".into()))?;
        let record: TeamRecord = from_json(row.get_ref(2)?.as_str()?)?;
        let revision = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        let team = record.team(id.clone(), revision);
        Ok((id, Arc::new(team)))
    })?;
    teams.collect()
}

/// The saved accounts of all teams.
pub(super) fn read_team_accounts(
    connection: &Connection,
) -> rusqlite::Result<Vec<(AccountId, Account)>> {
    let sql = "SELECT id, state FROM accounts WHERE id >= 'team_' AND id < 'team`'";
    let mut statement = connection.prepare(sql)?;
    let accounts = statement.query_map([], |row| {
        let id = AccountId::new(row.get_ref(0)?.as_str()?);
        Ok((id, from_json(row.get_ref(1)?.as_str()?)?))
    })?;
    accounts.collect()
}

impl State {
    /// Takes teams in as they were read, each with its account.
    pub(super) fn load_teams(&mut self, teams: Teams, accounts: Vec<(AccountId, Account)>) {
        for id in teams.keys() {
            self.book.insert(id.account(), Account::default());
        }
        for (id, account) in accounts {
            self.book.insert(id, account);
        }
        self.teams = teams;
    }

    fn put_team(&mut self, mut team: Team) -> Arc<Team> {
        team.revision = team.revision.saturating_add(1);
        let team = Arc::new(team);
        self.teams.insert(team.id.clone(), Arc::clone(&team));
        self.queue.push(Write::Team(Arc::clone(&team)));
        team
    }

    /// Puts a key into a team, or into none. The team's own record is for the caller.
    fn set_team_of(&mut self, key: &Key, team: Option<TeamId>) {
        let revision = key.revision.saturating_add(1);
        let key = Arc::new(Key { team, revision, ..key.clone() });
        self.put_key(Arc::clone(&key));
        self.queue.push(Write::Key(key));
    }

    /// Takes a key that is about to go out of its team.
    pub(super) fn leave_team(&mut self, key: &Key) {
        let team = key.team.as_ref().and_then(|id| self.teams.get(id)).map(Arc::clone);
        if let Some(team) = team {
            let mut team = Team::clone(&team);
            team.members.retain(|member| *member != key.id);
            self.put_team(team);
        }
    }

    /// Is this the team of the key, as it is now?
    pub(super) fn judged_by_present_team(&self, key: &Key, judged: Option<&(TeamId, u64)>) -> bool {
        let present = key.team.as_ref().and_then(|id| self.teams.get(id));
        match (present, judged) {
            (None, None) => true,
            (Some(team), Some((id, revision))) => team.id == *id && team.revision == *revision,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Shared {
    pub(super) fn team(&self, id: &TeamId) -> Option<Arc<Team>> {
        self.lock().teams.get(id).map(Arc::clone)
    }

    /// In order of their making.
    pub(super) fn teams(&self) -> Vec<Arc<Team>> {
        let mut teams: Vec<_> = self.lock().teams.values().map(Arc::clone).collect();
        teams.sort_unstable_by(|one, other| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        teams
    }

    pub(super) fn create_team(
        &self,
        team: Team,
        deed: Deed,
    ) -> Result<(Arc<Team>, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if state.teams.len() >= TEAMS_MAX {
            return Err(StoreError::Full("teams", TEAMS_MAX));
        }
        if state.teams.contains_key(&team.id) {
            return Err(StoreError::Duplicate);
        }
        state.book.insert(team.id.account(), Account::default());
        let team = state.put_team(team);
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((team, durable))
    }

    /// Replaces a team's record if its revision is still the one given. A team that is not active any
    /// more releases its keys, which must be in memory.
    pub(super) fn update_team(
        &self,
        mut team: Team,
        deed: Deed,
    ) -> Result<(Arc<Team>, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let known = state.teams.get(&team.id).ok_or(StoreError::NotFound)?;
        if known.revision != team.revision {
            return Err(StoreError::Conflict);
        }
        if !team.active {
            for member in std::mem::take(&mut team.members) {
                if let Some(key) = state.key(&member).map(Arc::clone) {
                    state.set_team_of(&key, None);
                }
            }
        }
        let team = state.put_team(team);
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((team, durable))
    }

    /// Puts a key, which must be in memory, into a team.
    pub(super) fn assign_key(
        &self,
        key: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<(Assigned, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let key = state.key(key).map(Arc::clone).ok_or(StoreError::NotFound)?;
        let found = state.teams.get(team).filter(|team| team.active);
        let found = found.filter(|team| team.namespace == key.namespace).map(Arc::clone);
        let refused = |why| Ok((why, Durable::NOW));
        let Some(found) = found else { return refused(Assigned::NoSuchTeam) };
        match &key.team {
            Some(present) if present == team => {
                // The one that did it may still be on its way to the disk.
                let durable = state.queue.durable();
                self.nudge(state);
                return Ok((Assigned::Done, durable));
            }
            Some(_) => return refused(Assigned::InAnotherTeam),
            None => {}
        }
        if found.members.len() >= Team::MEMBERS_MAX {
            return refused(Assigned::TeamFull);
        }
        let mut changed = Team::clone(&found);
        changed.members.push(key.id.clone());
        state.put_team(changed);
        state.set_team_of(&key, Some(team.clone()));
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((Assigned::Done, durable))
    }

    /// Takes a key, which must be in memory, out of a team; `None` if it is not in it.
    pub(super) fn remove_key(
        &self,
        key: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Option<Durable>, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let key = state.key(key).map(Arc::clone).ok_or(StoreError::NotFound)?;
        if key.team.as_ref() != Some(team) {
            return Ok(None);
        }
        state.leave_team(&key);
        state.set_team_of(&key, None);
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(Some(durable))
    }
}
