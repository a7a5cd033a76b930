//! Teams. Which keys are in a team is in the team's record and in the keys'; one script changes both.

use std::sync::Arc;

use redis::cmd;
use serde_json::json;

use crate::model::bounds::{REDIS_CONFLICT_TRIES, TEAMS_MAX};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::team::{Team, TeamId};
use crate::store::record::TeamRecord;
use crate::store::redis::books::Books;
use crate::store::redis::names::Names;
use crate::store::redis::records::deeds::Plan;
use crate::store::{Assigned, Deed, StoreError};

impl Plan {
    /// Writes a team's record with the next revision; the team as it is then.
    fn put_team(&mut self, names: &Names, mut team: Team) -> Result<Arc<Team>, StoreError> {
        team.revision = team.revision.saturating_add(1);
        let record = serde_json::to_string(&TeamRecord::of(&team)).map_err(|error| {
            StoreError::Read(format!("a team's record cannot be written: {error}"))
        })?;
        let place = self.key(names.account(&team.id.account()));
        self.put.push(vec![
            json!(place),
            json!("rev"),
            json!(team.revision.to_string()),
            json!("record"),
            json!(&record),
        ]);
        self.told("team", team.id.as_str(), record, team.revision.to_string());
        Ok(Arc::new(team))
    }

    /// Puts a key into a team, or into none.
    fn set_team_of(
        &mut self,
        names: &Names,
        key: &Key,
        team: Option<TeamId>,
    ) -> Result<(), StoreError> {
        let revision = key.revision.saturating_add(1);
        let place = self.put_key(names, &Key { team, revision, ..key.clone() })?;
        self.expect.push((place, key.revision.to_string()));
        Ok(())
    }

    fn expect_team(&mut self, names: &Names, team: &Team) {
        let place = self.key(names.account(&team.id.account()));
        self.expect.push((place, team.revision.to_string()));
    }
}

impl Books {
    /// A team as it is now.
    pub(in crate::store::redis) async fn fresh_team(
        &self,
        namespace: &str,
        id: &TeamId,
    ) -> Result<Option<Arc<Team>>, StoreError> {
        let mut get = cmd("HMGET");
        get.arg(Names::of(namespace).account(&id.account())).arg("rev").arg("record");
        let fields: Vec<Option<String>> = self.link.ask(&get).await?;
        let [Some(revision), Some(record)] = fields.as_slice() else {
            self.memory().trust(id.as_str());
            let mut listed = cmd("ZSCORE");
            listed.arg(Names::of(namespace).teams()).arg(id.as_str());
            let listed: Option<String> = self.link.ask(&listed).await?;
            return match listed {
                Some(_) => Err(self.damaged(namespace, &format!("team {id}"))),
                None => Ok(None),
            };
        };
        let strange = |why: &str| StoreError::Read(format!("the record of {id} is none: {why}"));
        let record: TeamRecord =
            serde_json::from_str(record).map_err(|error| strange(&error.to_string()))?;
        let revision = revision.parse().map_err(|_| strange("its revision"))?;
        let team = Arc::new(record.team(id.clone(), revision));
        self.memory().put_team(&team);
        Ok(Some(team))
    }

    /// A key is judged with its team, so that must be known when the key is.
    pub(in crate::store::redis) async fn learn_team(
        &self,
        key: Option<&Key>,
    ) -> Result<(), StoreError> {
        let Some((key, team)) = key.and_then(|key| Some((key, key.team.as_ref()?))) else {
            return Ok(());
        };
        let (is_known, is_doubted) = {
            let memory = self.memory();
            (memory.teams.contains_key(team), memory.doubts(team.as_str()))
        };
        if !is_known || is_doubted {
            match self.fresh_team(&key.namespace, team).await {
                // Whatever is judged by it names its revision.
                Err(StoreError::Unavailable(_)) if is_known => {}
                fresh => drop(fresh?),
            }
        }
        Ok(())
    }

    /// Makes a team.
    pub(in crate::store::redis) async fn create_team(
        &self,
        team: Team,
        deed: Deed,
    ) -> Result<Arc<Team>, StoreError> {
        if self.memory().teams.len() >= TEAMS_MAX {
            return Err(StoreError::Full("teams", TEAMS_MAX));
        }
        let (namespace, names) = (team.namespace.clone(), Names::of(&team.namespace));
        self.begin_books(&namespace).await?;
        let mut plan = Plan::new(&names, &namespace, deed.once)?;
        let place = plan.key(names.account(&team.id.account()));
        plan.expect.push((place, String::new()));
        let teams = plan.key(names.teams());
        plan.order.push((teams, team.created_at.ms().to_string(), team.id.to_string()));
        let team = plan.put_team(&names, team)?;
        plan.audit(deed.audit);
        self.act(plan, self.present()).await?;
        self.memory().put_team(&team);
        self.changed().await?;
        Ok(team)
    }

