//! The environment: the weakest source, and the best one for a secret.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::draft::{Draft, Placed};
use super::named::Named;
use super::problem::{Findings, Place, shown, unknown};

/// The variable that holds the admin key.
pub const ADMIN_KEY_VARIABLE: &str = "PAYGATE_ADMIN_KEY";

/// The variable that names a file with the admin key.
pub const ADMIN_KEY_FILE_VARIABLE: &str = "PAYGATE_ADMIN_KEY_FILE";

/// The variable that holds the key of the client on stdin and stdout.
pub const API_KEY_VARIABLE: &str = "PAYGATE_API_KEY";

/// The variable that says where a running Paygate is, for the commands that speak to one.
pub(super) const URL_VARIABLE: &str = "PAYGATE_URL";

/// The variable that names a file of certificates, for the commands that speak to a running Paygate.
pub(super) const CA_VARIABLE: &str = "PAYGATE_CA";

/// The variable that says which lines of the log are written.
pub const LOG_VARIABLE: &str = "PAYGATE_LOG";

/// Every variable that Paygate reads.
const VARIABLES: &[&str] = &[
    ADMIN_KEY_VARIABLE,
    ADMIN_KEY_FILE_VARIABLE,
    API_KEY_VARIABLE,
    CA_VARIABLE,
    LOG_VARIABLE,
    URL_VARIABLE,
];

const PREFIX: &str = "PAYGATE_";

/// The variables that are meant for Paygate: those that begin with `PAYGATE_`.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Name and value; no value if it is not UTF-8.
    variables: Vec<(String, Option<SecretString>)>,
    /// All others, for values of the file that name them.
    others: BTreeMap<String, Option<SecretString>>,
}

/// Why a variable gives no text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unreadable {
    NotSet,
    NotUtf8,
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

    /// A variable's value.
    pub(super) fn variable(&self, name: &str) -> Result<&SecretString, Unreadable> {
        let own = || self.variables.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        let value = self.others.get(name).or_else(own).ok_or(Unreadable::NotSet)?;
        value.as_ref().ok_or(Unreadable::NotUtf8)
    }

    /// Where a running Paygate is, for the commands that speak to one.
    pub fn url(&self) -> Option<&str> {
        self.given(URL_VARIABLE).map(ExposeSecret::expose_secret)
    }

    /// The key to its admin API: in a variable, or in a file that one names.
    pub fn admin_key(
        &self,
        read_file: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Option<SecretString>, String> {
        if let Some(key) = self.given(ADMIN_KEY_VARIABLE) {
            return Ok(Some(key.clone()));
        }
        let Some(path) = self.given(ADMIN_KEY_FILE_VARIABLE) else { return Ok(None) };
        let named = Named { environment: self, read_file: &read_file };
        let key = named.content(Path::new(path.expose_secret()));
        key.map(|key| Some(key.into())).map_err(|why| format!("{ADMIN_KEY_FILE_VARIABLE}: {why}"))
    }

    /// A customer's API key.
    pub fn api_key(&self) -> Option<&SecretString> {
        self.given(API_KEY_VARIABLE)
    }

    fn given(&self, name: &str) -> Option<&SecretString> {
        self.variable(name).ok().filter(|value| !value.expose_secret().is_empty())
    }

    /// The authority of a running Paygate's certificate, for the same commands.
    pub fn ca_of_operator(&self) -> Option<PathBuf> {
        let ca = self.variable(CA_VARIABLE).ok()?.expose_secret();
        (!ca.is_empty()).then(|| PathBuf::from(ca))
    }

    /// Fills in what neither flags nor file gave.
    pub(super) fn apply(&self, draft: &mut Draft, named: Named<'_>, findings: &mut Findings) {
        for (name, value) in &self.variables {
            let text = match value {
                // Compose files set what they have no value for to nothing.
                Some(value)
                    if value.expose_secret().is_empty() && VARIABLES.contains(&name.as_str()) =>
                {
                    continue;
                }
                Some(value) => Ok(value.expose_secret()),
                None => Err("Must be UTF-8."),
            };
            let (what, checked) = match name.as_str() {
                ADMIN_KEY_VARIABLE => {
                    let checked =
                        text.map_err(str::to_owned).and_then(check::admin_key).map(|value| {
                            draft.admin_key.get_or_insert(Placed { value, place: Place::Nowhere });
                        });
                    ("admin key", checked)
                }
                ADMIN_KEY_FILE_VARIABLE => {
                    let content = text.map_err(str::to_owned);
                    let content = content.and_then(|path| named.content(Path::new(path)));
                    let checked = content.and_then(|text| check::admin_key(&text)).map(|value| {
                        draft.admin_key.get_or_insert(Placed { value, place: Place::Nowhere });
                    });
                    ("file with the admin key", checked)
                }
                API_KEY_VARIABLE => {
                    let checked =
                        text.map_err(str::to_owned).and_then(check::raw_key).map(|value| {
                            draft.api_key.get_or_insert(Placed { value, place: Place::Nowhere });
                        });
                    ("API key", checked)
                }
                LOG_VARIABLE => (
                    "log filter",
                    text.map_err(str::to_owned)
                        .and_then(check::log)
                        .map(|log| draft.log = Some(log)),
                ),
                // For other commands.
                URL_VARIABLE | CA_VARIABLE => continue,
                _ if findings.was_used(name) => continue,
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
