//! What a [`Reply`] of the proxy looks like on the wire. This is the one place where a denial
//! becomes JSON-RPC text, an HTTP status and a sentence.
//!
//! The legacy era's way is error −32402 in a 200. The modern era does not allow that code; its way
//! is a result that a model can read, which `denialStyle: "result"` gives to everybody. Only
//! `tools/call` has results that a model reads, so anything else is refused by an error; its code is
//! −31402 in the modern era, whatever the style.

use serde::Serialize;

use super::sentence::sentence;
use crate::model::denial::Denial;
use crate::model::ids::SessionId;
use crate::proxy::{Answer, Part, Refused, Reply, Several, Shown};

/// The error code of a denial.
const PAYMENT_REQUIRED: i32 = -32402;

/// The same in the modern era, which keeps the codes around the other one for itself.
const MODERN_PAYMENT_REQUIRED: i32 = -31402;

/// JSON-RPC: the message is not one that can be handled.
const INVALID_REQUEST: i32 = -32600;

const NO_SESSION: &str = "Session not found: it has ended, or it belongs to another API key or to another instance of Paygate; send initialize again without Mcp-Session-Id";

/// Where a result keeps what a program wants to know of its denial.
const DENIAL_META: &str = "dev.paygate/denial";

/// How denials are put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenialStyle {
    /// As the client's era wants it: an error for the legacy one, a result for the modern one.
    #[default]
    Auto,
    /// A JSON-RPC error.
    Error,
    /// A tool result with `isError`.
    Result,
    /// The JSON-RPC error under an HTTP status of its own.
    Http,
}

/// What an operator decides about denials.
#[derive(Clone, Debug, Default)]
pub struct DenialOptions {
    /// How they are put.
    pub style: DenialStyle,
    /// Where credits can be bought.
    pub top_up_url: Option<String>,
}

/// A reply as a front writes it.
#[derive(Debug, Default)]
pub struct Written {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC text; none for a message that has no answer.
    pub text: Option<Vec<u8>>,
    /// Numbers that may be shown.
    pub shown: Shown,
    /// The session that is open from now on.
    pub opened: Option<SessionId>,
    /// Whole seconds until a retry may succeed, for the header.
    pub retry_after_s: Option<i64>,
}

/// Puts a reply into words. A stream is written piece by piece: its front takes it apart before.
pub fn write(reply: Reply, options: &DenialOptions) -> Written {
    match reply {
        Reply::Stream(_) => Written { status: 500, ..Written::default() },
        Reply::Accepted => Written { status: 202, ..Written::default() },
        Reply::Message(answer) => write_answer(answer, None),
        Reply::Opened(session, answer) => write_answer(answer, Some(session)),
        Reply::Failed(answer, code) => {
            Written { status: modern_status(code), ..write_answer(answer, None) }
        }
        Reply::NoSession => Written {
            status: 404,
            text: Some(error_without_id(INVALID_REQUEST, NO_SESSION)),
            ..Written::default()
        },
        Reply::Malformed(text) => Written { status: 400, text: Some(text), ..Written::default() },
        Reply::Several(several) => write_array(several, options),
        Reply::Denied(refused) => write_denial(&refused, options),
    }
}

fn write_answer(answer: Answer, opened: Option<SessionId>) -> Written {
    let Answer { text, shown } = answer;
    Written { status: 200, text: Some(text), shown, opened, retry_after_s: None }
}

/// The status of a modern error, by its code.
const fn modern_status(code: i32) -> u16 {
    match code {
        -32700 | -32600 | -32602 | -32022..=-32020 => 400,
        -32601 => 404,
        _ => 200,
    }
}

