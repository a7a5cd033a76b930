//! From a decision to a permit. [`Held`] is what sending a priced call demands, and only
//! [`Proxy::hold`] makes one: a call that was not held cannot be written down in this program.

use super::Proxy;
use super::asked::{Asked, Form};
use super::identify::Identity;
use super::outage;
use crate::gate::{self, CallFacts, Charge, Denied, Item};
use crate::model::bounds;
use crate::model::denial::{Denial, QuotaKind};
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::{HoldRefused, Judged, Resumed, StoreError, clock};

/// What the gate allowed, not yet held.
pub(super) struct Allowed(Kind);

enum Kind {
    Paid(Charge),
    /// Shadow mode: counted, never charged; the word says what would have happened.
    Shadow(Charge, &'static str),
    /// A hold of an earlier round.
    Continued {
        key: KeyId,
        call: CallId,
        state: String,
        /// The records that let its caller go on; none in shadow mode.
        judged: Option<Judged>,
        /// The word of shadow mode, which may be younger than the hold.
        shadow: Option<&'static str>,
    },
    /// Shadow mode without a usable key: there is no account to record it in.
    Nobody,
}

/// The permit to send a priced call.
pub(super) struct Held {
    charge: Option<Charge>,
    shadow: Option<&'static str>,
}

/// Why there is no permit.
pub(super) enum NotHeld {
    Refused(Box<Denied>),
    /// The round was gone on with before, or its time is over.
    Used,
    /// The gate read a record that has changed since.
    Stale,
    Unavailable(StoreError),
}

impl Proxy {
    /// Asks the gate. In shadow mode it is asked too, but its no is only noted.
    pub(super) async fn judge(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        call: CallId,
    ) -> Result<Allowed, Denied> {
        let policy = &self.options.policy;
        let admit = |identity: &Identity| -> Result<Charge, Denied> {
            let charge = match asked.form {
                Form::Call | Form::Batch => {
                    gate::admit(policy, &identity.request(asked.calls, asked.in_batch()), call)
                }
                Form::Method => {
                    let request = identity.request(&[], false);
                    gate::admit_method(policy, &request, asked.first_name(), call)
                }
            };
            charge.map(|charge| charge.labelled(asked.labels.clone()))
        };
        let admitted = admit(identity);
        if !policy.shadow {
            return admitted.map(|charge| Allowed(Kind::Paid(charge)));
        }
        let (charge, denial) = match admitted {
            Ok(charge) => {
                let refusal =
                    self.store.check(&charge, identity.now).await.ok().and_then(Result::err);
                let denial = refusal.map(|refusal| charge.refused(&refusal).denial);
                (Some(charge), denial)
            }
            Err(denied) => {
                let unrestricted = identity.unrestricted();
                let charge = unrestricted.and_then(|identity| admit(&identity).ok());
                (charge, Some(denied.denial))
            }
        };
        let word = shadowed(denial.as_ref());
        Ok(Allowed(match charge {
            Some(charge) => Kind::Shadow(charge.shadow(), word),
            None => Kind::Nobody,
        }))
    }

    /// Reserves what a call may cost. The hold outlives the longest call by a margin, so that an
    /// answer that comes at the very end can still be settled.
    pub(super) async fn hold(&self, allowed: Allowed) -> Result<Held, NotHeld> {
        let (charge, shadow) = match allowed.0 {
            Kind::Paid(charge) => (charge, None),
            Kind::Shadow(charge, word) => (charge, Some(word)),
            Kind::Continued { key, call, state, judged, shadow } => {
                let held = self.go_on(key, call, &state, judged.as_ref()).await?;
                return Ok(Held { shadow, ..held });
            }
            Kind::Nobody => return Ok(Held { charge: None, shadow: Some("shadow") }),
        };
        let now = clock::now();
        let deadline = self.deadline(now);
        match (self.store.hold(&charge, now, deadline).await, shadow) {
            (Ok(()), shadow) => {
                outage::answered(self.store.as_ref());
                Ok(Held { charge: Some(charge), shadow })
            }
            (Err(HoldRefused::Stale), _) => Err(NotHeld::Stale),
            (Err(HoldRefused::Refused(refusal)), None) => {
                Err(NotHeld::Refused(Box::new(charge.refused(&refusal))))
            }
            (Err(HoldRefused::Unavailable(error)), None) => Err(NotHeld::Unavailable(error)),
            // Shadow mode refuses nothing, not even when it cannot write down what it saw.
            (Err(why), Some(_)) => {
                tracing::warn!(target: "proxy", ?why, "shadow mode: a call could not be recorded");
                Ok(Held { charge: None, shadow })
            }
        }
    }
}

impl Proxy {
    /// Judges a later round of a call that is held already: whether its caller may still call.
    /// Nothing is counted again.
    pub(super) fn judge_round(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        call: CallId,
        state: String,
    ) -> Result<Allowed, Denied> {
        let admitted = gate::admit_free(&identity.request(asked.tool_calls(), false));
        let shadow = match (admitted, self.options.policy.shadow) {
            (Err(denied), false) => return Err(denied),
            (Ok(()), false) => None,
            (admitted, true) => Some(shadowed(admitted.err().map(|it| it.denial).as_ref())),
        };
        let judged = identity.judged().filter(|_| !self.options.policy.shadow);
        Ok(Allowed(match &identity.key {
            Some(key) => Kind::Continued { key: key.id.clone(), call, state, judged, shadow },
            None => Kind::Nobody,
        }))
    }

