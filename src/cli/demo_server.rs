//! `paygate demo-server`: the small MCP server that `wrap --demo` guards.
//!
//! It is honest: it does what its tools say and speaks MCP's handshake era (2024-11-05 to
//! 2025-11-25) over stdin and stdout, one message a line, one answer after the other. Nothing in
//! it knows of Paygate, so that what the demo shows holds for any server.
//!
//! Ids and numbers are handled as they were written; no input ends it but the end of input.

use std::borrow::Cow;
use std::io::{self, BufRead, BufWriter, ErrorKind, Read as _, Write};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::model::bounds::DEMO_LINE_BYTES_MAX;

/// The protocol versions spoken, the newest last.
const PROTOCOL_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// Serves stdin and stdout until stdin ends or nobody reads stdout any more.
pub fn run() -> io::Result<()> {
    let output = BufWriter::new(io::stdout().lock());
    match serve(io::stdin().lock(), output) {
        Err(fault) if fault.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Serves these streams until the input ends.
pub fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let size =
            (&mut input).take(to_u64(DEMO_LINE_BYTES_MAX) + 1).read_until(b'\n', &mut line)?;
        if size == 0 {
            return Ok(());
        }
        let answer = if size > DEMO_LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            skip_line(&mut input)?;
            Some(failure(None, INVALID_REQUEST, "the line is too long"))
        } else if line.iter().all(u8::is_ascii_whitespace) {
            None
        } else {
            answer_line(&line)
        };
        if let Some(answer) = answer {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = input.fill_buf()?;
        let newline = available.iter().position(|byte| *byte == b'\n');
        let (size, is_end) = match newline {
            Some(index) => (index + 1, true),
            None => (available.len(), available.is_empty()),
        };
        input.consume(size);
        if is_end {
            return Ok(());
        }
    }
}

fn to_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A message, its parts unread.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Keeps `null` apart from nothing: `"id": null` is a mistake, no id is a notification.
fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads members by name. A list in place of an object is refused: its elements have no names.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// One line holds a message or, in protocol 2025-03-26, a list of them.
fn answer_line(line: &[u8]) -> Option<String> {
    let Ok(whole) = serde_json::from_slice::<&RawValue>(line) else {
        return Some(failure(None, PARSE_ERROR, "the line is not JSON"));
    };
    match serde_json::from_str::<Vec<&RawValue>>(whole.get()) {
        Ok(messages) if !messages.is_empty() => {
            let answers: Vec<String> =
                messages.iter().filter_map(|message| answer_message(message.get())).collect();
            (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
        }
        _ => answer_message(whole.get()),
    }
}

fn answer_message(text: &str) -> Option<String> {
    let Some(message) = object::<Message<'_>>(text) else {
        return Some(failure(None, INVALID_REQUEST, "this is not a message"));
    };
    // Without a method it is an answer, and this server asks nothing.
    let method = message.method?;
    let id = message.id?;
    let is_id = |text: &str| {
        text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
    };
    if !is_id(id.get()) {
        let message = "an id is a text or a number";
        return Some(failure(None, INVALID_REQUEST, message));
    }
    let outcome = match method.as_ref() {
        "initialize" => Ok(initialize(message.params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools() })),
        "tools/call" => call_tool(message.params),
        other => Err((METHOD_NOT_FOUND, format!("unknown method: {other}"))),
    };
    Some(match outcome {
        Ok(result) => success(id, &result),
        Err((code, message)) => failure(Some(id), code, &message),
    })
}

fn success(id: &RawValue, result: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.get())
}

