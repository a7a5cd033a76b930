//! Labels: what a client says that a call is for, kept with its usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bounds::{LABEL_NAME_CHARS_MAX, LABEL_VALUE_CHARS_MAX, LABELS_MAX};

/// The labels of a request, as a JSON object of short texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// What labels must be, for whoever sent others.
    pub const RULE: &str =
        "must be an object of at most 8 texts, names of 1 to 40 and values of up to 100 characters";

    /// Reads JSON text. `Ok(None)` if it is an empty object; an error if it breaks the rule.
    pub fn parse(json: &str) -> Result<Option<Self>, &'static str> {
        let labels: BTreeMap<String, String> =
            serde_json::from_str(json).map_err(|_| Self::RULE)?;
        let fits = |(name, value): (&String, &String)| {
            (1..=LABEL_NAME_CHARS_MAX).contains(&name.chars().count())
                && value.chars().count() <= LABEL_VALUE_CHARS_MAX
                && !name.chars().chain(value.chars()).any(char::is_control)
        };
        if labels.len() > LABELS_MAX || !labels.iter().all(fits) {
            return Err(Self::RULE);
        }
        if labels.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(&labels).map_err(|_| Self::RULE)?;
        Ok(Some(Self(text.into())))
    }

    /// The JSON object, names in order.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_and_short() {
        let text = |json: &str| Labels::parse(json).map(|labels| labels.map(|l| l.0.to_string()));
        assert_eq!(text("{}"), Ok(None));
        assert_eq!(text(r#"{ "b":"2", "a":"1" }"#), Ok(Some(r#"{"a":"1","b":"2"}"#.to_owned())));
        let many = (0..9).map(|n| format!("\"{n}\":\"x\"")).collect::<Vec<_>>().join(",");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(101));
        for bad in [
            "[]",
            "null",
            r#"{"a":1}"#,
            r#"{"":"x"}"#,
            r#"{"a":"\n"}"#,
            &long,
            &format!("{{{many}}}"),
        ] {
            assert_eq!(text(bad), Err(Labels::RULE), "{bad}");
        }
    }
}
