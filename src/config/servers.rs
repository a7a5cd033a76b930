//! Several servers: the checks that need the whole list.

use super::check;
use super::draft::{Draft, Placed};
use super::finish::server_command;
use super::keys_servers::ServerDraft;
use super::problem::{Findings, Place, shown};
use super::settings::{self, Isolation, RemoteUrl, Server, ServerKind, Several};
use crate::model::bounds;
use crate::upstream::Names;

/// A session that needs more processes than there may be could never begin.
fn refuse_too_few_places(draft: &Draft, place: Place, servers: &[Server], findings: &mut Findings) {
    let is_process = |server: &&Server| matches!(server.kind, ServerKind::Command { .. });
    let needed = servers.iter().filter(is_process).count();
    let shared = draft.isolation == Some(Isolation::Shared);
    let max = draft.children_max.and_then(|max| usize::try_from(max).ok());
    if let Some(max) = max.filter(|max| !shared && *max < needed) {
        let message = format!(
            "maxChildren is {max}, but a session starts {needed} of these servers. No session could begin."
        );
        let hint = format!("set maxChildren to {needed} or more, or isolation to \"shared\"");
        findings.error(place, "servers", message, Some(hint));
    }
}

/// All servers that are in service. `None` if something is wrong; then it is among the findings.
pub(super) fn several(
    draft: &Draft,
    drafts: &Placed<Vec<ServerDraft>>,
    findings: &mut Findings,
) -> Option<Several> {
    let place = drafts.place;
    let mut refuse = |message: String| findings.error(place, "servers", message, None);
    if drafts.value.is_empty() {
        refuse("servers[] is empty. Name at least one server.".to_owned());
        return None;
    }
    if drafts.value.len() > bounds::SERVERS_MAX {
        refuse(format!("Must be at most {} servers.", bounds::SERVERS_MAX));
        return None;
    }
    if drafts.value.iter().all(|server| server.disabled) {
        refuse("Every server is disabled. Put at least one into service.".to_owned());
    }
    let mut servers = Vec::new();
    for (index, server) in drafts.value.iter().enumerate() {
        let before = drafts.value.get(..index).unwrap_or_default();
        let prefix = prefix(index, server, before, findings);
        let kind = kind(index, server, findings);
        if let (Some(prefix), Some(kind), false) = (prefix, kind, server.disabled) {
            servers.push(Server { prefix, kind });
        }
    }
    let separator = separator(draft, place, findings);
    let names = Names::new(&separator, drafts.value.iter().map(written));
    if let Some((earlier, later)) = names.ambiguous()
        && let Some([one, other]) =
            drafts.value.get(earlier).zip(drafts.value.get(later)).map(|(a, b)| [a, b])
        && written(one) != written(other)
    {
        let message = format!(
            "\"{}\" and \"{}\" leave open whose a name is: with \"{}\" behind it one begins the other.",
            shown(written(one)),
            shown(written(other)),
            shown(&separator)
        );
        let hint = "choose another prefix or another toolSeparator".to_owned();
        findings.error(other.place, format!("servers[{later}].prefix"), message, Some(hint));
    }
    refuse_too_few_places(draft, place, &servers, findings);
    refuse_common_headers(draft, findings);
    warn_of_prices(draft, &names, findings);
    Some(Several { separator, servers })
}

fn written(server: &ServerDraft) -> &str {
    server.prefix.as_ref().map(|prefix| prefix.value.as_str()).unwrap_or_default()
}

