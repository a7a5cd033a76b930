//! How a proxy is set up.

use std::collections::HashMap;
use std::time::Duration;

use super::asked::Form;
use crate::gate::Policy;
use crate::model::bounds;
use crate::upstream::Patience;

/// What an operator can choose.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the config file")]
pub struct ProxyOptions {
    /// Prices and limits.
    pub policy: Policy,
    /// Is a call free whose answer says that it failed (`refundOnFailure`)?
    pub refund_on_failure: bool,
    /// How long a call may take (`requestTimeoutMs`).
    pub request_timeout: Duration,
    /// The same by exact tool name.
    pub tool_timeouts: HashMap<String, Duration>,
    /// The same by exact name of a method with a price.
    pub method_timeouts: HashMap<String, Duration>,
    /// The hard ceiling of all (`maxRequestTimeoutMs`).
    pub request_timeout_max: Duration,
    /// Calls in one batch, and entries in one array body (`maxBatchCalls`).
    pub batch_calls_max: usize,
    /// Do the free methods need a key too (`requireKey: "all"`)?
    pub require_key_for_all: bool,
    /// Which sessions share a server (`isolation`).
    pub isolation: Isolation,
    /// How long nothing may go on in a session before it ends (`sessionIdleSeconds`).
    pub session_idle: Duration,
    /// Does one client alone reach this proxy (`--stdio` without a port)?
    pub has_one_client: bool,
    /// Is a tool refused that the server does not list (`unlistedTools: "refuse"`)?
    pub refuse_unlisted_tools: bool,
    /// Is the server told who calls (`forwardIdentity`)?
    pub forward_identity: bool,
    /// How long the answer to a call with an idempotency key is kept (`idempotencyTtlSeconds`).
    pub kept_ttl: Duration,
}

/// Which sessions share a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// None: each that has a key gets one of its own.
    Session,
    /// All.
    Shared,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            refund_on_failure: true,
            request_timeout: bounds::REQUEST_TIMEOUT,
            tool_timeouts: HashMap::new(),
            method_timeouts: HashMap::new(),
            request_timeout_max: bounds::REQUEST_TIMEOUT_MAX,
            batch_calls_max: bounds::BATCH_CALLS_MAX,
            require_key_for_all: false,
            isolation: Isolation::Session,
            session_idle: bounds::SESSION_IDLE,
            has_one_client: false,
            refuse_unlisted_tools: true,
            forward_identity: false,
            kept_ttl: bounds::KEPT_TTL,
        }
    }
}

impl ProxyOptions {
    /// How patient a request is that has no price. Progress extends it up to the ceiling.
    pub(super) fn patience(&self) -> Patience {
        self.with(None)
    }

    /// How patient a call of a tool, or a method with a price, is.
    pub(super) fn patience_of(&self, form: Form, name: &str) -> Patience {
        self.with(match form {
            Form::Call | Form::Batch => self.tool_timeouts.get(name),
            Form::Method => self.method_timeouts.get(name),
        })
    }

    fn with(&self, own: Option<&Duration>) -> Patience {
        let quiet = own.copied().unwrap_or(self.request_timeout).min(self.request_timeout_max);
        Patience { quiet, whole: self.request_timeout_max }
    }
}
