//! Arguments of a tool that its schema wants repeated in headers (`x-mcp-header`).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Headers, Mirror, Unfit, encoded};
use crate::model::bounds::SCHEMA_DEPTH_MAX;

/// Which headers repeat which arguments of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamHeaders {
    headers: Vec<ParamHeader>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ParamHeader {
    /// The part behind `Mcp-Param-`, in lower case.
    name: String,
    /// The names that lead to the argument.
    path: Vec<String>,
    is_integer: bool,
}

impl ParamHeaders {
    /// What a tool's input schema asks for. A schema that asks for it wrongly asks for nothing:
    /// clients must not offer such a tool.
    pub fn of_schema(schema: &str) -> Self {
        if !schema.contains("x-mcp-header") {
            return Self::default();
        }
        let Ok(Value::Object(schema)) = serde_json::from_str(schema) else {
            return Self::default();
        };
        let mut headers = Vec::new();
        let sound = collect(&schema, &mut Vec::new(), &mut headers);
        Self { headers: if sound { headers } else { Vec::new() } }
    }

    /// Does the schema ask for none?
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The headers that repeat the arguments (JSON text): names and values.
    pub fn of_arguments(&self, arguments: Option<&str>) -> Vec<(String, String)> {
        let arguments = object(arguments);
        let header = |header: &ParamHeader| {
            let value = header.value_in(&arguments).and_then(written)?;
            let whole = header.is_integer.then(|| integer(&value)).flatten();
            let value = whole.map_or(value, |whole| whole.to_string());
            Some((format!("mcp-param-{}", header.name), encoded(&value).into_owned()))
        };
        self.headers.iter().filter_map(header).collect()
    }

    /// Do the headers say what the arguments (JSON text) say?
    pub fn check(&self, arguments: Option<&str>, headers: &Headers) -> Result<(), Unfit> {
        if self.is_empty() || headers.are_none {
            return Ok(());
        }
        let arguments = object(arguments);
        for header in &self.headers {
            let sent = headers.params.iter().find(|(name, _)| *name == header.name);
            let sent = sent.map_or(&Mirror::Absent, |(_, value)| value);
            if !header.agrees(header.value_in(&arguments), sent) {
                let (name, argument) = (&header.name, header.path.join("."));
                let message = format!("Mcp-Param-{name} is not the argument \"{argument}\"");
                return Err(Unfit::mismatch(&message));
            }
        }
        Ok(())
    }
}

impl ParamHeader {
    fn value_in<'a>(&self, arguments: &'a Value) -> Option<&'a Value> {
        self.path.iter().try_fold(arguments, |value, name| value.get(name))
    }

    fn agrees(&self, value: Option<&Value>, sent: &Mirror) -> bool {
        let Some(expected) = value.and_then(written) else { return sent.is_absent() };
        let Some(decoded) = sent.decoded() else { return false };
        if decoded == expected {
            return true;
        }
        // 42 and 42.0 are the same integer.
        let both = (integer(&decoded), integer(&expected));
        self.is_integer && matches!(both, (Some(one), Some(other)) if one == other)
    }
}

fn object(arguments: Option<&str>) -> Value {
    let arguments = arguments.and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
    Value::Object(arguments.unwrap_or_default())
}

/// A value as a header repeats it; nothing for what has no header.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
    }
}

/// A decimal number without a fraction.
fn integer(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain && decimal { whole.parse().ok() } else { None }
}

/// Adds the annotations below a schema; false if one is not sound.
fn collect(
    schema: &Map<String, Value>,
    path: &mut Vec<String>,
    headers: &mut Vec<ParamHeader>,
) -> bool {
    if path.len() > SCHEMA_DEPTH_MAX {
        return false;
    }
    let Some(Value::Object(properties)) = schema.get("properties") else { return true };
    for (name, property) in properties {
        let Value::Object(property) = property else { continue };
        path.push(name.clone());
        let sound = match property.get("x-mcp-header") {
            None => true,
            Some(annotation) => match annotated(annotation, property, path) {
                Some(header) => {
                    let is_new = headers.iter().all(|known| known.name != header.name);
                    headers.push(header);
                    is_new
                }
                None => false,
            },
        };
        let sound = sound && collect(property, path, headers);
        path.pop();
        if !sound {
            return false;
        }
    }
    true
}

