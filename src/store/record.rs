//! Records as every store writes them: the part that is never searched for, as one JSON text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::ids::KeyId;
use crate::model::key::{IpAllowlist, Key, OldCredential, Quota, ToolList};
use crate::model::secret::{Digest, KeyEnds};
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::{AdminToken, Role, TokenId};

/// A key but for its id, credentials, tenant and revision.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::store) struct KeyRecord {
    name: String,
    first: String,
    last: String,
    created_at: i64,
    active: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    suspended: bool,
    spending_limit: i64,
    allowed_tools: ToolList,
    denied_tools: ToolList,
    expires_at: Option<i64>,
    quota: Option<Quota>,
    tags: BTreeMap<String, String>,
    ip_allowlist: Vec<String>,
    old_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<TeamId>,
}

/// The part of a key that a record leaves out.
pub(in crate::store) struct KeyHead {
    pub(in crate::store) id: KeyId,
    pub(in crate::store) digest: Digest,
    pub(in crate::store) old_digest: Option<Digest>,
    pub(in crate::store) namespace: String,
    pub(in crate::store) revision: u64,
}

impl KeyRecord {
    pub(in crate::store) fn of(key: &Key) -> Self {
        Self {
            name: key.name.clone(),
            first: key.ends.first.clone(),
            last: key.ends.last.clone(),
            created_at: key.created_at.ms(),
            active: key.active,
            suspended: key.suspended,
            spending_limit: key.spending_limit,
            allowed_tools: key.allowed_tools.clone(),
            denied_tools: key.denied_tools.clone(),
            expires_at: key.expires_at.map(Time::ms),
            quota: key.quota,
            tags: key.tags.clone(),
            ip_allowlist: key.ip_allowlist.texts().map(str::to_owned).collect(),
            old_until: key.old.map(|old| old.until.ms()),
            team: key.team.clone(),
        }
    }

    /// The key, or what in its record is none.
    pub(in crate::store) fn key(self, head: KeyHead) -> Result<Key, String> {
        let KeyHead { id, digest, old_digest, namespace, revision } = head;
        let until = self.old_until.map(Time::from_ms);
        // An entry that cannot be read must not open the key to every address.
        let allowlist = IpAllowlist::parse(self.ip_allowlist.iter().map(String::as_str))
            .map_err(|entry| format!("not an address: {entry}"))?;
        Ok(Key {
            id,
            digest,
            ends: KeyEnds { first: self.first, last: self.last },
            old: old_digest.zip(until).map(|(digest, until)| OldCredential { digest, until }),
            name: self.name,
            namespace,
            team: self.team,
            created_at: Time::from_ms(self.created_at),
            active: self.active,
            suspended: self.suspended,
            spending_limit: self.spending_limit,
            allowed_tools: self.allowed_tools,
            denied_tools: self.denied_tools,
            expires_at: self.expires_at.map(Time::from_ms),
            quota: self.quota,
            tags: self.tags,
            ip_allowlist: allowlist,
            revision,
        })
    }
}

/// A team but for its id and revision.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::store) struct TeamRecord {
    name: String,
    description: String,
    namespace: String,
    members: Vec<String>,
    budget: i64,
    quota: Option<Quota>,
    tags: BTreeMap<String, String>,
    created_at: i64,
    active: bool,
}

impl TeamRecord {
    pub(in crate::store) fn of(team: &Team) -> Self {
        Self {
            name: team.name.clone(),
            description: team.description.clone(),
            namespace: team.namespace.clone(),
            members: team.members.iter().map(ToString::to_string).collect(),
            budget: team.budget,
            quota: team.quota,
            tags: team.tags.clone(),
            created_at: team.created_at.ms(),
            active: team.active,
        }
    }

    pub(in crate::store) fn team(self, id: TeamId, revision: u64) -> Team {
        Team {
            id,
            name: self.name,
            description: self.description,
            namespace: self.namespace,
            members: self.members.iter().filter_map(|id| KeyId::parse(id)).collect(),
            budget: self.budget,
            quota: self.quota,
            tags: self.tags,
            created_at: Time::from_ms(self.created_at),
            active: self.active,
            revision,
        }
    }
}

/// An admin token but for its id and digest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::store) struct TokenRecord {
    name: String,
    role: Role,
    namespace: Option<String>,
    created_at: i64,
    created_by: String,
}

impl TokenRecord {
    pub(in crate::store) fn of(token: &AdminToken) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role,
            namespace: token.namespace.clone(),
            created_at: token.created_at.ms(),
            created_by: token.created_by.clone(),
        }
    }

    pub(in crate::store) fn token(self, id: TokenId, digest: Digest) -> AdminToken {
        AdminToken {
            id,
            digest,
            name: self.name,
            role: self.role,
            namespace: self.namespace,
            created_at: Time::from_ms(self.created_at),
            created_by: self.created_by,
        }
    }
}
