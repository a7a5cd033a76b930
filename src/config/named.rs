//! Values that the file names and does not hold: `${NAME}` is an environment variable,
//! `${file:PATH}` the content of a file without the end of its last line, and `$${` is `${` itself.
//!
//! They are put into every text of the file before it is read further, so that a secret, or whatever
//! differs from one machine to the next, need not be written down there.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::environment::{Environment, Unreadable};
use super::problem::{Findings, shown};

/// What precedes the path of a file in the place of a variable's name.
const FILE: &str = "file:";

/// Where such values come from.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) environment: &'a Environment,
    pub(super) read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Named(…)")
    }
}

/// Where books are, as a flag says it: `${NAME}` keeps a password out of the list of processes.
pub(super) fn place(text: &str) -> Result<SecretString, String> {
    let environment = Environment::read();
    let named = Named { environment: &environment, read_file: &super::read_file };
    named.fill_in(text, true, &mut Findings::default()).map(|text| text.into_owned().into())
}

impl Named<'_> {
    /// Puts values into a text that names them, and notes which variables were used, and which of them
    /// for a secret of Paygate.
    pub(super) fn fill_in<'t>(
        &self,
        text: &'t str,
        is_secret: bool,
        findings: &mut Findings,
    ) -> Result<Cow<'t, str>, String> {
        if !text.contains("${") {
            return Ok(Cow::Borrowed(text));
        }
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = after;
                continue;
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err("\"${\" must be followed by a variable's name and \"}\".".to_owned());
            };
            filled.push_str(before);
            match name.strip_prefix(FILE) {
                Some(path) => filled.push_str(&self.content(Path::new(path))?),
                None => filled.push_str(self.variable(name, is_secret, findings)?),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(Cow::Owned(filled))
    }

    /// The content of a file that holds one value, without the end of its last line.
    pub(super) fn content(&self, path: &Path) -> Result<String, String> {
        let mut text = (self.read_file)(path).map_err(|fault| {
            format!("The file {} cannot be read: {fault}.", shown(&path.display().to_string()))
        })?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }

    fn variable(
        &self,
        name: &str,
        is_secret: bool,
        findings: &mut Findings,
    ) -> Result<&str, String> {
        match self.environment.variable(name) {
            Ok(text) => {
                findings.note_used(name, is_secret);
                Ok(text.expose_secret())
            }
            Err(Unreadable::NotUtf8) => Err(format!("The variable {} is not UTF-8.", shown(name))),
            Err(Unreadable::NotSet) => Err(format!("The variable {} is not set.", shown(name))),
        }
    }
}
