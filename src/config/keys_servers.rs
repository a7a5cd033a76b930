//! The registry of the keys of an entry of `servers`, and how the list is read.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value;
use secrecy::SecretString;

use super::check;
use super::draft::{Draft, Placed};
use super::entry::Entry;
use super::file::walk;
use super::key::{Fallback, Key, Kind};
use super::keys::key;
use super::keys_inside::{child_env, remote_url, upstream_headers};
use super::problem::{Findings, Place};

/// One of several servers, before it is known to be whole.
#[derive(Debug)]
pub(super) struct ServerDraft {
    pub(super) place: Place,
    pub(super) prefix: Option<Placed<String>>,
    pub(super) server_command: Option<Placed<String>>,
    pub(super) server_args: Option<Placed<Vec<String>>>,
    pub(super) remote_url: Option<Placed<String>>,
    pub(super) upstream_headers: Vec<(String, Placed<SecretString>)>,
    pub(super) child_env: BTreeMap<String, SecretString>,
    pub(super) disabled: bool,
    /// Something of it was refused: it has its own error.
    pub(super) is_refused: bool,
}

/// The keys of an entry of `servers`.
pub(super) static SERVERS: &[Key<ServerDraft>] = &[
    key(
        "prefix",
        Kind::Text,
        Fallback::Words("none; needed"),
        "",
        "What the names of its tools and prompts begin with, before `toolSeparator`.",
        |server, entry, findings| {
            let prefix = entry.text(findings, |text| Ok(text.to_owned()));
            server.prefix = entry.placed(prefix);
        },
    ),
    key(
        "serverCommand",
        Kind::Text,
        Fallback::Words("none"),
        "",
        "Its program, as above.",
        |server, entry, findings| {
            let command = entry.text(findings, check::command);
            server.is_refused |= command.is_none();
            server.server_command = entry.placed(command);
        },
    ),
    key(
        "serverArgs",
        Kind::Shape("list of texts"),
        Fallback::Words("none"),
        "",
        "Its arguments, as above.",
        |server, entry, findings| {
            let args = entry.texts(findings, check::argument);
            server.is_refused |= args.is_none();
            let args = args.map(|args| args.into_iter().map(|arg| arg.value).collect());
            server.server_args = entry.placed(args);
        },
    ),
    key(
        "childEnv",
        Kind::Shape("object: variable to text"),
        Fallback::Words("none"),
        "",
        "Environment for this server alone, beside the general `childEnv`, over which it wins.",
        |server, entry, findings| child_env(&mut server.child_env, entry, findings),
    ),
    key(
        "disabled",
        Kind::Switch,
        Fallback::Text("false"),
        "",
        "Keep the entry in the file and the server out of service.",
        |server, entry, findings| server.disabled = entry.switch(findings).unwrap_or(false),
    ),
    key(
        "remoteUrl",
        Kind::Secret,
        Fallback::Words("none"),
        "",
        "Where it is, in the place of `serverCommand`, as above.",
        |server, entry, findings| {
            server.remote_url = remote_url(entry, findings);
            server.is_refused |= server.remote_url.is_none();
        },
    ),
    key(
        "upstreamHeaders",
        Kind::Shape("object: header to text"),
        Fallback::Words("none"),
        "",
        "Headers of every request to it, as above. Those of one server are sent to no other.",
        |server, entry, findings| upstream_headers(&mut server.upstream_headers, entry, findings),
    ),
];

pub(super) fn read_servers(draft: &mut Draft, entry: &Entry<'_>, findings: &mut Findings) {
    let Value::Array(array) = entry.value else {
        let message = "Must be a list of objects: [{\"prefix\": …, \"serverCommand\": …}, …].";
        return entry.refuse(findings, message, None);
    };
    let mut servers = Vec::new();
    for (index, element) in array.elements.iter().enumerate() {
        let mut member = entry.member(&format!("[{index}]"), element);
        member.subject = format!("servers[{index}]");
        let Some(object) = member.object(findings) else { continue };
        let subject = |key: &str| format!("{key} of servers[{index}]");
        let mut server = ServerDraft {
            place: member.place(),
            prefix: None,
            server_command: None,
            server_args: None,
            remote_url: None,
            upstream_headers: Vec::new(),
            child_env: BTreeMap::new(),
            disabled: false,
            is_refused: false,
        };
        walk(object, &member, SERVERS, &subject, &mut server, findings);
        servers.push(server);
    }
    // One that is no object has its own error, and would put the others out of their places.
    let is_whole = servers.len() == array.elements.len();
    draft.servers = entry.placed(is_whole.then_some(servers));
}
