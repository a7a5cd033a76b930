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
    /// The list that the pointer names, with these columns: heading and member.
    Table(&'static str, &'static [(&'static str, &'static str)]),
}

impl Shown {
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
    let members: Vec<(&String, String)> = answer
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !is_empty(value) && !is_nested(value))
        .map(|(name, value)| (name, cell(value)))
        .collect();
    let width = members.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in members {
        // Writing to a String cannot fail.
        writeln!(text, "{name:<width$}  {value}").ok();
    }
    text
}

fn table(columns: &[(&str, &str)], rows: &[Value]) -> String {
    if rows.is_empty() {
        return "Nothing.\n".to_owned();
    }
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let cells = |row: &Value| {
        columns.iter().map(|(_, name)| row.get(*name).map(cell).unwrap_or_default()).collect()
    };
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    let width = |index: usize| {
        let cells = lines.iter().filter_map(|line| line.get(index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
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
