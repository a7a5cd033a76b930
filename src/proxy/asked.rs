//! A request for something that has a price, as the client wrote it, and what it is answered with.

use std::borrow::Cow;
use std::sync::Arc;

use super::identify::Identity;
use super::parked::{Earlier, Rounds};
use super::repeat::Repeat;
use super::{Proxy, Shown};
use crate::gate::CallFacts;
use crate::model::ids::CallId;
use crate::model::labels::Labels;
use crate::protocol::from_server::FromServer;
use crate::protocol::to_client::ErrorObjectOwned;
use crate::store::Show;
use crate::upstream::{Failure, Outcome};

/// Writes the line of a call (by index) with our id and, as JSON, the customer.
pub(super) type WriteLine<'a> = dyn Fn(usize, u64, Option<&str>) -> Vec<u8> + Sync + 'a;

/// A request for priced calls.
pub(super) struct Asked<'a> {
    /// The client's id.
    pub(super) id: &'a str,
    pub(super) form: Form,
    /// The calls in order. A method with a price is one, under its own name.
    pub(super) calls: &'a [CallFacts<'a>],
    /// How it may be repeated.
    pub(super) repeat: Option<Repeat>,
    /// What it is for.
    pub(super) labels: Option<Labels>,
    pub(super) line: &'a WriteLine<'a>,
    /// The progress token of a call (by index), as JSON text.
    pub(super) token: &'a (dyn Fn(usize) -> Option<&'a str> + Sync),
    /// What may come before and after this answer; only for single requests of the modern era.
    pub(super) rounds: Option<&'a Rounds>,
}

/// What has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `tools/call`.
    Call,
    /// `tools/call_batch`.
    Batch,
    /// Another method.
    Method,
}

/// How a request ended that has an answer.
pub(super) struct Ended {
    pub(super) answered: Answered,
    pub(super) shown: Shown,
}

/// What there is to answer with.
pub(super) enum Answered {
    /// The calls ran, for this request or for one that it repeats.
    Now(Arc<Outcomes>),
    /// They ran before, and this was kept of it: a server's line, or what [`super::batch`] made
    /// of several.
    Before(Vec<u8>),
}

/// How the calls of a request ended.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) outcomes: Vec<Outcome>,
    /// What each cost.
    pub(super) charged: Vec<i64>,
}

/// What all who wait for one run of calls are told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Ended(Arc<Outcomes>, Option<CallId>),
    /// The calls ran, but their answers must not be delivered.
    Withheld(ErrorObjectOwned, Option<CallId>),
}

impl Told {
    /// What was charged, as far as it is known.
    pub(super) fn charged(&self) -> Option<i64> {
        match self {
            Self::Ended(ran, _) => {
                Some(ran.charged.iter().fold(0, |sum: i64, one| sum.saturating_add(*one)))
            }
            Self::Withheld(..) => None,
        }
    }
}

impl Asked<'_> {
    /// The call that this is a later round of.
    pub(super) fn earlier_call(&self) -> Option<CallId> {
        match self.rounds?.earlier {
            Earlier::Held { call, .. } => Some(call),
            Earlier::None | Earlier::Unheld => None,
        }
    }

    /// The calls that lists of tools say something about.
    pub(super) fn tool_calls(&self) -> &[CallFacts<'_>] {
        if self.form == Form::Method { &[] } else { self.calls }
    }

    pub(super) fn in_batch(&self) -> bool {
        self.form == Form::Batch
    }

    /// The method, or the tool of the first call.
    pub(super) fn first_name(&self) -> &str {
        self.calls.first().map_or("", |call| call.tool)
    }
}

impl Answered {
    /// The outcome of a request for one call.
    pub(super) fn single(&self) -> Cow<'_, Outcome> {
        let ours = Cow::Owned(Err(Failure::Ours));
        match self {
            Self::Now(ran) => ran.outcomes.first().map_or(ours, Cow::Borrowed),
            Self::Before(line) => match FromServer::read(line) {
                FromServer::Answer(answer) => Cow::Owned(Ok(answer)),
                FromServer::Request { .. }
                | FromServer::Notification { .. }
                | FromServer::Malformed(_) => ours,
            },
        }
    }
}

impl Proxy {
    /// Which numbers go with the answer: those of the tool or method, or of the key.
    pub(super) fn show_for(&self, asked: &Asked<'_>) -> Show {
        let policy = &self.options.policy;
        let rate = match asked.form {
            Form::Call => policy.shown_rate(Some(asked.first_name())),
            Form::Batch => policy.shown_rate(None),
            Form::Method => policy.shown_rate_of_method(asked.first_name()),
        };
        rate.map_or(Show::BALANCE, |(limit, counter)| Show::with_rate(limit, counter))
    }

    /// These numbers now, if the caller may be shown any.
    pub(super) async fn shown_for(&self, identity: &Identity, asked: &Asked<'_>) -> Shown {
        self.numbers(identity, self.show_for(asked)).await
    }
}
