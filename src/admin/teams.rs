//! Teams: keys of one tenant that share a budget and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::entropy::random;
use super::keys::subject::{ATTEMPTS_MAX, Fit};
use super::keys::view::Shown;
use super::wire::answer::{Answer, Problem, to_json};
use super::wire::body::{Json, Members};
use super::wire::fields;
use super::wire::fields::KeyRef;
use super::wire::query::Query;
use super::{Admin, Call, keys};
use crate::ledger::{CounterName, names};
use crate::model::audit::AuditEvent;
use crate::model::key::{Key, Quota};
use crate::model::team::{Team, TeamId};
use crate::store::{Assigned, StoreError};

/// Longest name and description, in characters.
const NAME_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 1000;

/// One team, in the order of the documentation; members after `active` are Paygate's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TeamView<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    /// Shortened: a raw key is nowhere.
    member_keys: Vec<String>,
    budget: i64,
    total_spent: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'a Quota>,
    quota_daily_calls: i64,
    quota_monthly_calls: i64,
    quota_daily_credits: i64,
    quota_monthly_credits: i64,
    quota_last_reset_day: String,
    quota_last_reset_month: String,
    tags: &'a BTreeMap<String, String>,
    created_at: Shown,
    active: bool,
    namespace: &'a str,
    member_ids: Vec<&'a str>,
    total_calls: i64,
}

#[derive(Serialize)]
struct Written<'a> {
    message: &'static str,
    team: TeamView<'a>,
}

#[derive(Serialize)]
struct All<'a> {
    teams: Vec<TeamView<'a>>,
    count: usize,
}

#[derive(Serialize)]
struct Done {
    message: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage<'a> {
    team_id: &'a str,
    team_name: &'a str,
    member_count: usize,
    total_budget: i64,
    total_spent: i64,
    remaining_budget: i64,
    members: Vec<Member>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    key_masked: String,
    name: String,
    credits: i64,
    total_spent: i64,
    total_calls: i64,
    id: String,
}

pub(super) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let scope = call.actor.scope(Query::of(&call.uri)?.namespace()?)?;
    let is_asked = |team: &&Arc<Team>| {
        team.active && scope.as_ref().is_none_or(|scope| team.namespace == *scope)
    };
    let all = admin.store.teams();
    let mut teams = Vec::new();
    for team in all.iter().filter(is_asked) {
        teams.push(view(&admin, &call, team).await?);
    }
    let count = teams.len();
    Answer::ok(&All { teams, count })
}

pub(super) async fn create(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let team = {
        let members = call.members()?;
        let mut team = Team {
            id: TeamId::from_random(random()?),
            name: String::new(),
            description: String::new(),
            namespace: call.actor.home(fields::namespace(&members)?)?,
            members: Vec::new(),
            budget: 0,
            quota: None,
            tags: BTreeMap::new(),
            created_at: call.now,
            active: true,
            revision: 0,
        };
        apply(&mut team, &members)?;
        if team.name.is_empty() {
            return Err(Problem::bad("Missing required field: name"));
        }
        team
    };
    let message = format!("Team created: {}", team.name);
    let event = event(&call, &team, "team.created", message).with("budget", team.budget);
    let team = admin.store.create_team(team, event.into()).await?;
    let team = view(&admin, &call, &team).await?;
    Ok(Answer::created(to_json(&Written { message: "Team created", team })?))
}

pub(super) async fn update(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let team = {
        let members = call.members()?;
        let id = team_id(&members)?;
        let told = |team: &Team| {
            let message = format!("Team updated: {}", team.id);
            event(&call, team, "team.updated", message).with("budget", team.budget)
        };
        let apply = |team: &mut Team| {
            apply(team, &members)?;
            let named = !team.name.is_empty();
            named.then_some(()).ok_or_else(|| Problem::bad("name must not be empty"))
        };
        change(&admin, &call, id, "Team not found or inactive", &told, &apply).await?
    };
    let team = view(&admin, &call, &team).await?;
    Answer::ok(&Written { message: "Team updated", team })
}

