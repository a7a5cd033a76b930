//! The environment: the weakest source, and the best one for a secret.

use std::env;
use std::ffi::OsString;

use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::draft::{Draft, Placed};
use super::problem::{Findings, Place, shown, unknown};

/// The variable that holds the admin key.
pub const ADMIN_KEY_VARIABLE: &str = "PAYGATE_ADMIN_KEY";

/// Every variable that Paygate reads.
const VARIABLES: &[&str] = &[ADMIN_KEY_VARIABLE];

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
            if name != ADMIN_KEY_VARIABLE {
                let message = unknown("environment variable", name, VARIABLES.iter().copied());
                findings.warning(Place::Nowhere, shown(name), message, None);
                continue;
            }
            let checked = match value {
                // Compose files set what they have no value for to nothing.
                Some(value) if value.expose_secret().is_empty() => continue,
                Some(value) => check::admin_key(value.expose_secret()),
                None => Err("Must be UTF-8.".to_owned()),
            };
            match checked {
                Ok(value) if draft.admin_key.is_none() => {
                    draft.admin_key = Some(Placed { value, place: Place::Nowhere });
                }
                Ok(_) => {}
                Err(rule) => {
                    let message = format!("Invalid admin key. {rule}");
                    findings.error(Place::Nowhere, name.as_str(), message, None);
                }
            }
        }
    }
}