fn annotated(
    annotation: &Value,
    property: &Map<String, Value>,
    path: &[String],
) -> Option<ParamHeader> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        String,
        Integer,
        Boolean,
    }
    let name = annotation.as_str().filter(|name| is_token(name))?.to_ascii_lowercase();
    let kind = Kind::deserialize(property.get("type")?).ok()?;
    let is_integer = matches!(kind, Kind::Integer);
    Some(ParamHeader { name, path: path.to_vec(), is_integer })
}

/// May it be part of a header's name (RFC 9110)?
fn is_token(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "count":{"type":"integer","x-mcp-header":"Count"},
        "deep":{"type":"object","properties":{"flag":{"type":"boolean","x-mcp-header":"Flag"}}},
        "free":{"type":"string"}}}"#;

    fn agree(arguments: &str, sent: &[(&str, &str)]) -> bool {
        let param = |(name, value): &(&str, &str)| {
            (name.to_ascii_lowercase(), Mirror::One((*value).to_owned()))
        };
        let headers = Headers { params: sent.iter().map(param).collect(), ..Headers::default() };
        ParamHeaders::of_schema(SCHEMA).check(Some(arguments), &headers).is_ok()
    }

    #[test]
    fn headers_repeat_the_arguments() {
        assert!(agree("{}", &[]));
        assert!(agree(r#"{"region":null,"free":"x"}"#, &[("Unknown", "x")]));
        assert!(agree(r#"{"region":"eu","count":42.0}"#, &[("Region", "eu"), ("Count", "42")]));
        assert!(agree(r#"{"count":-7}"#, &[("Count", "-7.0")]));
        assert!(agree(r#"{"deep":{"flag":true}}"#, &[("Flag", "true")]));
        assert!(agree(r#"{"region":" "}"#, &[("Region", "=?base64?IA==?=")]));
        for (arguments, sent) in [
            (r#"{"region":"eu"}"#, &[][..]),
            ("{}", &[("Region", "eu")]),
            (r#"{"region":null}"#, &[("Region", "")]),
            (r#"{"region":"eu"}"#, &[("Region", "us")]),
            (r#"{"count":42}"#, &[("Count", "43")]),
            (r#"{"count":42}"#, &[("Count", "4.2e1")]),
            (r#"{"region":"42.0"}"#, &[("Region", "42")]),
            (r#"{"deep":{"flag":true}}"#, &[("Flag", "True")]),
        ] {
            assert!(!agree(arguments, sent), "{arguments} {sent:?}");
        }
    }

    #[test]
    fn what_is_repeated_agrees() {
        let headers = ParamHeaders::of_schema(SCHEMA);
        let arguments = r#"{"region":" é","count":-7,"deep":{"flag":false},"free":"x"}"#;
        let repeated = headers.of_arguments(Some(arguments));
        let params = repeated.iter().map(|(name, value)| {
            let name = name.strip_prefix("mcp-param-").unwrap().to_owned();
            (name, Mirror::One(value.clone()))
        });
        let sent = Headers { params: params.collect(), ..Headers::default() };
        assert_eq!(sent.params.len(), 3);
        assert!(headers.check(Some(arguments), &sent).is_ok(), "{repeated:?}");
        assert_eq!(headers.of_arguments(Some(r#"{"region":null}"#)), []);
        let written = headers.of_arguments(Some(r#"{"count":42.0,"region":"42.0"}"#));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            written,
            [pair("mcp-param-count", "42"), pair("mcp-param-region", "42.0")],
            "a server need not know how an integer was spelt"
        );
    }

    #[test]
    fn an_unsound_schema_asks_for_nothing() {
        for schema in [
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A B"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":5}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            "not JSON x-mcp-header",
            "{}",
        ] {
            assert!(ParamHeaders::of_schema(schema).is_empty(), "{schema}");
        }
    }
}