/// Its keys are in no team afterwards; its numbers stay.
pub(super) async fn delete(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let id = team_id(&call.members()?)?;
    let told =
        |team: &Team| event(&call, team, "team.deleted", format!("Team deleted: {}", team.id));
    let end = |team: &mut Team| {
        team.active = false;
        Ok(())
    };
    change(&admin, &call, id, "Team not found or already deleted", &told, &end).await?;
    Answer::ok(&Done { message: "Team deleted" })
}

pub(super) async fn assign(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (id, key) = {
        let members = call.members()?;
        (team_id(&members)?, key_ref(&members)?)
    };
    let key = find_key(&admin, &call, &key).await?;
    let no_team = || Problem::bad("team_not_found");
    let id = id.filter(|id| seen(&admin, &call, id).is_some()).ok_or_else(no_team)?;
    let message = format!("Key assigned to team {id}");
    let event = call.key_event(&key, "team.key_assigned", message).with("teamId", id.as_str());
    match admin.store.assign_key(&key.id, &id, event.into()).await? {
        Assigned::Done => Answer::ok(&Done { message: "Key assigned to team" }),
        Assigned::NoSuchTeam => Err(no_team()),
        Assigned::InAnotherTeam => Err(Problem::bad("key_already_in_team")),
        Assigned::TeamFull => Err(Problem::bad("team_full")),
    }
}

pub(super) async fn remove(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (id, key) = {
        let members = call.members()?;
        (team_id(&members)?, key_ref(&members)?)
    };
    let unknown = || Problem::not_found("Key not found in team");
    let key = find_key(&admin, &call, &key).await.map_err(|_| unknown())?;
    let id = id.ok_or_else(unknown)?;
    let message = format!("Key removed from team {id}");
    let event = call.key_event(&key, "team.key_removed", message).with("teamId", id.as_str());
    let was_in_it = admin.store.remove_key(&key.id, &id, event.into()).await?;
    was_in_it.then_some(()).ok_or_else(unknown)?;
    Answer::ok(&Done { message: "Key removed from team" })
}

/// Deleted teams answer too; keys that cannot be used are not listed.
pub(super) async fn usage(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let missing = || Problem::bad("Missing required query param: teamId");
    let id = TeamId::parse(query.get("teamId").ok_or_else(missing)?);
    let team = id.and_then(|id| seen(&admin, &call, &id));
    let team = team.ok_or_else(|| Problem::not_found("Team not found"))?;
    let mut members = Vec::new();
    for id in &team.members {
        let Some(key) = admin.store.key_by_id(id).await?.filter(|key| key.usable(call.now)) else {
            continue;
        };
        let account = admin.store.account(id).await?;
        let now = admin.store.ledger_now(call.now);
        members.push(Member {
            key_masked: key.ends.masked(),
            name: key.name.clone(),
            credits: account.available(),
            total_spent: account.value(&names::SPENT, now),
            total_calls: account.value(&names::CALLS, now),
            id: key.id.to_string(),
        });
    }
    let spent = admin.store.team_account(&team.id).await?;
    let spent = spent.value(&names::SPENT, admin.store.ledger_now(call.now));
    Answer::ok(&Usage {
        team_id: team.id.as_str(),
        team_name: &team.name,
        member_count: members.len(),
        total_budget: team.budget,
        total_spent: spent,
        remaining_budget: team.budget.saturating_sub(spent).max(0),
        members,
    })
}

