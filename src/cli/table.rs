//! Answers of the admin API as people read them: lists as tables, anything else as names and values.

use std::fmt::Write as _;

use serde_json::Value;

/// How an answer is shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// Every member of it that is a single value, a line each.
    Members,
    /// The same of what this pointer names.
    MembersOf(&'static str),
    /// The list that the pointer names, with these columns.
    Table(&'static str, Columns),
}

/// Heading and member of each column.
pub(super) type Columns = &'static [(&'static str, &'static str)];

impl Shown {
    /// What stands in the place of an empty table.
    pub(super) const NOTHING: &str = "Nothing.\n";

    /// The text for a terminal, without control characters of anybody's.
    pub(super) fn text(&self, answer: &Value) -> String {
        match self {
            Self::Members => members(answer),
            Self::MembersOf(pointer) => members(answer.pointer(pointer).unwrap_or(answer)),
            Self::Table(pointer, columns) => {
                let rows = answer.pointer(pointer).and_then(Value::as_array);
                table(columns, rows.map(Vec::as_slice).unwrap_or_default())
            }
        }
    }
}

fn members(answer: &Value) -> String {
    let members = answer.as_object().into_iter().flatten();
    let members = members.filter(|(_, value)| !is_nested(value));
    let members: Vec<(&str, &Value)> =
        members.map(|(name, value)| (name.as_str(), value)).collect();
    pairs(&members)
}

/// Names and values, a line each; without those that are empty.
pub(super) fn pairs(pairs: &[(&str, &Value)]) -> String {
    let pairs = || pairs.iter().filter(|(_, value)| !is_empty(value));
    let width = pairs().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs() {
        // Writing to a String cannot fail.
        writeln!(text, "{name:<width$}  {}", cell(value)).ok();
    }
    text
}

fn table(columns: Columns, rows: &[Value]) -> String {
    if rows.is_empty() {
        return Shown::NOTHING.to_owned();
    }
    Rows::new(columns, &[]).text(rows)
}

/// A table whose rows come in several parts. Columns are as wide as the first part needs them.
pub(super) struct Rows {
    columns: Columns,
    widths: Vec<usize>,
    is_begun: bool,
}

impl Rows {
    /// Each column at least so wide.
    pub(super) fn new(columns: Columns, widths: &[usize]) -> Self {
        Self { columns, widths: widths.to_vec(), is_begun: false }
    }

    /// Was there no row?
    pub(super) const fn is_empty(&self) -> bool {
        !self.is_begun
    }

    /// The next rows, below the headings if they are the first.
    pub(super) fn text(&mut self, rows: &[Value]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let cells = |row: &Value| {
            self.columns
                .iter()
                .map(|(_, name)| row.get(*name).map(cell).unwrap_or_default())
                .collect()
        };
        let mut lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
        if !std::mem::replace(&mut self.is_begun, true) {
            let heading = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
            lines.insert(0, heading);
            let widest = |index: usize| {
                let cells = lines.iter().filter_map(|line| line.get(index));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(self.widths.get(index).copied().unwrap_or(0))
            };
            self.widths = (0..self.columns.len()).map(widest).collect();
        }
        let mut text = String::new();
        for line in &lines {
            let padded =
                line.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Does it hold what needs a table of its own? That is for `--json`.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(Value::is_object),
        Value::Object(members) => members.values().any(Value::is_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A text of somebody's, without what would control a terminal; it keeps its lines.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect()
}

/// A value on one line.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => elements.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let pairs = members.iter().map(|(name, value)| format!("{name}={}", cell(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    };
    text.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_hold_no_control_characters() {
        let shown = Shown::Table("/keys", &[("NAME", "name"), ("OPEN", "open")]);
        let answer = json!({"keys": [{"name": "ü\u{1b}[2J", "open": true}, {"name": "longer"}]});
        assert_eq!(shown.text(&answer), "NAME    OPEN\nü[2J    yes\nlonger\n");
        assert_eq!(shown.text(&json!({"keys": []})), "Nothing.\n");
        let one = json!({"id": "a", "tags": {}, "list": ["b", "c"], "none": null});
        assert_eq!(Shown::Members.text(&one), "id    a\nlist  b, c\n");
    }
}
