//! The outcome table (design.md, money rule 4): what an outcome costs, and booking it.

use super::Proxy;
use super::hold::Held;
use super::tasks::Seen;
use crate::gate::Charge;
use crate::ledger::{ResolutionKind, names};
use crate::protocol::from_server;
use crate::protocol::result_kind::ResultKind;
use crate::store::{self, CallEnd, ItemEnd, Keep, Reading, Settlement, Show, StoreError, clock};
use crate::upstream::{Failure, Outcome};

/// What became of the books.
#[derive(Debug)]
pub(super) enum Settled {
    /// Booked, durably if anything was charged. The numbers are there if there is an account.
    Booked(Option<Reading>),
    /// The hold had expired: nothing is charged, and the answer must not be delivered.
    TooLate,
    /// It could not be written: the answer must not be delivered.
    Unbooked(StoreError),
}

/// What single outcomes cost, apart from shadow mode and cancelled batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Is an answer free that says that it failed?
    pub(super) refund_on_failure: bool,
    /// May an answer ask for more instead of being the end? In the legacy era a single call's may
    /// not: whatever its result says there, it is the result.
    pub(super) may_ask_for_more: bool,
}

/// How one call ends.
pub(super) fn end_of(outcome: &Outcome, terms: Terms) -> ItemEnd {
    let failed = |outcome| ItemEnd { paid: !terms.refund_on_failure, outcome };
    let free = |outcome| ItemEnd { paid: false, outcome };
    let answer = match outcome {
        // The customer got nothing, whatever the switch says.
        Err(failure) => return free(failure.reason()),
        Ok(answer) if answer.is_error() => return failed("error"),
        Ok(answer) if answer.is_tool_error() => return failed("tool_error"),
        Ok(answer) => answer,
    };
    match answer.result_text().map_or(ResultKind::Complete, ResultKind::of) {
        // The round that gives the result is the one that is paid.
        ResultKind::InputRequired if terms.may_ask_for_more => free("input_required"),
        ResultKind::Task => free(Failure::Task.reason()),
        ResultKind::InputRequired | ResultKind::Complete => {
            ItemEnd { paid: true, outcome: "result" }
        }
    }
}

/// How a call ends whose result came as a task.
pub(super) fn end_of_task(seen: Seen<'_>, terms: Terms) -> ItemEnd {
    let failed = |outcome| ItemEnd { paid: !terms.refund_on_failure, outcome };
    match seen {
        Seen::Completed(result) if from_server::is_tool_error(result) => failed("tool_error"),
        Seen::Completed(_) => ItemEnd { paid: true, outcome: "result" },
        Seen::Failed => failed("error"),
        Seen::Cancelled => ItemEnd { paid: false, outcome: Failure::Cancelled.reason() },
        Seen::Lost => ItemEnd { paid: false, outcome: "task_lost" },
        Seen::Open => ItemEnd { paid: false, outcome: "task" },
    }
}

/// How all calls of one hold end.
pub(super) fn ends_of(outcomes: &[Outcome], held: &Held, terms: Terms) -> Vec<ItemEnd> {
    if let Some(outcome) = held.shadow() {
        return vec![ItemEnd { paid: false, outcome }; outcomes.len()];
    }
    if was_cancelled(outcomes) {
        return vec![ItemEnd { paid: false, outcome: Failure::Cancelled.reason() }; outcomes.len()];
    }
    outcomes.iter().map(|outcome| end_of(outcome, terms)).collect()
}

/// Cancelling releases a batch whole.
pub(super) fn was_cancelled(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Cancelled)))
}

impl Proxy {
    pub(super) const fn terms(&self, may_ask_for_more: bool) -> Terms {
        Terms { refund_on_failure: self.options.refund_on_failure, may_ask_for_more }
    }

    /// Resolves a hold. What was charged is durable when this returns; what was released need not
    /// be: a crash releases it too.
    pub(super) async fn settle(
        &self,
        held: Held,
        ends: &[ItemEnd],
        show: Show,
        keep: Option<Keep>,
    ) -> Settled {
        let Some(charge) = held.charge() else { return Settled::Booked(None) };
        let settlement = Settlement { keep, ..store::settlement(charge, ends, show) };
        let captured = settlement.kind == ResolutionKind::Captured;
        let ended = settlement.ends.clone();
        match self.store.settle(settlement, clock::now()).await {
            Ok((reading, durable)) if captured => match durable.wait().await {
                Ok(()) => {
                    self.count_ended(charge, &ended);
                    Settled::Booked(Some(reading))
                }
                Err(error) => Settled::Unbooked(error),
            },
            Ok((reading, _)) => {
                self.count_ended(charge, &ended);
                Settled::Booked(Some(reading))
            }
            Err(error) if !captured => {
                // The hold ends by itself, at its deadline or at the next start.
                tracing::warn!(target: "proxy", call = %charge.call, %error, "a release could not be booked");
                Settled::Booked(None)
            }
            Err(StoreError::NotOpen) => Settled::TooLate,
            Err(error) => Settled::Unbooked(error),
        }
    }
}

impl Proxy {
    /// Counts calls whose end is booked.
    pub(super) fn count_ended(&self, charge: &Charge, ended: &[CallEnd]) {
        // Shadow mode has a price and holds nothing.
        let holds = charge.demands.iter().any(|demand| demand.counter == names::BALANCE);
        for CallEnd { tool, price, charged, .. } in ended {
            self.metrics.call(tool.as_str(), if holds { *price } else { 0 }, *charged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::from_server::{Answer, FromServer};

    fn answered(body: &str) -> Answer {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        match FromServer::read(line.as_bytes()) {
            FromServer::Answer(answer) => answer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_outcome_table() {
        let result = Ok(answered(r#""result":{"content":[]}"#));
        let tool_error = Ok(answered(r#""result":{"content":[],"isError":true}"#));
        let error = Ok(answered(r#""error":{"code":1,"message":"no"}"#));
        let input = Ok(answered(r#""result":{"resultType":"input_required"}"#));
        let task = Ok(answered(r#""result":{"resultType":"task"}"#));
        // (outcome, paid with refunds, paid without, word)
        let table = [
            (&result, true, true, "result"),
            (&tool_error, false, true, "tool_error"),
            (&error, false, true, "error"),
            (&input, false, false, "input_required"),
            (&task, false, false, "malformed_answer"),
        ];
        for (outcome, refunding, keeping, word) in table {
            let end = |refund_on_failure| {
                end_of(outcome, Terms { refund_on_failure, may_ask_for_more: true })
            };
            assert_eq!((end(true).paid, end(false).paid), (refunding, keeping), "{word}");
            assert_eq!(end(true).outcome, word);
        }
        let whole = Terms { refund_on_failure: true, may_ask_for_more: false };
        assert!(end_of(&input, whole).paid, "there it is the result");
        for failure in Failure::ALL {
            for refund_on_failure in [true, false] {
                let terms = Terms { refund_on_failure, may_ask_for_more: false };
                let end = end_of(&Err(failure), terms);
                assert_eq!((end.paid, end.outcome), (false, failure.reason()));
            }
        }
    }
}