/// Changes a team that is active and seen, as it is then.
async fn change(
    admin: &Admin,
    call: &Call,
    id: Option<TeamId>,
    unknown: &str,
    told: &(impl Fn(&Team) -> AuditEvent + Sync),
    apply: &(impl Fn(&mut Team) -> Result<(), Problem> + Sync),
) -> Result<Arc<Team>, Problem> {
    for _ in 0..ATTEMPTS_MAX {
        let found = id.as_ref().and_then(|id| seen(admin, call, id));
        let found = found.filter(|team| team.active);
        let found = found.ok_or_else(|| Problem::not_found(unknown))?;
        let mut changed = Team::clone(&found);
        apply(&mut changed)?;
        if changed == *found {
            return Ok(found);
        }
        let deed = told(&changed).into();
        match admin.store.update_team(changed, deed).await {
            Ok(team) => return Ok(team),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Problem::conflict("The team is being changed by others; nothing was done, try again"))
}

/// What is absent stays, `null` clears.
fn apply(team: &mut Team, members: &Members<'_>) -> Result<(), Problem> {
    if members.has("name") {
        team.name = text(members, "name", NAME_CHARS_MAX)?;
    }
    if members.has("description") {
        team.description = text(members, "description", DESCRIPTION_CHARS_MAX)?;
    }
    if members.has("budget") {
        team.budget = fields::limit("budget", &members.get("budget")?)?.unwrap_or(0);
    }
    if members.has("quota") {
        team.quota = keys::members::quota(members)?;
    }
    if members.has("tags") {
        let tags = std::mem::take(&mut team.tags);
        team.tags = keys::members::changed_tags(members, tags)?;
    }
    Ok(())
}

fn text(members: &Members<'_>, name: &str, chars_max: usize) -> Result<String, Problem> {
    match members.get(name)? {
        Json::Null => Ok(String::new()),
        Json::Text(text) => Ok(fields::cut(text.trim(), chars_max).trim_end().to_owned()),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::bad(format!("{name} must be a string")))
        }
    }
}

/// `teamId`; `None` if it is none that there could be.
fn team_id(members: &Members<'_>) -> Result<Option<TeamId>, Problem> {
    match members.get("teamId")? {
        Json::Text(text) if !text.is_empty() => Ok(TeamId::parse(&text)),
        Json::Null | Json::Text(_) => Err(Problem::bad("Missing required field: teamId")),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::bad("teamId must be a string"))
        }
    }
}

/// `key`, or `apiKey`, which is the same.
fn key_ref(members: &Members<'_>) -> Result<KeyRef, Problem> {
    let named = if members.has("apiKey") { "apiKey" } else { "key" };
    if members.has("apiKey") && members.has("key") {
        return Err(Problem::bad("key and apiKey are the same; give one of them"));
    }
    fields::key_named(members, named)?.ok_or_else(|| Problem::bad("Missing required field: key"))
}

async fn find_key(admin: &Admin, call: &Call, key: &KeyRef) -> Result<Arc<Key>, Problem> {
    let unknown = |_| Problem::not_found("API key not found");
    admin.find(call, key, Fit::Exists).await.map_err(unknown)
}

/// A team that whoever asks may see.
fn seen(admin: &Admin, call: &Call, id: &TeamId) -> Option<Arc<Team>> {
    admin.store.team(id).filter(|team| call.actor.sees(&team.namespace))
}

fn event(call: &Call, team: &Team, kind: &'static str, message: String) -> AuditEvent {
    let event = call.event(kind, message);
    AuditEvent {
        namespace: Some(team.namespace.clone()),
        target: Some(team.id.to_string()),
        ..event
    }
    .with("teamId", team.id.as_str())
    .with("teamName", team.name.as_str())
}

async fn view<'a>(admin: &Admin, call: &Call, team: &'a Team) -> Result<TeamView<'a>, Problem> {
    let mut member_keys = Vec::with_capacity(team.members.len());
    for id in &team.members {
        let key = admin.store.key_by_id(id).await?;
        member_keys.push(key.map_or_else(|| "***".to_owned(), |key| key.ends.masked()));
    }
    let account = admin.store.team_account(&team.id).await?;
    let now = admin.store.ledger_now(call.now);
    let value = |counter: &CounterName| account.value(counter, now);
    Ok(TeamView {
        id: team.id.as_str(),
        name: &team.name,
        description: &team.description,
        member_keys,
        budget: team.budget,
        total_spent: value(&names::SPENT),
        quota: team.quota.as_ref(),
        quota_daily_calls: value(&names::CALLS_DAY),
        quota_monthly_calls: value(&names::CALLS_MONTH),
        quota_daily_credits: value(&names::CREDITS_DAY),
        quota_monthly_credits: value(&names::CREDITS_MONTH),
        quota_last_reset_day: now.day_text(),
        quota_last_reset_month: now.month_text(),
        tags: &team.tags,
        created_at: Shown(team.created_at),
        active: team.active,
        namespace: &team.namespace,
        member_ids: team.members.iter().map(crate::model::ids::KeyId::as_str).collect(),
        total_calls: value(&names::CALLS),
    })
}
