//! What a client sends: one message, or an array of them.
//!
//! The body is checked as UTF-8 once; top level, `params` and `_meta` are each walked once, and
//! the values of their members stay text. Members that JSON-RPC and MCP do not know are kept as
//! they are. [`spelling`] says which messages are refused because they could be read in two ways.

use std::borrow::Cow;

use super::object::{self, Member, Object, string};
use super::spelling;
use super::to_client::{self, ErrorCode, ErrorObject, NO_ID};

/// A body.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// One message.
    Single(Message<'a>),
    /// An array; [`Message::read`] reads each entry.
    Batch(Vec<&'a str>),
}

/// One message.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request(Request<'a>),
    /// Wants none.
    Notification {
        /// The method.
        method: Cow<'a, str>,
        /// Its parameters; absent if they could be read in two ways.
        params: Params<'a>,
    },
    /// An answer to a server's request.
    Response {
        /// The id as written: a JSON number or string.
        id: &'a str,
    },
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The id as written: a JSON number or string.
    pub id: &'a str,
    /// The method, with escapes resolved.
    pub method: Cow<'a, str>,
    /// The parameters.
    pub params: Params<'a>,
    /// Members that JSON-RPC does not know.
    pub others: Vec<Member<'a>>,
    size: usize,
}

/// Parameters of a request.
#[derive(Clone, Debug)]
pub enum Params<'a> {
    /// None were given.
    Absent,
    /// By position, as text. MCP has none of these.
    Array(&'a str),
    /// By name.
    Object(ParamsObject<'a>),
}

/// Parameters by name.
#[derive(Clone, Debug)]
pub struct ParamsObject<'a> {
    /// All of them.
    pub object: Object<'a>,
    /// What is in `_meta`, if that is an object.
    pub meta: Option<Object<'a>>,
}

/// Why something is no message, with the id to answer under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The id as written; `null` if it is unknown.
    pub id: String,
    /// `ParseError`, `InvalidRequest` or `InvalidParams`.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
}

impl Invalid {
    /// A body that is no message of ours.
    pub fn request(id: &str, why: &str) -> Self {
        let message = format!("Invalid Request: {why}");
        Self { id: id.to_owned(), code: ErrorCode::InvalidRequest, message }
    }

    /// A request by a method that a careless server could take for one with a price.
    pub fn second_spelling(id: &str) -> Self {
        Self::request(id, "\"method\" is a second spelling of one that costs something")
    }

    fn parse() -> Self {
        Self {
            id: NO_ID.to_owned(),
            code: ErrorCode::ParseError,
            message: "Parse error".to_owned(),
        }
    }

    fn params(id: &str, name: &str) -> Self {
        let message = format!("Invalid params: {}", ambiguous(name));
        Self { id: id.to_owned(), code: ErrorCode::InvalidParams, message }
    }

    /// Is it a message after all, only with parameters that nobody should act on?
    pub fn is_about_params(&self) -> bool {
        self.code == ErrorCode::InvalidParams
    }

    /// As a JSON-RPC answer.
    pub fn text(&self) -> Vec<u8> {
        let error = ErrorObject::borrowed(self.code.code(), &self.message, None);
        to_client::error(&self.id, &error)
    }
}

fn ambiguous(name: &str) -> String {
    format!("\"{name}\" occurs twice or in a second spelling")
}

