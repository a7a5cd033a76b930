//! The environment: the weakest source, and the best one for a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;

use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::draft::{Draft, Placed};
use super::problem::{Findings, Place, shown, unknown};

/// The variable that holds the admin key.
pub const ADMIN_KEY_VARIABLE: &str = "PAYGATE_ADMIN_KEY";

/// The variable that holds the key of the client on stdin and stdout.
pub const API_KEY_VARIABLE: &str = "PAYGATE_API_KEY";

/// The variable that says which lines of the log are written.
pub const LOG_VARIABLE: &str = "PAYGATE_LOG";

/// Every variable that Paygate reads.
const VARIABLES: &[&str] = &[ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, LOG_VARIABLE];

const PREFIX: &str = "PAYGATE_";

/// The variables that are meant for Paygate: those that begin with `PAYGATE_`.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Name and value; no value if it is not UTF-8.
    variables: Vec<(String, Option<SecretString>)>,
    /// All others, for values of the file that name them.
    others: BTreeMap<String, Option<SecretString>>,
}

impl Environment {
    /// Reads this process's environment. One of the two functions of `config` that do I/O.
    pub fn read() -> Self {
        Self::from_pairs(env::vars_os())
    }

    /// All that the guarded server may inherit. What is meant for Paygate is taken out where the
    /// server is started.
    pub fn inherited() -> Vec<(OsString, OsString)> {
        env::vars_os().collect()
    }

    /// Takes the environment from the caller.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = pairs.into_iter().filter_map(|(name, value)| {
            let value = value.into().into_string().ok();
            Some((name.into().into_string().ok()?, value.map(SecretString::from)))
        });
        let (mut variables, others): (Vec<_>, _) =
            pairs.partition(|(name, _)| name.starts_with(PREFIX));
        variables.sort_by(|one, other| one.0.cmp(&other.0));
        Self { variables, others: BTreeMap::from_iter(others) }
    }

    /// Puts variables into a value that names them as `${NAME}`, and notes which.
    fn fill_in(&self, value: &str, used: &mut BTreeSet<String>) -> Result<SecretString, String> {
        let mut filled = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err("\"${\" must be followed by a variable's name and \"}\".".to_owned());
            };
            let own = || self.variables.iter().find(|(own, _)| own == name).map(|(_, value)| value);
            let text = match self.others.get(name).or_else(own) {
                Some(Some(text)) => text.expose_secret(),
                Some(None) => return Err(format!("The variable {} is not UTF-8.", shown(name))),
                None => return Err(format!("The variable {} is not set.", shown(name))),
            };
            used.insert(name.to_owned());
            filled.push_str(before);
            filled.push_str(text);
            rest = after;
        }
        filled.push_str(rest);
        check::upstream_header_value(&filled)?;
        Ok(filled.into())
    }

    /// Fills in the headers for a remote server. Returns the names of the variables that it used.
    fn fill_headers(&self, draft: &mut Draft, findings: &mut Findings) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let servers = draft.servers.iter_mut().flat_map(|servers| &mut servers.value).enumerate();
        let of_servers = servers.flat_map(|(index, server)| {
            let in_entry = move |header| (format!("servers[{index}]."), header);
            server.upstream_headers.iter_mut().map(in_entry)
        });
        let of_one = draft.upstream_headers.iter_mut().map(|header| (String::new(), header));
        for (entry, (name, value)) in of_one.chain(of_servers) {
            match self.fill_in(value.value.expose_secret(), &mut used) {
                Ok(filled) => value.value = filled,
                Err(rule) => {
                    let message = format!("Invalid value of \"{}\". {rule}", shown(name));
                    let field = format!("{entry}upstreamHeaders.{}", shown(name));
                    findings.error(value.place, field, message, None);
                }
            }
        }
        used
    }

    /// Fills in what neither flags nor file gave.
    pub(super) fn apply(&self, draft: &mut Draft, findings: &mut Findings) {
        let used = self.fill_headers(draft, findings);
        for (name, value) in &self.variables {
            let text = match value {
                // Compose files set what they have no value for to nothing.
                Some(value)
                    if value.expose_secret().is_empty() && VARIABLES.contains(&name.as_str()) =>
                {
                    continue;
                }
                Some(value) => Ok(value.expose_secret()),
                None => Err("Must be UTF-8.".to_owned()),
            };
            let (what, checked) = match name.as_str() {
                ADMIN_KEY_VARIABLE => {
                    let checked = text.and_then(check::admin_key).map(|value| {
                        draft.admin_key.get_or_insert(Placed { value, place: Place::Nowhere });
                    });
                    ("admin key", checked)
                }
                API_KEY_VARIABLE => {
                    let checked = text.and_then(check::raw_key).map(|value| {
                        draft.api_key.get_or_insert(Placed { value, place: Place::Nowhere });
                    });
                    ("API key", checked)
                }
                LOG_VARIABLE => {
                    ("log filter", text.and_then(check::log).map(|log| draft.log = Some(log)))
                }
                _ if used.contains(name) => continue,
                _ => {
                    let message = unknown("environment variable", name, VARIABLES.iter().copied());
                    findings.warning(Place::Nowhere, shown(name), message, None);
                    continue;
                }
            };
            if let Err(rule) = checked {
                let message = format!("Invalid {what}. {rule}");
                findings.error(Place::Nowhere, name.as_str(), message, None);
            }
        }
    }
}