    /// Replaces a team's record. A team that is not active any more releases its keys.
    pub(in crate::store::redis) async fn update_team(
        &self,
        team: Team,
        deed: Deed,
    ) -> Result<Arc<Team>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let known = self.fresh_team(&team.namespace, &team.id).await?;
            let known = known.ok_or(StoreError::NotFound)?;
            if known.revision != team.revision {
                return Err(StoreError::Conflict);
            }
            match self.update_team_once(team.clone(), deed.clone()).await {
                // One of its keys, or the team itself: the next look tells.
                Err(StoreError::Conflict | StoreError::NotFound)
                    if tries < REDIS_CONFLICT_TRIES => {}
                result => return result,
            }
        }
    }

    async fn update_team_once(&self, mut team: Team, deed: Deed) -> Result<Arc<Team>, StoreError> {
        let (namespace, names) = (team.namespace.clone(), Names::of(&team.namespace));
        let mut plan = Plan::new(&names, &namespace, deed.once)?;
        plan.expect_team(&names, &team);
        let mut released = Vec::new();
        if !team.active {
            for member in std::mem::take(&mut team.members) {
                if let Some(key) = self.fresh_key(&member).await? {
                    plan.set_team_of(&names, &key, None)?;
                    released.push(member);
                }
            }
        }
        let team = plan.put_team(&names, team)?;
        plan.audit(deed.audit);
        self.act(plan, self.present()).await?;
        {
            let mut memory = self.memory();
            for member in &released {
                memory.forget_key(member);
            }
            memory.put_team(&team);
        }
        self.changed().await?;
        Ok(team)
    }

    /// Puts a key into a team.
    pub(in crate::store::redis) async fn assign_key(
        &self,
        id: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Assigned, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let key = self.fresh_key(id).await?.ok_or(StoreError::NotFound)?;
            match self.assign_once(&key, team, deed.clone()).await {
                Err(StoreError::Conflict) if tries < REDIS_CONFLICT_TRIES => {}
                result => return result,
            }
        }
    }

    async fn assign_once(
        &self,
        key: &Key,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Assigned, StoreError> {
        // Only a team of the key's own tenant is found here.
        let found = self.fresh_team(&key.namespace, team).await?.filter(|team| team.active);
        let Some(found) = found else { return Ok(Assigned::NoSuchTeam) };
        match &key.team {
            Some(present) if present == team => return Ok(Assigned::Done),
            Some(_) => return Ok(Assigned::InAnotherTeam),
            None => {}
        }
        if found.members.len() >= Team::MEMBERS_MAX {
            return Ok(Assigned::TeamFull);
        }
        let names = Names::of(&key.namespace);
        let mut plan = Plan::new(&names, &key.namespace, deed.once)?;
        plan.expect_team(&names, &found);
        let mut changed = Team::clone(&found);
        changed.members.push(key.id.clone());
        let changed = plan.put_team(&names, changed)?;
        plan.set_team_of(&names, key, Some(team.clone()))?;
        plan.audit(deed.audit);
        self.act(plan, self.present()).await?;
        self.learn_change(key, Some(changed)).await?;
        Ok(Assigned::Done)
    }

    /// Takes a key out of a team; was it in it?
    pub(in crate::store::redis) async fn remove_key(
        &self,
        id: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<bool, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let key = self.fresh_key(id).await?.ok_or(StoreError::NotFound)?;
            if key.team.as_ref() != Some(team) {
                return Ok(false);
            }
            match self.remove_once(&key, deed.clone()).await {
                Err(StoreError::Conflict) if tries < REDIS_CONFLICT_TRIES => {}
                result => return result.map(|()| true),
            }
        }
    }

    async fn remove_once(&self, key: &Key, deed: Deed) -> Result<(), StoreError> {
        let names = Names::of(&key.namespace);
        let mut plan = Plan::new(&names, &key.namespace, deed.once)?;
        let team = self.leave_team(&mut plan, &names, key).await?;
        plan.set_team_of(&names, key, None)?;
        plan.audit(deed.audit);
        self.act(plan, self.present()).await?;
        self.learn_change(key, team).await
    }

    /// Plans to take a key that is about to go out of its team's record; the team as it is then.
    pub(in crate::store::redis) async fn leave_team(
        &self,
        plan: &mut Plan,
        names: &Names,
        key: &Key,
    ) -> Result<Option<Arc<Team>>, StoreError> {
        let Some(id) = &key.team else { return Ok(None) };
        let Some(team) = self.fresh_team(&key.namespace, id).await? else { return Ok(None) };
        plan.expect_team(names, &team);
        let mut changed = Team::clone(&team);
        changed.members.retain(|member| *member != key.id);
        plan.put_team(names, changed).map(Some)
    }

    /// A key and perhaps its team have changed.
    pub(in crate::store::redis) async fn learn_change(
        &self,
        key: &Key,
        team: Option<Arc<Team>>,
    ) -> Result<(), StoreError> {
        {
            let mut memory = self.memory();
            memory.forget_key(&key.id);
            if let Some(team) = &team {
                memory.put_team(team);
            }
        }
        self.changed().await
    }
}