/// An array of answers is always 200: its entries may differ. All of them have one sender, so what
/// one entry may not show, the headers may not either.
fn write_array(several: Several, options: &DenialOptions) -> Written {
    let mut text = vec![b'['];
    let mut may_show_balance = true;
    for (index, part) in several.parts.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        match part {
            Part::Message(answer) => text.extend(answer.text),
            Part::Denied(refused) => {
                may_show_balance &= refused.denied.denial.may_show_balance();
                text.extend(write_denial(&refused, options).text.unwrap_or_default());
            }
        }
    }
    text.push(b']');
    let reading = several.shown.reading.filter(|_| may_show_balance);
    let shown = Shown { reading, ..several.shown };
    Written { status: 200, text: Some(text), shown, ..Written::default() }
}

fn write_denial(refused: &Refused, options: &DenialOptions) -> Written {
    let denial = &refused.denied.denial;
    let message = DenialData::of(refused, options);
    let as_result = match options.style {
        DenialStyle::Result => true,
        DenialStyle::Auto => refused.is_modern,
        DenialStyle::Error | DenialStyle::Http => false,
    };
    let text = if as_result && refused.is_tool_call {
        let sentence = sentence(&refused.denied, options.top_up_url.as_deref());
        message.as_result(&refused.id, &sentence, refused.is_modern)
    } else {
        let code = if refused.is_modern { MODERN_PAYMENT_REQUIRED } else { PAYMENT_REQUIRED };
        message.as_error(&refused.id, denial, code)
    };
    let status = match options.style {
        DenialStyle::Http => http_status(denial),
        DenialStyle::Auto | DenialStyle::Error | DenialStyle::Result => 200,
    };
    let reading = refused.shown.reading.filter(|_| denial.may_show_balance());
    Written {
        status,
        text: Some(text),
        shown: Shown { reading, ..refused.shown },
        opened: None,
        retry_after_s: message.retry_after_ms.filter(|_| status == 429).map(whole_seconds),
    }
}

/// Milliseconds as whole seconds, rounded up.
pub fn whole_seconds(ms: i64) -> i64 {
    ms.max(0).saturating_add(999) / 1000
}

/// The status of `denialStyle: "http"`.
const fn http_status(denial: &Denial) -> u16 {
    match denial {
        Denial::MissingApiKey | Denial::InvalidApiKey | Denial::ApiKeyExpired => 401,
        Denial::ApiKeySuspended
        | Denial::NamespaceSuspended
        | Denial::IpNotAllowed(_)
        | Denial::ToolNotAllowed(_)
        | Denial::ToolDenied(_) => 403,
        Denial::RateLimited { .. } | Denial::ToolRateLimited { .. } => 429,
        Denial::InsufficientCredits { .. }
        | Denial::SpendingLimitExceeded { .. }
        | Denial::QuotaExceeded { .. }
        | Denial::TeamBudgetExceeded
        | Denial::TeamQuotaExceeded(_) => 402,
    }
}

/// What programs are told: the `data` of an error, or the same under a result's `_meta`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DenialData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_required: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_credits_required: Option<i64>,
    remaining_credits: i64,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exceeds_limit_alone: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_up_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decision>,
}

#[derive(Debug, Serialize)]
struct Decision {
    index: usize,
    reason: String,
}

impl<'a> DenialData<'a> {
    fn of(refused: &Refused, options: &'a DenialOptions) -> Self {
        let denied = &refused.denied;
        let available = refused.shown.reading.map_or(0, |reading| reading.available);
        let is_batch = refused.batch_calls.is_some();
        let reason = denied.denial.to_string();
        let decisions = (0..refused.batch_calls.unwrap_or(0)).map(|index| Decision {
            index,
            reason: if index == denied.failed_index {
                reason.clone()
            } else {
                "batch_rejected".to_owned()
            },
        });
        Self {
            failed_index: is_batch.then_some(denied.failed_index),
            credits_required: (!is_batch).then_some(denied.credits_required),
            total_credits_required: is_batch.then_some(denied.credits_required),
            remaining_credits: if denied.denial.may_show_balance() { available } else { 0 },
            retry_after_ms: refused.retry_after_ms.filter(|_| !denied.exceeds_limit_alone),
            exceeds_limit_alone: denied.exceeds_limit_alone.then_some(true),
            top_up_url: options.top_up_url.as_deref(),
            decisions: decisions.collect(),
            reason,
        }
    }