fn prefix(
    index: usize,
    server: &ServerDraft,
    before: &[ServerDraft],
    findings: &mut Findings,
) -> Option<String> {
    let field = format!("servers[{index}].prefix");
    let Some(prefix) = server.prefix.as_ref().filter(|prefix| !prefix.value.is_empty()) else {
        let message = format!("Server at index {index} is missing required \"prefix\" field.");
        findings.error(server.place, field, message, None);
        return None;
    };
    let text = &prefix.value;
    let name = shown(text);
    if before.iter().any(|other| written(other) == text) {
        let message =
            format!("Duplicate prefix \"{name}\". Each server must have a unique prefix.");
        findings.error(prefix.place, field, message, None);
        return None;
    }
    if let Err(rule) = check::prefix(text) {
        let message = format!("Invalid server prefix: \"{name}\". {rule}");
        findings.error(prefix.place, field, message, None);
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.chars().all(is_plain) {
        let message = format!(
            "Prefix \"{name}\" contains special characters. Recommended: alphanumeric, hyphens, \
             underscores."
        );
        findings.warning(prefix.place, field, message, None);
    }
    Some(text.clone())
}

/// What is set for a kind of server that it is not would do nothing, and must not look as if it did.
fn kind(index: usize, server: &ServerDraft, findings: &mut Findings) -> Option<ServerKind> {
    let entry = format!("servers[{index}]");
    let named = match written(server) {
        "" => index.to_string(),
        prefix => shown(prefix),
    };
    let mut refuse = |place: Place, field: &str, message: String| {
        findings.error(place, format!("{entry}{field}"), message, None);
    };
    match (&server.server_command, &server.remote_url) {
        (Some(_), Some(_)) => {
            let message =
                format!("Server \"{named}\" has both serverCommand and remoteUrl. Use one.");
            refuse(server.place, "", message);
            None
        }
        (Some(command), None) => {
            if let Some((_, header)) = server.upstream_headers.first() {
                let message = "upstreamHeaders is set but remoteUrl is not.".to_owned();
                refuse(header.place, ".upstreamHeaders", message);
            }
            let field = format!("{entry}.serverCommand");
            let args = server.server_args.as_ref();
            let command = server_command(&field, command, args, findings)?;
            Some(ServerKind::Command { command, child_env: server.child_env.clone() })
        }
        (None, _) if server.is_refused => None,
        (None, Some(url)) => {
            if let Some(args) = &server.server_args {
                let message = "serverArgs is set but serverCommand is not.".to_owned();
                refuse(args.place, ".serverArgs", message);
            }
            if !server.child_env.is_empty() {
                let message = "childEnv is for a server that Paygate starts; remoteUrl names one \
                               that runs elsewhere.";
                refuse(server.place, ".childEnv", message.to_owned());
            }
            let headers = server.upstream_headers.iter();
            let headers =
                headers.map(|(name, value)| (name.clone(), value.value.clone())).collect();
            Some(ServerKind::Remote { url: RemoteUrl(url.value.clone()), headers })
        }
        (None, None) => {
            let message = format!("Server \"{named}\" has no serverCommand or remoteUrl.");
            refuse(server.place, "", message);
            None
        }
    }
}

/// One secret for all of them would go to servers that it is not meant for.
fn refuse_common_headers(draft: &Draft, findings: &mut Findings) {
    if let Some((_, header)) = draft.upstream_headers.first() {
        let message = "upstreamHeaders is for a single remoteUrl.";
        let hint = "write them into the entries of servers[] that need them".to_owned();
        findings.error(header.place, "upstreamHeaders", message, Some(hint));
    }
}

/// What stands between a prefix and a name. One that some vendors refuse is allowed: other clients
/// never show it to a model.
fn separator(draft: &Draft, servers: Place, findings: &mut Findings) -> String {
    let given = draft.tool_separator.as_ref();
    let separator = given.map_or(settings::TOOL_SEPARATOR_DEFAULT, |given| given.value.as_str());
    if !Names::is_accepted(separator) {
        let separator = shown(separator);
        let message = format!(
            "Several model vendors refuse tools with names such as \"server{separator}tool\": they \
             take letters, digits, \"_\" and \"-\" only, 64 at most."
        );
        let hint = "\"toolSeparator\": \"__\" makes names that all of them take".to_owned();
        let place = given.map_or(servers, |given| given.place);
        findings.warning(place, "toolSeparator", message, Some(hint));
    }
    separator.to_owned()
}

/// A price for a name that no server can have is a tool sold for the default price.
fn warn_of_prices(draft: &Draft, names: &Names, findings: &mut Findings) {
    for tool in draft.tools.keys() {
        if names.misnamed(tool, None).is_some() {
            let message = "No server's tools have names that begin like this. The price holds for \
                           nothing.";
            let hint = "write the prefix, the separator, and the tool's own name".to_owned();
            let field = format!("toolPricing.{}", shown(tool));
            findings.warning(Place::Nowhere, field, message, Some(hint));
        }
    }
}
