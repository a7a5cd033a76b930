//! The members that making a key and changing one have in common.

use std::collections::BTreeMap;

use crate::admin::wire::answer::Problem;
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::fields;
use crate::model::key::{IpAllowlist, Quota};

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Name of a key that is made without one.
const NAME_DEFAULT: &str = "unnamed";

/// `name`; a default if there is none.
pub(in crate::admin) fn name(members: &Members<'_>) -> Result<String, Problem> {
    let name = match members.get("name")? {
        Json::Null => String::new(),
        Json::Text(text) => text,
        Json::Number(text) => text.to_owned(),
        Json::Bool(_) | Json::List(_) | Json::Object(_) => {
            return Err(Problem::bad("name must be a string"));
        }
    };
    let name = fields::cut(&name, NAME_CHARS_MAX).trim();
    Ok(if name.is_empty() { NAME_DEFAULT } else { name }.to_owned())
}

/// `tags`, over those that are there: `null` removes one, or all.
pub(in crate::admin) fn changed_tags(
    members: &Members<'_>,
    mut tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problem> {
    match members.get("tags")? {
        Json::Null => tags.clear(),
        Json::Object(given) => {
            fields::merge_tags(&mut tags, &Members::of_object(given, "tags")?)?;
        }
        Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            return Err(Problem::bad("tags must be an object"));
        }
    }
    Ok(tags)
}

/// `ipAllowlist`.
pub(in crate::admin) fn addresses(members: &Members<'_>) -> Result<IpAllowlist, Problem> {
    let name = "ipAllowlist";
    let entries = fields::strings(&members.get(name)?, name, IpAllowlist::ENTRIES_MAX)?;
    fields::addresses(&entries.unwrap_or_default(), name)
}

/// `quota`: a whole one, or none.
pub(in crate::admin) fn quota(members: &Members<'_>) -> Result<Option<Quota>, Problem> {
    let Some(given) = quota_members(members)? else { return Ok(None) };
    let quota = fields::quota(&given)?;
    quota.ok_or_else(|| Problem::bad(fields::QUOTA_EMPTY)).map(Some)
}

/// The members of `quota`; `None` for `null`.
pub(in crate::admin) fn quota_members<'a>(
    members: &Members<'a>,
) -> Result<Option<Members<'a>>, Problem> {
    match members.get("quota")? {
        Json::Null => Ok(None),
        Json::Object(quota) => {
            let quota = Members::of_object(quota, "quota")?;
            quota.refuse_unknown(&fields::QUOTA_FIELDS)?;
            Ok(Some(quota))
        }
        Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(Problem::bad("quota must be an object"))
        }
    }
}