    fn as_error(&self, id: &str, denial: &Denial, code: i32) -> Vec<u8> {
        #[derive(Serialize)]
        struct Error<'a> {
            code: i32,
            message: String,
            data: &'a DenialData<'a>,
        }
        let message = format!("Payment required: {denial}");
        envelope(id, "error", &Error { code, message, data: self })
    }

    fn as_result(&self, id: &str, sentence: &str, is_modern: bool) -> Vec<u8> {
        let mut result = serde_json::json!({
            "content": [{ "type": "text", "text": sentence }],
            "isError": true,
            "_meta": { DENIAL_META: self },
        });
        if let Some(members) = result.as_object_mut().filter(|_| is_modern) {
            members.insert("resultType".to_owned(), "complete".into());
        }
        envelope(id, "result", &result)
    }
}

/// A JSON-RPC message around an outcome; `id` is JSON already.
fn envelope(id: &str, member: &str, outcome: &impl Serialize) -> Vec<u8> {
    let mut text = format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":"#).into_bytes();
    // Texts and numbers can always be written; an empty outcome keeps the message whole anyway.
    let written = serde_json::to_vec(outcome).unwrap_or_else(|_| b"{}".to_vec());
    text.extend_from_slice(&written);
    text.push(b'}');
    text
}

/// A JSON-RPC error that belongs to no request, because none could be read. The id is `null` then,
/// says JSON-RPC 2.0; a message without one would be no response.
pub fn error_without_id(code: i32, message: &str) -> Vec<u8> {
    let message = serde_json::Value::from(message);
    format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":{message}}}}}"#)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::gate::Denied;
    use crate::model::denial::QuotaKind;
    use crate::model::ids::CallId;
    use crate::model::time::Time;
    use crate::proxy::Answer;
    use crate::store::Reading;

    fn refused(denial: Denial) -> Refused {
        let denied = Denied {
            denial,
            failed_index: 0,
            credits_required: 5,
            opens_at: None,
            exceeds_limit_alone: false,
        };
        let reading = Some(Reading { available: 3, rate: None });
        Refused {
            id: "\"a\\u0000b\"".to_owned(),
            denied,
            retry_after_ms: None,
            batch_calls: None,
            is_modern: false,
            is_tool_call: true,
            shown: Shown { call: Some(CallId::from_random([1; 16])), reading, charged: None },
        }
    }

    fn style(style: DenialStyle) -> DenialOptions {
        DenialOptions { style, top_up_url: None }
    }

    fn written(refused: Refused, options: &DenialOptions) -> (Written, Value) {
        let written = write(Reply::Denied(Box::new(refused)), options);
        let json = serde_json::from_slice(written.text.as_ref().unwrap()).unwrap();
        (written, json)
    }

    #[test]
    fn a_legacy_denial_is_an_error_in_a_200() {
        let denial = Denial::InsufficientCredits { need: 5, have: 3 };
        for options in [style(DenialStyle::Auto), style(DenialStyle::Error)] {
            let (written, json) = written(refused(denial.clone()), &options);
            assert_eq!((written.status, written.retry_after_s), (200, None));
            assert_eq!(written.shown.reading.map(|reading| reading.available), Some(3));
            let reason = "insufficient_credits: need 5, have 3";
            assert_eq!(
                json,
                json!({"jsonrpc": "2.0", "id": "a\u{0}b", "error": {
                    "code": -32402, "message": format!("Payment required: {reason}"),
                    "data": {"creditsRequired": 5, "remainingCredits": 3, "reason": reason},
                }})
            );
        }
    }

    #[test]
    fn what_helps_is_told() {
        let mut limited = refused(Denial::RateLimited { limit: 60 });
        limited.retry_after_ms = Some(1_001);
        let options = DenialOptions {
            style: DenialStyle::Http,
            top_up_url: Some("https://a.example/buy?\"".to_owned()),
        };
        let (written, json) = written(limited, &options);
        assert_eq!((written.status, written.retry_after_s), (429, Some(2)));
        assert_eq!(json["error"]["data"]["retryAfterMs"], 1_001);
        assert_eq!(json["error"]["data"]["topUpUrl"], "https://a.example/buy?\"");
    }

    #[test]
    fn a_batch_tells_what_became_of_every_call() {
        let mut batch = refused(Denial::ToolDenied("b".to_owned()));
        batch.batch_calls = Some(3);
        batch.is_tool_call = false;
        batch.denied.failed_index = 1;
        let (_, json) = written(batch, &style(DenialStyle::Result));
        assert_eq!(
            json["error"]["data"],
            json!({
                "failedIndex": 1, "totalCreditsRequired": 5, "remainingCredits": 3,
                "reason": "tool_denied: b is in deniedTools",
                "decisions": [
                    {"index": 0, "reason": "batch_rejected"},
                    {"index": 1, "reason": "tool_denied: b is in deniedTools"},
                    {"index": 2, "reason": "batch_rejected"},
                ],
            })
        );
    }

    #[test]
    fn a_batch_that_never_fits_is_not_told_to_wait() {
        let mut batch = refused(Denial::RateLimited { limit: 2 });
        batch.batch_calls = Some(3);
        batch.retry_after_ms = Some(1_000);
        batch.denied.exceeds_limit_alone = true;
        let (written, json) = written(batch, &style(DenialStyle::Http));
        let data = &json["error"]["data"];
        assert_eq!(data["exceedsLimitAlone"], true);
        assert_eq!((data.get("retryAfterMs"), written.retry_after_s), (None, None));
    }

    #[test]
    fn nobody_learns_a_balance_before_key_and_address_have_passed() {
        for denial in [
            Denial::MissingApiKey,
            Denial::InvalidApiKey,
            Denial::ApiKeyExpired,
            Denial::ApiKeySuspended,
            Denial::NamespaceSuspended,
            Denial::IpNotAllowed("192.0.2.1".parse().unwrap()),
        ] {
            let (written, json) = written(refused(denial), &style(DenialStyle::Error));
            assert_eq!(json["error"]["data"]["remainingCredits"], 0);
            assert!(written.shown.reading.is_none());
            assert!(written.shown.call.is_some());
        }
    }

    #[test]
    fn a_result_can_be_read_by_a_model() {
        let mut limited = refused(Denial::ToolRateLimited { tool: "search".to_owned(), limit: 2 });
        limited.denied.opens_at = Time::parse("2026-03-01T12:00:00Z");
        limited.retry_after_ms = Some(5);
        let (written, json) = written(limited, &style(DenialStyle::Result));
        assert_eq!(written.status, 200);
        let result = &json["result"];
        assert_eq!(result["isError"], true);
        assert_eq!(
            result["content"],
            json!([{"type": "text", "text": "The limit of 2 calls a minute of the tool search is used up. \
                     Try again after 2026-03-01T12:00:00.000Z."}])
        );
        assert_eq!(result["_meta"]["dev.paygate/denial"]["retryAfterMs"], 5);
        assert_eq!(json.get("error"), None);
    }

    #[test]
    fn modern_denials_have_no_code_of_the_protocols_own() {
        let modern = |is_tool_call| {
            let denial = Denial::InsufficientCredits { need: 5, have: 3 };
            Refused { is_modern: true, is_tool_call, ..refused(denial) }
        };
        let (written_as, json) = written(modern(true), &style(DenialStyle::Auto));
        assert_eq!((written_as.status, &json["result"]["resultType"]), (200, &json!("complete")));
        assert_eq!(json["result"]["_meta"]["dev.paygate/denial"]["remainingCredits"], 3);
        let styles = [DenialStyle::Auto, DenialStyle::Error, DenialStyle::Http];
        for (style_of, is_tool_call) in styles.into_iter().zip([false, true, true]) {
            let (_, json) = written(modern(is_tool_call), &style(style_of));
            assert_eq!(json["error"]["code"], -31402, "{style_of:?}");
        }
    }

    #[test]
    fn modern_errors_have_the_status_of_their_code() {
        for (code, status) in [
            (-32601, 404),
            (-32602, 400),
            (-32020, 400),
            (-32022, 400),
            (-32603, 200),
            (-31402, 200),
        ] {
            let reply = Reply::Failed(Answer::default(), code);
            assert_eq!(write(reply, &DenialOptions::default()).status, status, "{code}");
        }
    }

    #[test]
    fn http_statuses() {
        let quota =
            |quota| Denial::QuotaExceeded { quota, used: 1, need: 1, limit: 1, in_batch: false };
        for (denial, status) in [
            (Denial::MissingApiKey, 401),
            (Denial::InvalidApiKey, 401),
            (Denial::ApiKeyExpired, 401),
            (Denial::ApiKeySuspended, 403),
            (Denial::NamespaceSuspended, 403),
            (Denial::IpNotAllowed("::1".parse().unwrap()), 403),
            (Denial::ToolNotAllowed("a".to_owned()), 403),
            (Denial::ToolDenied("a".to_owned()), 403),
            (Denial::RateLimited { limit: 1 }, 429),
            (Denial::ToolRateLimited { tool: "a".to_owned(), limit: 1 }, 429),
            (Denial::InsufficientCredits { need: 1, have: 0 }, 402),
            (Denial::SpendingLimitExceeded { limit: 1, spent: 1, need: 1 }, 402),
            (quota(QuotaKind::DailyCalls), 402),
        ] {
            let (written, json) = written(refused(denial), &style(DenialStyle::Http));
            assert_eq!((written.status, &json["error"]["code"]), (status, &json!(-32402)));
        }
    }

    #[test]
    fn an_array_shows_no_more_than_its_entries() {
        let options = style(DenialStyle::Http);
        let array = |denial| {
            let answer = Answer { text: b"{\"id\":1}".to_vec(), shown: Shown::default() };
            let refused = refused(denial);
            let shown = refused.shown;
            let parts = vec![Part::Message(answer), Part::Denied(Box::new(refused))];
            write(Reply::Several(Several { parts, shown }), &options)
        };
        let credits = array(Denial::InsufficientCredits { need: 5, have: 3 });
        let json: Value = serde_json::from_slice(credits.text.as_ref().unwrap()).unwrap();
        assert_eq!((credits.status, &json[0]["id"]), (200, &json!(1)));
        assert_eq!(json[1]["error"]["code"], -32402);
        assert!(credits.shown.reading.is_some());
        let address = array(Denial::IpNotAllowed("192.0.2.1".parse().unwrap()));
        assert!(address.shown.reading.is_none());
    }

    #[test]
    fn other_replies() {
        let options = DenialOptions::default();
        let accepted = write(Reply::Accepted, &options);
        assert_eq!((accepted.status, accepted.text), (202, None));
        let malformed = write(Reply::Malformed(b"{}".to_vec()), &options);
        assert_eq!((malformed.status, malformed.text), (400, Some(b"{}".to_vec())));
        let answer = Answer { text: b"[]".to_vec(), shown: Shown::default() };
        let message = write(Reply::Message(answer), &options);
        assert_eq!((message.status, message.text), (200, Some(b"[]".to_vec())));
        assert_eq!([0, 1, 1000, 1001].map(whole_seconds), [0, 1, 1, 2]);
    }
}
