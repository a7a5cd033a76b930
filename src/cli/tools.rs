//! `paygate tools`: what a customer sees, and what a customer pays.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::failure::Failure;
use super::mcp::{Mcp, Reply, message_of};
use super::output;
use super::table::{Shown, plain};
use crate::config::{Environment, ToolsFlags, ToolsWords};
use crate::model::bounds::CLI_TOOL_PAGES_MAX;

const COLUMNS: &[(&str, &str)] = &[
    ("TOOL", "name"),
    ("CREDITS", "creditsPerCall"),
    ("PER KB", "creditsPerKbInput"),
    ("CALLS A MINUTE", "rateLimitPerMin"),
    ("DESCRIPTION", "description"),
];
/// Characters of a description in the table.
const DESCRIPTION_CHARS_MAX: usize = 60;
/// Where a denial is in a result.
const DENIAL: &str = "/result/_meta/dev.paygate~1denial";

pub(super) fn run(flags: &ToolsFlags) -> Result<(), Failure> {
    let environment = Environment::read();
    let key = flags.key.as_ref().or(environment.api_key()).cloned();
    let is_known = key.is_some();
    let mut mcp = Mcp::new(flags.url.as_deref(), flags.ca.clone(), key, &environment)?;
    match &flags.words {
        None | Some(ToolsWords::List) => Ok(list(&mut mcp, flags.json)?),
        Some(ToolsWords::Call { name, args, idempotency_key }) => {
            let arguments: Value = serde_json::from_str(args).map_err(|why| {
                format!("--args is not JSON ({why}); write it like '{{\"path\": \"/a\"}}'")
            })?;
            if !arguments.is_object() {
                return Err("--args must be a JSON object".to_owned().into());
            }
            if !is_known {
                return Err("No API key: set PAYGATE_API_KEY, or give --key".to_owned().into());
            }
            if let Some(refused) = mcp.begin()? {
                return Told::of(refused, || None).tell(flags.json);
            }
            let params = json!({"name": name, "arguments": arguments});
            let reply = mcp.ask_once("tools/call", params, idempotency_key.as_deref());
            let told = reply.map(|reply| Told::of(reply, || mcp.credits()));
            mcp.end();
            told?.tell(flags.json)
        }
    }
}

fn list(mcp: &mut Mcp, as_json: bool) -> Result<(), String> {
    let (mut tools, mut params) = (Vec::new(), json!({}));
    for _ in 0..CLI_TOOL_PAGES_MAX {
        let mut reply = mcp.ask("tools/list", params)?.message;
        if let Some(error) = reply.get("error") {
            return Err(message_of(error).to_owned());
        }
        let page = reply.pointer_mut("/result/tools").and_then(Value::as_array_mut);
        tools.append(page.unwrap_or(&mut Vec::new()));
        match reply.pointer("/result/nextCursor") {
            Some(cursor) if !cursor.is_null() => params = json!({"cursor": cursor}),
            _ => break,
        }
    }
    if as_json {
        output::print(&json!({ "tools": tools }).to_string());
    } else {
        let rows = tools.iter().map(row).collect();
        output::print(&Shown::Table("", COLUMNS).text(&Value::Array(rows)));
    }
    Ok(())
}

/// A tool with its price, as the table has them.
fn row(tool: &Value) -> Value {
    let price = tool.pointer("/_meta/dev.paygate~1pricing").or_else(|| tool.get("_pricing"));
    let mut row = price.and_then(Value::as_object).cloned().unwrap_or_default();
    // 0 is no price and no limit.
    for member in ["creditsPerKbInput", "rateLimitPerMin"] {
        if row.get(member).and_then(Value::as_f64) == Some(0.0) {
            row.insert(member.to_owned(), json!("-"));
        }
    }
    let description = tool.get("description").and_then(Value::as_str).unwrap_or_default();
    let first = description.lines().next().unwrap_or_default();
    let first: String = first.chars().take(DESCRIPTION_CHARS_MAX).collect();
    row.insert("name".to_owned(), tool.get("name").cloned().unwrap_or_default());
    row.insert("description".to_owned(), json!(first));
    Value::Object(row)
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Result,
    /// Before anything was held.
    Refused,
    Failed,
}

/// What is told of a call.
struct Told {
    end: End,
    call: Option<String>,
    charged: Option<i64>,
    credits: Option<i64>,
    message: Value,
}

impl Told {
    fn of(reply: Reply, balance: impl FnOnce() -> Option<i64>) -> Self {
        let Reply { received, message } = reply;
        let number = |name: &str| received.header(name).and_then(|text| text.parse().ok());
        let call = received.header("x-paygate-call-id").map(str::to_owned);
        let is_error = message.pointer("/result/isError") == Some(&Value::Bool(true));
        let end = match message.get("result") {
            Some(_) if message.pointer(DENIAL).is_some() => End::Refused,
            Some(_) if !is_error => End::Result,
            _ if call.is_none() => End::Refused,
            _ => End::Failed,
        };
        let charged = number("x-credits-charged");
        let credits = number("x-credits-remaining").or_else(balance);
        Self { end, call, charged, credits, message }
    }

    fn tell(self, as_json: bool) -> Result<(), Failure> {
        let fail = match self.end {
            End::Result => None,
            End::Refused => Some(Failure::refused as fn(String) -> Failure),
            End::Failed => Some(Failure::tool as fn(String) -> Failure),
        };
        let text = if as_json { self.json() } else { self.text() };
        match fail {
            None => {
                output::print(&text);
                Ok(())
            }
            // For programs the answer is the answer, however it ended.
            Some(fail) if as_json => {
                output::print(&text);
                Err(fail(String::new()))
            }
            Some(fail) => Err(fail(text)),
        }
    }

    fn json(&self) -> String {
        let outcome = match self.end {
            End::Result => "result",
            End::Refused => "refused",
            End::Failed => "failed",
        };
        let Self { call, charged, credits, message, .. } = self;
        json!({
            "outcome": outcome, "callId": call, "charged": charged, "credits": credits, "answer": message,
        })
        .to_string()
    }

    /// The answer, then what it cost.
    fn text(&self) -> String {
        let mut text = match self.message.get("error") {
            Some(error) => format!("{}\n", plain(message_of(error))),
            None => content(&self.message),
        };
        let cost = match (self.end, self.charged) {
            (End::Refused, _) => "refused, nothing charged".to_owned(),
            (_, Some(charged)) => format!("charged {charged}"),
            // The answer was kept from an earlier call with this idempotency key.
            (_, None) => "nothing charged anew".to_owned(),
        };
        let credits = self.credits.map(|left| format!(", {left} left")).unwrap_or_default();
        let call = self.call.as_ref().map(|call| format!(" ({call})")).unwrap_or_default();
        // Writing to a String cannot fail.
        write!(text, "\n{cost}{credits}{call}\n").ok();
        text
    }
}

/// The content of a result: texts as they are, of anything else what it is.
fn content(message: &Value) -> String {
    let mut text = String::new();
    let parts = message.pointer("/result/content").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
            (Some("text"), Some(said)) => writeln!(text, "{}", plain(said)).ok(),
            (kind, _) => writeln!(text, "[{}]", plain(kind.unwrap_or("unknown"))).ok(),
        };
    }
    if text.is_empty() {
        let structured = message.pointer("/result/structuredContent");
        let whole = structured.or_else(|| message.get("result")).unwrap_or(&Value::Null);
        writeln!(text, "{}", plain(&whole.to_string())).ok();
    }
    text
}
