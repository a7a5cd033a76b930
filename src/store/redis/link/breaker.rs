//! When a Redis that does not answer is left alone: calls are refused at once, and one probe at a time finds
//! out whether it is back. Then one call goes first.

use crate::model::bounds::REDIS_FAILURES_MAX;

#[derive(Debug)]
enum State {
    /// Everybody may pass; so many connections in a row have failed.
    Closed(u32),
    /// Nobody may.
    Open,
    /// A probe was answered; does a call come through? Somebody may be trying.
    Trial { is_taken: bool },
}

/// The state of one server, as calls have found it.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Why it is not closed.
    why: String,
    /// All that fails on one connection is one failure.
    last: u64,
}

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Free,
    /// The one call that goes first.
    Trial,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self { state: State::Closed(0), why: String::new(), last: 0 }
    }

    /// Asks to pass; why not.
    pub(super) fn enter(&mut self) -> Result<Pass, String> {
        match &mut self.state {
            State::Closed(_) => Ok(Pass::Free),
            State::Trial { is_taken } if !*is_taken => {
                *is_taken = true;
                Ok(Pass::Trial)
            }
            State::Open | State::Trial { .. } => Err(self.why.clone()),
        }
    }

    /// Whoever went first has gone away without an answer.
    pub(super) const fn left(&mut self) {
        if let State::Trial { is_taken } = &mut self.state {
            *is_taken = false;
        }
    }

    /// Redis has answered; was it away before?
    pub(super) const fn answered(&mut self) -> bool {
        let was_away = !matches!(self.state, State::Closed(_));
        self.state = State::Closed(0);
        was_away
    }

    /// A connection failed under a call; does the probing begin?
    pub(super) fn failed(&mut self, connection: u64, why: &str) -> bool {
        match &mut self.state {
            State::Closed(_) if connection == self.last => false,
            State::Closed(count) => {
                self.last = connection;
                *count = count.saturating_add(1);
                *count >= REDIS_FAILURES_MAX && self.open(why)
            }
            State::Trial { .. } => self.open(why),
            State::Open => false,
        }
    }

    /// There is no connection to be had; does the probing begin?
    pub(super) fn open(&mut self, why: &str) -> bool {
        let is_new = !matches!(self.state, State::Open);
        self.state = State::Open;
        why.clone_into(&mut self.why);
        is_new
    }

    /// A probe was answered.
    pub(super) const fn probed(&mut self) {
        if matches!(self.state, State::Open) {
            self.state = State::Trial { is_taken: false };
        }
    }

    /// Why nobody may pass, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        matches!(self.state, State::Open).then(|| self.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_call_came_through() {
        let mut breaker = Breaker::new();
        for connection in 1..u64::from(REDIS_FAILURES_MAX) {
            assert!(!breaker.failed(connection, "slow"));
        }
        assert!(!breaker.answered(), "it was never away");
        for connection in 10..9 + u64::from(REDIS_FAILURES_MAX) {
            assert!(!breaker.failed(connection, "slow"));
            assert!(!breaker.failed(connection, "slow"), "the same connection counts once");
            assert_eq!(breaker.enter(), Ok(Pass::Free));
        }
        assert!(breaker.failed(99, "slow"), "now it opens");
        assert!(!breaker.open("slow"), "it is open already");
        assert_eq!(breaker.enter(), Err("slow".to_owned()));
        assert_eq!(breaker.trouble().as_deref(), Some("slow"));

        breaker.probed();
        assert_eq!(breaker.enter(), Ok(Pass::Trial));
        assert!(breaker.enter().is_err(), "one at a time");
        breaker.left();
        assert_eq!(breaker.enter(), Ok(Pass::Trial));
        assert!(breaker.failed(100, "slower"), "one failure is enough now");
        assert_eq!(breaker.enter(), Err("slower".to_owned()));

        breaker.probed();
        assert_eq!(breaker.enter(), Ok(Pass::Trial));
        assert!(breaker.answered());
        assert_eq!((breaker.enter(), breaker.trouble()), (Ok(Pass::Free), None));
    }
}