/// Reads a body.
pub fn read(body: &[u8]) -> Result<Incoming<'_>, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid::parse())?;
    if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[') {
        return object::items(text).map(Incoming::Batch).ok_or_else(Invalid::parse);
    }
    Message::read(text).map(Incoming::Single)
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub fn read(text: &'a str) -> Result<Self, Invalid> {
        let object = Object::read(text).map_err(|error| {
            if error.is_data() {
                Invalid::request(NO_ID, "not a JSON object with names that are text")
            } else {
                Invalid::parse()
            }
        })?;
        if let Some(name) = spelling::fault(&object, spelling::TOP) {
            let id = if name == "id" { None } else { known_id(&object) };
            return Err(Invalid::request(id.unwrap_or(NO_ID), &ambiguous(name)));
        }
        let raw_id = object.get("id");
        let id = known_id(&object);
        let invalid = |why| Invalid::request(id.unwrap_or(NO_ID), why);
        if object.get("jsonrpc").and_then(string).as_deref() != Some("2.0") {
            return Err(invalid("\"jsonrpc\" must be \"2.0\""));
        }
        if raw_id.is_some() && id.is_none() {
            return Err(invalid("\"id\" must be a string or a number"));
        }
        let answers = object.has("result") || object.has("error");
        let Some(method) = object.get("method") else {
            return match (answers, id) {
                (true, Some(id)) => Ok(Self::Response { id }),
                (true, None) => Err(invalid("a response without an id")),
                (false, _) => Err(invalid("\"method\" is missing")),
            };
        };
        if answers {
            return Err(invalid("\"method\" beside \"result\" or \"error\""));
        }
        let method = string(method).ok_or_else(|| invalid("\"method\" must be a string"))?;
        if spelling::resembles_priced_method(&method) {
            return Err(Invalid::second_spelling(id.unwrap_or(NO_ID)));
        }
        let params = match object.get("params") {
            None => Ok(Params::Absent),
            Some(text) if text.starts_with('[') => Ok(Params::Array(text)),
            Some(text) if text.starts_with('{') => {
                ParamsObject::read(text, &method).map(Params::Object)
            }
            Some(_) => return Err(invalid("\"params\" must be an object or an array")),
        };
        let Some(id) = id else {
            return Ok(Self::Notification { method, params: params.unwrap_or(Params::Absent) });
        };
        let params = params.map_err(|name| Invalid::params(id, name))?;
        let unknown = |member: &&Member<'a>| !spelling::TOP.contains(&member.name.as_ref());
        let others = object.members().iter().filter(unknown).cloned().collect();
        Ok(Self::Request(Request { id, method, params, others, size: text.len() }))
    }
}

/// The id, if it is one that can be answered.
fn known_id<'a>(object: &Object<'a>) -> Option<&'a str> {
    object.get("id").filter(|id| id.starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9')))
}

impl<'a> ParamsObject<'a> {
    /// Reads parameters by name; the error names what could be read in two ways.
    fn read(text: &'a str, method: &str) -> Result<Self, &'static str> {
        let object = Object::read(text).map_err(|_| "params")?;
        let fault = spelling::fault(&object, spelling::PARAMS);
        let fault = match method {
            "tools/call_batch" => fault.or_else(|| spelling::fault(&object, spelling::BATCH)),
            _ => fault,
        };
        match fault {
            Some(name) => Err(name),
            None => Ok(Self { meta: meta_of(&object)?, object }),
        }
    }

    /// Reads one call of a batch by the same rules.
    pub fn read_call(text: &'a str) -> Result<Self, &'static str> {
        Self::read(text, "tools/call")
    }
}

fn meta_of<'a>(params: &Object<'a>) -> Result<Option<Object<'a>>, &'static str> {
    let Some(text) = params.get("_meta").filter(|text| text.starts_with('{')) else {
        return Ok(None);
    };
    let meta = Object::read(text).map_err(|_| "_meta")?;
    spelling::fault(&meta, spelling::META).map_or(Ok(Some(meta)), Err)
}

impl<'a> Request<'a> {
    /// A parameter's value as text.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }

    /// The same request with other parameters.
    #[must_use]
    pub fn with_params(&self, params: Params<'a>) -> Self {
        let (method, others) = (self.method.clone(), self.others.clone());
        Self { id: self.id, method, params, others, size: self.size }
    }

    /// The same request by another method.
    #[must_use]
    pub fn with_method(&self, method: &'static str) -> Self {
        Self { method: Cow::Borrowed(method), ..self.with_params(self.params.clone()) }
    }

    /// Length of the text that it was read from.
    pub(super) const fn size(&self) -> usize {
        self.size
    }
}

impl<'a> Params<'a> {
    /// A parameter's value as text.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Object(params) => params.object.get(name),
            Self::Absent | Self::Array(_) => None,
        }
    }

    /// The progress token, as JSON text.
    pub fn progress_token(&self) -> Option<&'a str> {
        match self {
            Self::Object(params) => params.meta.as_ref()?.get("progressToken"),
            Self::Absent | Self::Array(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "from_client_tests.rs"]
mod tests;
