//! What an operator should know of the keys that came over, in one line each with how many it is about.

use std::collections::{BTreeMap, HashSet};

use super::amount::Amount;
use super::record::Coming;
use crate::model::time::Time;

/// Members that nobody knows, as many as are named.
const UNKNOWN_MAX: usize = 20;
const UNKNOWN_CHARS_MAX: usize = 40;

/// What holds of some keys, and what is said of them.
type Note = (fn(&Coming, Time) -> bool, &'static str);

const NOTES: &[Note] = &[
    (
        |coming, _| coming.facts.has_fractional_usage,
        "what was spent or used of a quota is rounded down to whole credits",
    ),
    (
        |coming, now| coming.key.active && coming.key.expired(now),
        "expired; they come over as they are",
    ),
    (
        |coming, _| coming.facts.lacks_active,
        "\"active\" is missing, which paygate-mcp takes for revoked",
    ),
    (
        |coming, _| coming.facts.lacks_created_at,
        "the time of creation is missing or cannot be read; it is set to now",
    ),
    (
        |coming, _| coming.key.ip_allowlist.texts().next().is_some(),
        "an address list holds from now on, against the address of the connection or what trustedProxies forward",
    ),
    (
        |coming, _| coming.facts.dropped_addresses > 0,
        "entries of the address list that are no address matched nobody and are left out",
    ),
];

/// The lines for these keys.
pub(super) fn notes(came: &[&Coming], now: Time) -> Vec<String> {
    let mut notes = of_credits(came);
    for (holds, text) in NOTES {
        let count = came.iter().filter(|coming| holds(coming, now)).count();
        notes.extend(note(count, text));
    }
    notes.extend(note(
        twins(came),
        "active, and as old as another active key of the same name: in Redis, paygate-mcp leaves a key that was \
         rotated as it was, with its credits; revoke the old one",
    ));
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    for name in came.iter().flat_map(|coming| &coming.facts.unknown_members) {
        let count = unknown.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    for (name, count) in unknown.into_iter().take(UNKNOWN_MAX) {
        let name = name.chars().filter(|character| !character.is_control());
        let name: String = name.take(UNKNOWN_CHARS_MAX).collect();
        notes.extend(note(count, &format!("{name:?} is not known here and is not brought over")));
    }
    notes
}

/// Active keys that share name, tenant and the moment of their making with one before them.
fn twins(came: &[&Coming]) -> usize {
    let mut seen = HashSet::new();
    let dated = came.iter().map(|coming| (&coming.key, &coming.facts));
    let dated = dated.filter(|(key, facts)| key.active && !facts.lacks_created_at);
    dated.filter(|(key, _)| !seen.insert((&key.namespace, &key.name, key.created_at))).count()
}

/// Those that name a sum.
fn of_credits(came: &[&Coming]) -> Vec<String> {
    let sum = |of: fn(&Coming) -> Option<Amount>| {
        let (mut count, mut sum) = (0_usize, Amount::default());
        for amount in came.iter().filter_map(|coming| of(coming)) {
            count = count.saturating_add(1);
            sum += amount;
        }
        (count, sum)
    };
    let (fractions, lost) =
        sum(|coming| (!coming.credits.is_whole()).then(|| coming.credits.rest()));
    let fractions = note(
        fractions,
        &format!("a fraction of a credit is rounded off, {lost} in all; credits are whole"),
    );
    let (revoked, kept) = sum(|coming| {
        (!coming.key.active && !coming.credits.is_zero()).then(|| coming.credits.rounded())
    });
    let revoked = note(
        revoked,
        &format!(
            "revoked, with {kept} credits that nobody can spend; paygate-mcp leaves the credits of a key that was \
             rotated on its old record too"
        ),
    );
    fractions.into_iter().chain(revoked).collect()
}

fn note(count: usize, text: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 key: {text}")),
        count => Some(format!("{count} keys: {text}")),
    }
}
