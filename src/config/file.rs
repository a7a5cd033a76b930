//! Reads the configuration file: JSON with comments.
//!
//! The text is parsed once into a tree that knows its positions, and one walk over it, led by the
//! registry in `keys`, finds every problem. A key that nobody knows, that is given twice or whose
//! feature this version lacks is an error: a setting that is silently not in force costs money.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::draft::Draft;
use super::entry::{Entry, Source, unknown_key};
use super::key::{Key, Kind, Read};
use super::keys::TOP_LEVEL;
use super::named::Named;
use super::problem::{Findings, shown};
use crate::model::bounds::CONFIG_FILE_BYTES_MAX;

/// Reads the file's text. One of the two functions of `config` that do I/O.
pub fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let size = File::open(path)?.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(size).unwrap_or(u64::MAX) > CONFIG_FILE_BYTES_MAX {
        let message = format!("the file is larger than {CONFIG_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Checks the file's text. An error is the rest of a sentence that begins with the file's name.
pub(super) fn parse(
    text: &str,
    named: Named<'_>,
    findings: &mut Findings,
) -> Result<Draft, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source { text, named };
    let tree = parse_to_ast(text, &CollectOptions::default(), &parse_options())
        .map_err(|fault| {
            let (line, column) = (fault.line_display(), fault.column_display());
            format!(":{line}:{column}: {}", fault.kind())
        })?
        .value
        .ok_or_else(|| ": the file is empty; it must hold an object: {…}".to_owned())?;
    let Value::Object(object) = &tree else {
        return Err(": the file must hold an object: {…}".to_owned());
    };
    let root = Entry {
        source,
        field: String::new(),
        subject: String::new(),
        kind: Kind::Shape(""),
        value: &tree,
    };
    let mut draft = Draft::default();
    let subject = |name: &str| name.to_owned();
    walk(object, &root, TOP_LEVEL, &subject, &mut draft, findings);
    let is_there = |key: &str| object.get(key).is_some();
    draft.backend_refused = (is_there("remoteUrl") && draft.remote_url.is_none())
        || (is_there("servers") && draft.servers.is_none())
        || (is_there("serverCommand") && draft.server_command.is_none());
    Ok(draft)
}

/// Plain JSON, and what people who edit by hand need: comments and a comma after the last member.
fn parse_options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Reads the members of one object by its registry. `subject` is what messages call a key there.
pub(super) fn walk<T>(
    object: &Object<'_>,
    parent: &Entry<'_>,
    keys: &'static [Key<T>],
    subject: &dyn Fn(&str) -> String,
    target: &mut T,
    findings: &mut Findings,
) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for property in &object.properties {
        let written = property.name.as_str();
        let place = parent.source.place(property.start());
        let field = match parent.field.as_str() {
            "" => shown(written),
            path => format!("{path}.{}", shown(written)),
        };
        let known = |key: &&Key<T>| written == key.name || written == key.alias;
        let Some(key) = keys.iter().find(|key| !written.is_empty() && known(key)) else {
            let names = keys.iter().filter(|key| matches!(key.read, Read::With(_)));
            let message = unknown_key(written, names.map(|key| key.name));
            findings.error(place, field, message, None);
            continue;
        };
        if let Some(first) = seen.insert(key.name, written) {
            let message = if first == written {
                "Given twice.".to_owned()
            } else {
                format!("Given twice: \"{first}\" is the same.")
            };
            findings.error(place, field, message, None);
            continue;
        }
        match key.read {
            Read::With(read) => {
                let entry = Entry {
                    source: parent.source,
                    field,
                    subject: subject(written),
                    kind: key.kind,
                    value: &property.value,
                };
                read(target, &entry, findings);
            }
            Read::NotBuilt => {
                let hint = "remove it to start".to_owned();
                findings.error(place, field, not_built(key.about), Some(hint));
            }
        }
    }
}

/// The message for a key or flag whose feature is not built.
pub(super) fn not_built(feature: &str) -> String {
    format!("This version of Paygate does not have this feature yet: {feature}.")
}
