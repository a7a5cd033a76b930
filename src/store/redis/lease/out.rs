//! Leases as whoever looks at whole books sees them: the journal knows nothing of them, so beside it their
//! credits count as given back, and whatever is written leaves them out on lease.

use std::collections::BTreeMap;

use super::operator::LeaseOut;
use crate::model::ids::AccountId;

/// The fields that a lease moves credits between.
const BALANCE: &str = "balance@l";
const HELD: &str = "held";

/// What is out on lease of a tenant.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct LeasesOut {
    credits: BTreeMap<AccountId, i64>,
    /// How many there are.
    count: usize,
}

impl LeasesOut {
    /// From the fields of their hash.
    pub(in crate::store::redis) fn read(fields: &[(String, String)]) -> Self {
        let mut out = Self::default();
        let all = fields.iter().filter_map(|(id, text)| LeaseOut::read("", id, text));
        for lease in all.filter(LeaseOut::is_out) {
            let credits = out.credits.entry(AccountId::new(&lease.key)).or_default();
            *credits = credits.saturating_add(lease.credits);
            out.count = out.count.saturating_add(1);
        }
        out
    }

    /// How many leases there are.
    pub(in crate::store::redis) const fn count(&self) -> usize {
        self.count
    }

    /// The fields of an account as they were without.
    pub(in crate::store::redis) fn given_back(
        &self,
        id: &AccountId,
        fields: &[(String, String)],
    ) -> Vec<(String, String)> {
        let credits = self.credits.get(id).copied().unwrap_or(0);
        let moved = |(name, text): &(String, String)| {
            let by = match name.as_str() {
                BALANCE => credits,
                HELD => credits.saturating_neg(),
                _ => return (name.clone(), text.clone()),
            };
            (name.clone(), add(text, by))
        };
        fields.iter().map(moved).collect()
    }

    /// The fields that an account is to have, with what is out on lease now.
    pub(in crate::store::redis) fn take_out(
        &self,
        id: &AccountId,
        known: &[(String, String)],
        wanted: &mut BTreeMap<String, String>,
    ) {
        let leased = known.iter().find(|(name, _)| name == "leased");
        wanted.extend(leased.cloned());
        let credits = self.credits.get(id).copied().unwrap_or(0);
        if credits != 0 {
            for (name, by) in [(BALANCE, credits.saturating_neg()), (HELD, credits)] {
                let text = wanted.entry(name.to_owned()).or_insert_with(|| "0".to_owned());
                *text = add(text, by);
            }
        }
    }
}

fn add(text: &str, by: i64) -> String {
    text.parse::<i64>()
        .map_or_else(|_| text.to_owned(), |number| number.saturating_add(by).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_out_again() {
        let lease = r#"{"instance":"i","run":"r","payer":"key_1","accounts":"key_1","until":"9","left":"30","state":"open"}"#;
        let ended = lease.replace("open", "settled");
        let out = LeasesOut::read(&[
            ("a".to_owned(), lease.to_owned()),
            ("b".to_owned(), ended),
            ("c".to_owned(), "no lease".to_owned()),
        ]);
        assert_eq!(out.count(), 1);
        let fields = [(BALANCE, "70"), (HELD, "32"), ("leased", "{}"), ("spent@l", "8")];
        let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let id = AccountId::new("key_1");
        let back: BTreeMap<_, _> = out.given_back(&id, &fields).into_iter().collect();
        assert_eq!((back[BALANCE].as_str(), back[HELD].as_str()), ("100", "2"));
        let mut wanted = back;
        wanted.remove("leased");
        out.take_out(&id, &fields, &mut wanted);
        assert_eq!(wanted, fields.into_iter().collect());
        let other = AccountId::new("key_2");
        assert_eq!(out.given_back(&other, &[(HELD.to_owned(), "1".to_owned())])[0].1, "1");
    }
}