    /// Judges what was priced before, at that price.
    pub(super) fn judge_at_price(
        &self,
        identity: &Identity,
        calls: &[CallFacts<'_>],
        item: Item,
        call: CallId,
    ) -> Result<Allowed, Denied> {
        let request = identity.request(calls, false);
        let charge = gate::admit_at_price(&self.options.policy, &request, item, call)?;
        Ok(Allowed(Kind::Paid(charge)))
    }

    /// Goes on with a parked hold.
    pub(super) async fn go_on(
        &self,
        key: KeyId,
        call: CallId,
        state: &str,
        judged: Option<&Judged>,
    ) -> Result<Held, NotHeld> {
        let now = clock::now();
        let deadline = self.deadline(now);
        let resumed = self.store.resume(&key, call, state, judged, now, deadline).await;
        match resumed {
            Ok(Resumed { hold, tool, price }) => {
                let charge = Charge::of_hold(key, Item { tool, price }, &hold);
                // What shadow mode finds held it releases.
                let shadow = self.options.policy.shadow.then_some("shadow");
                Ok(Held { charge: Some(charge), shadow })
            }
            Err(StoreError::NotOpen) => Err(NotHeld::Used),
            Err(StoreError::Conflict) => Err(NotHeld::Stale),
            Err(error) => Err(NotHeld::Unavailable(error)),
        }
    }

    /// When a hold made now ends by itself.
    fn deadline(&self, now: Time) -> Time {
        now.plus(self.options.request_timeout_max).plus(bounds::HOLD_MARGIN)
    }
}

impl Allowed {
    /// A round of a call that holds nothing, as in shadow mode.
    pub(super) const fn unheld() -> Self {
        Self(Kind::Nobody)
    }
}

impl Held {
    /// What is held; nothing for a caller that has no account.
    pub(super) const fn charge(&self) -> Option<&Charge> {
        self.charge.as_ref()
    }

    /// The call of the hold that can wait for this customer; none in shadow mode, and none for
    /// nobody.
    pub(super) fn waits_for(&self, key: Option<&KeyId>) -> Option<CallId> {
        let charge = self.charge().filter(|_| self.shadow.is_none() && key.is_some());
        charge.map(|charge| charge.call)
    }

    /// In shadow mode the outcome to record, whatever the tool says.
    pub(super) const fn shadow(&self) -> Option<&'static str> {
        self.shadow
    }
}

/// What shadow mode records; a denial is noted, and goes no further.
fn shadowed(denial: Option<&Denial>) -> &'static str {
    if let Some(denial) = denial {
        tracing::debug!(target: "proxy", reason = denial.word(), "shadow mode: would have been refused");
    }
    shadow_outcome(denial)
}

const fn shadow_outcome(denial: Option<&Denial>) -> &'static str {
    let Some(denial) = denial else { return "shadow" };
    match denial {
        Denial::MissingApiKey => "shadow:missing_api_key",
        Denial::InvalidApiKey => "shadow:invalid_api_key",
        Denial::ApiKeyExpired => "shadow:api_key_expired",
        Denial::ApiKeySuspended => "shadow:api_key_suspended",
        Denial::NamespaceSuspended => "shadow:namespace_suspended",
        Denial::IpNotAllowed(_) => "shadow:ip_not_allowed",
        Denial::ToolNotAllowed(_) => "shadow:tool_not_allowed",
        Denial::ToolDenied(_) => "shadow:tool_denied",
        Denial::RateLimited { .. } => "shadow:rate_limited",
        Denial::ToolRateLimited { .. } => "shadow:tool_rate_limited",
        Denial::InsufficientCredits { .. } => "shadow:insufficient_credits",
        Denial::SpendingLimitExceeded { .. } => "shadow:spending_limit_exceeded",
        Denial::TeamBudgetExceeded => "shadow:team_budget_exceeded",
        Denial::TeamQuotaExceeded(quota) => match quota {
            QuotaKind::DailyCalls => "shadow:team_daily_call_limit",
            QuotaKind::MonthlyCalls => "shadow:team_monthly_call_limit",
            QuotaKind::DailyCredits => "shadow:team_daily_credit_limit",
            QuotaKind::MonthlyCredits => "shadow:team_monthly_credit_limit",
        },
        Denial::QuotaExceeded { quota, .. } => match quota {
            QuotaKind::DailyCalls => "shadow:daily_call_quota_exceeded",
            QuotaKind::MonthlyCalls => "shadow:monthly_call_quota_exceeded",
            QuotaKind::DailyCredits => "shadow:daily_credit_quota_exceeded",
            QuotaKind::MonthlyCredits => "shadow:monthly_credit_quota_exceeded",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shadow_mode_records_names_the_denial() {
        for denial in [
            Denial::MissingApiKey,
            Denial::ToolDenied("t".into()),
            Denial::RateLimited { limit: 1 },
            Denial::QuotaExceeded {
                quota: QuotaKind::MonthlyCredits,
                used: 1,
                need: 1,
                limit: 1,
                in_batch: false,
            },
        ] {
            assert_eq!(shadow_outcome(Some(&denial)), format!("shadow:{}", denial.word()));
        }
        assert_eq!(shadow_outcome(None), "shadow");
    }
}