fn failure(id: Option<&RawValue>, code: i32, message: &str) -> String {
    let id = id.map_or("null", RawValue::get);
    let error = json!({ "code": code, "message": message });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

fn initialize(params: Option<&RawValue>) -> Value {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        protocol_version: String,
    }
    let newest = PROTOCOL_VERSIONS[PROTOCOL_VERSIONS.len() - 1];
    let version = params
        .and_then(|params| object::<Params>(params.get()))
        .and_then(|asked| {
            PROTOCOL_VERSIONS.into_iter().find(|known| *known == asked.protocol_version)
        })
        .unwrap_or(newest);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": {} },
        "serverInfo": {
            "name": "paygate-demo-server",
            "title": "Paygate demo server",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": "Four small tools to try a paywall with: echo, add, word_count and now.",
    })
}

/// What every tool here has in common: it reads, changes nothing and reaches nothing.
fn tool(
    name: &str,
    title: &str,
    description: &str,
    properties: &Value,
    required: &[&str],
) -> Value {
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
        "annotations": {
            "title": title,
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": name != "now",
            "openWorldHint": false,
        },
    })
}

fn tools() -> [Value; 4] {
    let text = json!({ "text": { "type": "string", "description": "Any text." } });
    let terms = json!({
        "a": { "type": "integer", "description": "The first term." },
        "b": { "type": "integer", "description": "The second term." },
    });
    [
        tool("echo", "Echo", "Gives the text back as it is.", &text, &["text"]),
        tool("add", "Add", "Adds two whole numbers exactly.", &terms, &["a", "b"]),
        tool(
            "word_count",
            "Count words",
            "Counts the words, characters and lines of a text.",
            &text,
            &["text"],
        ),
        tool("now", "Current time", "Gives the current time in UTC, as RFC 3339.", &json!({}), &[]),
    ]
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// A call of an unknown tool is an error of the protocol; one with wrong arguments is a result
/// that says so, which a model can read and mend.
fn call_tool(params: Option<&RawValue>) -> Result<Value, (i32, String)> {
    let call = params
        .and_then(|params| object::<Call<'_>>(params.get()))
        .ok_or_else(|| (INVALID_PARAMS, "params need the name of a tool".to_owned()))?;
    let arguments = call.arguments.map_or("{}", RawValue::get);
    let outcome = match call.name.as_ref() {
        "echo" => text_argument(arguments),
        "add" => add(arguments),
        "word_count" => text_argument(arguments).map(|text| word_count(&text)),
        "now" => Ok(now()),
        other => return Err((INVALID_PARAMS, format!("unknown tool: {other}"))),
    };
    let (text, is_error) = match outcome {
        Ok(text) => (text, false),
        Err(text) => (text, true),
    };
    Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": is_error }))
}

fn text_argument(arguments: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Arguments {
        text: String,
    }
    object::<Arguments>(arguments)
        .map(|arguments| arguments.text)
        .ok_or_else(|| "The argument \"text\" must be a text.".to_owned())
}

/// Adds what was written, digit for digit: as JSON values large numbers would lose some.
fn add(arguments: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Terms<'a> {
        #[serde(borrow)]
        a: &'a RawValue,
        #[serde(borrow)]
        b: &'a RawValue,
    }
    let terms = object::<Terms<'_>>(arguments)
        .ok_or_else(|| "The arguments \"a\" and \"b\" are needed, once each.".to_owned())?;
    let (a, b) = (term("a", terms.a)?, term("b", terms.b)?);
    a.checked_add(b).map(|sum| sum.to_string()).ok_or_else(|| "The sum is too large.".to_owned())
}

fn term(name: &str, value: &RawValue) -> Result<i128, String> {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("The argument \"{name}\" must be a whole number."));
    }
    text.parse().map_err(|_| format!("The argument \"{name}\" is too large."))
}

fn word_count(text: &str) -> String {
    #[derive(Serialize)]
    struct Counts {
        words: usize,
        characters: usize,
        lines: usize,
    }
    let counts = Counts {
        words: text.split_whitespace().count(),
        characters: text.chars().count(),
        lines: text.lines().count(),
    };
    json!(counts).to_string()
}

fn now() -> String {
    // Whole milliseconds: enough to see that each call is a new one.
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now).to_string()
}
