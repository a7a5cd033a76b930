//! The environment: the weakest source, and the best one for a secret.

use std::env;
use std::ffi::OsString;

use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::draft::{Draft, Placed};
use super::problem::{Findings, Place, shown, unknown};

/// The variable that holds the admin key.
pub const ADMIN_KEY_VARIABLE: &str = "PAYGATE_ADMIN_KEY";

/// The variable that says which lines of the log are written.
pub const LOG_VARIABLE: &str = "PAYGATE_LOG";

/// Every variable that Paygate reads.
const VARIABLES: &[&str] = &[ADMIN_KEY_VARIABLE, LOG_VARIABLE];

const PREFIX: &str = "PAYGATE_";

/// The variables that are meant for Paygate: those that begin with `PAYGATE_`.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Name and value; no value if it is not UTF-8.
    variables: Vec<(String, Option<SecretString>)>,
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
        let mut variables: Vec<_> = pairs
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name.into().into_string().ok()?;
                name.starts_with(PREFIX).then(|| {
                    let value = value.into().into_string().ok();
                    (name, value.map(SecretString::from))
                })
            })
            .collect();
        variables.sort_by(|one, other| one.0.cmp(&other.0));
        Self { variables }
    }

    /// Fills in what neither flags nor file gave.
    pub(super) fn apply(&self, draft: &mut Draft, findings: &mut Findings) {
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
                LOG_VARIABLE => {
                    ("log filter", text.and_then(check::log).map(|log| draft.log = Some(log)))
                }
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
