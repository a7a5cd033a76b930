//! One record of a state file, as a key with its account. What paygate-mcp fills in when it reads its
//! file is filled in here the same way; what cannot be brought over as it is, is refused with the reason.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::amount::{Amount, NotAnAmount};
use crate::app::keys::imported_id;
use crate::ledger::{CounterName, Opening, Posting, Refund, Window, names};
use crate::model::address::AllowedNetwork;
use crate::model::bounds::COUNTER_MAX;
use crate::model::key::{IpAllowlist, Key, Quota, ToolList};
use crate::model::namespace;
use crate::model::secret::RawKey;
use crate::model::time::Time;

/// Every member that paygate-mcp writes.
const MEMBERS: [&str; 22] = [
    "key",
    "name",
    "credits",
    "totalSpent",
    "totalCalls",
    "createdAt",
    "lastUsedAt",
    "active",
    "spendingLimit",
    "allowedTools",
    "deniedTools",
    "expiresAt",
    "quota",
    "tags",
    "ipAllowlist",
    "namespace",
    "quotaDailyCalls",
    "quotaMonthlyCalls",
    "quotaDailyCredits",
    "quotaMonthlyCredits",
    "quotaLastResetDay",
    "quotaLastResetMonth",
];

/// Longest name, and as many tags of as many characters as paygate-mcp takes.
const NAME_CHARS_MAX: usize = 200;
const TAGS_MAX: usize = 50;
const TAG_CHARS_MAX: usize = 100;

/// A key that can be brought over.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) key: Key,
    pub(super) opening: Opening,
    /// Its credits as the file has them.
    pub(super) credits: Amount,
    pub(super) facts: Facts,
}

/// What the operator should know of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What was spent or used up of a quota had a fraction.
    pub(super) has_fractional_usage: bool,
    /// It says neither that it is active nor that it is not.
    pub(super) lacks_active: bool,
    pub(super) lacks_created_at: bool,
    /// Entries of the address list that paygate-mcp never matched.
    pub(super) dropped_addresses: usize,
    /// Members that paygate-mcp does not write.
    pub(super) unknown_members: Vec<String>,
}

/// Why a record is not brought over.
#[derive(Debug)]
pub(super) struct Refused {
    /// The ends of its key, if it has one.
    pub(super) key: Option<String>,
    pub(super) namespace: Option<String>,
    /// Its credits, if they can be read.
    pub(super) credits: Option<Amount>,
    pub(super) why: String,
    /// It is no key for paygate-mcp either.
    pub(super) is_no_key: bool,
}

/// Reads one pair of the file: the key, and its record.
pub(super) fn read(pair: &RawValue, now: Time) -> Result<Coming, Box<Refused>> {
    let no_key = |why: &str| {
        let (key, namespace, credits) = (None, None, None);
        Box::new(Refused { key, namespace, credits, why: why.to_owned(), is_no_key: true })
    };
    let pair: Option<(&RawValue, &RawValue)> = serde_json::from_str(pair.get()).ok();
    let (name, record) = pair.ok_or_else(|| no_key("it is no pair of a key and its record"))?;
    let members: Option<BTreeMap<Cow<'_, str>, &RawValue>> =
        serde_json::from_str(record.get()).ok();
    let members = Members(members.ok_or_else(|| no_key("its record is no object"))?);
    let raw = members.text("key").ok().flatten();
    let raw = raw.ok_or_else(|| no_key("its record has no key, so paygate-mcp skips it too"))?;
    let refused = |why: String| {
        let key = RawKey::parse(&raw).map(|raw| raw.ends().masked());
        let namespace = members.namespace().ok();
        let credits = members.amount("credits").ok().flatten();
        Box::new(Refused { key, namespace, credits, why, is_no_key: false })
    };
    if serde_json::from_str::<Cow<'_, str>>(name.get()).ok().as_deref() != Some(raw.as_str()) {
        return Err(refused("it stands under another key than its record names".to_owned()));
    }
    members.coming(&raw, now).map_err(refused)
}

struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

type Checked<T> = Result<T, String>;

impl Members<'_> {
    fn coming(&self, raw: &str, now: Time) -> Checked<Coming> {
        let checked = crate::config::raw_key(raw);
        checked.map_err(|rule| format!("its key cannot be used. {rule}"))?;
        let raw = RawKey::parse(raw).ok_or("its key cannot be used")?;
        let mut facts = Facts {
            unknown_members: self.unknown(),
            lacks_active: self.get("active").is_none(),
            ..Facts::default()
        };
        let credits = self.amount("credits")?.ok_or("credits is missing")?;
        let mut key = Key::new(imported_id(&raw), &raw, &self.name()?, now);
        key.namespace = self.namespace()?;
        match self.text("createdAt")?.as_deref().and_then(Time::parse) {
            Some(created_at) => key.created_at = created_at,
            None => facts.lacks_created_at = true,
        }
        key.active = match self.get("active") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("active is neither true nor false".to_owned()),
        };
        key.expires_at = self.expiry()?;
        key.spending_limit = self.limit("spendingLimit")?;
        key.allowed_tools = self.tools("allowedTools")?;
        key.denied_tools = self.tools("deniedTools")?;
        key.quota = self.quota()?;
        key.tags = self.tags()?;
        (key.ip_allowlist, facts.dropped_addresses) = self.addresses()?;
        let opening = self.opening(&key, credits, &mut facts, now)?;
        Ok(Coming { key, opening, credits, facts })
    }

    /// The account: credits, what was ever spent and called, and the quota's windows that last.
    fn opening(
        &self,
        key: &Key,
        credits: Amount,
        facts: &mut Facts,
        now: Time,
    ) -> Checked<Opening> {
        let is_now = |marker: &str, present: String| {
            Ok::<_, String>(self.text(marker)?.is_none_or(|reset| reset == present))
        };
        let today = is_now("quotaLastResetDay", now.day_text())?;
        let this_month = is_now("quotaLastResetMonth", now.month_text())?;
        let mut postings = vec![(names::BALANCE, Window::Lifetime, credits.floor())];
        let counters: [(&str, CounterName, Window, bool); 6] = [
            ("totalSpent", names::SPENT, Window::Lifetime, true),
            ("totalCalls", names::CALLS, Window::Lifetime, true),
            ("quotaDailyCalls", names::CALLS_DAY, Window::Day, today),
            ("quotaMonthlyCalls", names::CALLS_MONTH, Window::Month, this_month),
            ("quotaDailyCredits", names::CREDITS_DAY, Window::Day, today),
            ("quotaMonthlyCredits", names::CREDITS_MONTH, Window::Month, this_month),
        ];
        for (name, counter, window, counts) in counters {
            let amount = self.amount(name)?.unwrap_or_default();
            facts.has_fractional_usage |= counts && !amount.is_whole();
            postings.push((counter, window, if counts { amount.floor() } else { 0 }));
        }
        let account = key.id.account();
        let postings = postings.into_iter().filter(|(_, _, amount)| *amount != 0).map(
            |(counter, window, amount)| {
                let (account, refund) = (account.clone(), Refund::Back);
                Posting { account, counter, window, amount, refund }
            },
        );
        let postings = postings.collect();
        let last_call = self.text("lastUsedAt")?.as_deref().and_then(Time::parse);
        Ok(Opening { at: now, account, last_call, postings })
    }

    /// The text of a member, unless it is missing or `null`.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get()).filter(|value| *value != "null")
    }

    fn text(&self, name: &str) -> Checked<Option<String>> {
        let text = self.get(name).map(serde_json::from_str).transpose();
        text.map_err(|_| format!("{name} is not a text"))
    }

    /// A number that may have a fraction.
    fn amount(&self, name: &str) -> Checked<Option<Amount>> {
        if self.0.get(name).is_some_and(|value| value.get() == "null") {
            return Err(format!(
                "{name} is null, which paygate-mcp writes for what it cannot count; give it a number"
            ));
        }
        let Some(text) = self.get(name) else { return Ok(None) };
        match Amount::parse(text) {
            Ok(amount) if amount.floor() >= -COUNTER_MAX => Ok(Some(amount)),
            Err(NotAnAmount::NotANumber) => Err(format!("{name} is not a number")),
            Ok(_) | Err(NotAnAmount::TooLarge) => Err(format!(
                "{name} is {text}, more than is counted exactly ({COUNTER_MAX} at most); give it a smaller number"
            )),
        }
    }

    /// A limit, where 0 is none. One that nothing can reach is kept as the highest.
    fn limit(&self, name: &str) -> Checked<i64> {
        let Some(text) = self.get(name) else { return Ok(0) };
        match Amount::parse(text) {
            Ok(limit) if limit.floor() >= 0 => Ok(limit.floor()),
            Err(NotAnAmount::TooLarge) if !text.starts_with('-') => Ok(COUNTER_MAX),
            Ok(_) | Err(_) => Err(format!("{name} is not a number, 0 or more")),
        }
    }

    fn name(&self) -> Checked<String> {
        let name = self.text("name")?.unwrap_or_default();
        let name: String = name.trim().chars().take(NAME_CHARS_MAX).collect();
        Ok(if name.is_empty() { "unnamed".to_owned() } else { name })
    }

    fn namespace(&self) -> Checked<String> {
        let name = self.text("namespace")?.unwrap_or_default();
        let normal = namespace::normalise(&name);
        normal.ok_or_else(|| "namespace must be letters, digits and \"-\", 50 at most".to_owned())
    }

    /// What is no time never ended a key in paygate-mcp. That is not guessed here.
    fn expiry(&self) -> Checked<Option<Time>> {
        let Some(text) = self.get("expiresAt") else { return Ok(None) };
        let wrong =
            || "expiresAt is no time; write it like 2027-01-31T00:00:00Z, or null for never";
        if !text.starts_with('"') {
            let ms = Amount::parse(text).map_err(|_| wrong())?;
            return Ok((!ms.is_zero()).then(|| Time::from_ms(ms.floor())));
        }
        let text = self.text("expiresAt")?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let day = || Time::parse(&format!("{}T00:00:00Z", text.trim()));
        Time::parse(&text).or_else(day).map(Some).ok_or_else(|| wrong().to_owned())
    }

    fn texts(&self, name: &str) -> Checked<Vec<String>> {
        let list = self.get(name).map(serde_json::from_str::<Vec<String>>).transpose();
        let list = list.map_err(|_| format!("{name} is not a list of texts"))?.unwrap_or_default();
        let is_full = |count: usize| count > ToolList::ENTRIES_MAX;
        if is_full(list.len()) {
            return Err(format!("{name} has more than {} entries", ToolList::ENTRIES_MAX));
        }
        Ok(list)
    }

    fn tools(&self, name: &str) -> Checked<ToolList> {
        Ok(ToolList::from_names(self.texts(name)?.iter().map(String::as_str)))
    }

    fn quota(&self) -> Checked<Option<Quota>> {
        let Some(text) = self.get("quota") else { return Ok(None) };
        let members = serde_json::from_str(text).map_err(|_| "quota is not an object")?;
        let quota = Members(members);
        let limit = |name| quota.limit(name).map_err(|why| format!("quota.{why}"));
        Ok(Some(Quota {
            daily_call_limit: limit("dailyCallLimit")?,
            monthly_call_limit: limit("monthlyCallLimit")?,
            daily_credit_limit: limit("dailyCreditLimit")?,
            monthly_credit_limit: limit("monthlyCreditLimit")?,
        }))
    }

    fn tags(&self) -> Checked<BTreeMap<String, String>> {
        let tags = self.get("tags").map(serde_json::from_str::<BTreeMap<String, String>>);
        let tags = tags.transpose().map_err(|_| "tags is not an object of texts")?;
        let tags = tags.unwrap_or_default();
        let is_long = |text: &String| text.chars().count() > TAG_CHARS_MAX;
        if tags.len() > TAGS_MAX || tags.iter().any(|(name, tag)| is_long(name) || is_long(tag)) {
            return Err(format!(
                "tags has more than {TAGS_MAX}, or one of over {TAG_CHARS_MAX} characters"
            ));
        }
        Ok(tags)
    }

    /// The address list, and how many entries of it are no addresses. Those matched nobody; a list of
    /// nothing else let nobody in, and must not become one that lets in everybody.
    fn addresses(&self) -> Checked<(IpAllowlist, usize)> {
        let entries = self.texts("ipAllowlist")?;
        let entries: Vec<&str> =
            entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()).collect();
        let is_address = |entry: &&str| AllowedNetwork::parse(entry).is_some();
        let good: Vec<&str> = entries.iter().copied().filter(is_address).collect();
        let dropped = entries.len().saturating_sub(good.len());
        if good.is_empty() && dropped > 0 {
            return Err(
                "ipAllowlist has no address or network in it, so it lets nobody in".to_owned()
            );
        }
        let list = IpAllowlist::parse(good.into_iter());
        Ok((list.map_err(|entry| format!("ipAllowlist: not an address: {entry}"))?, dropped))
    }

    fn unknown(&self) -> Vec<String> {
        let names = self.0.keys().filter(|name| !MEMBERS.contains(&name.as_ref()));
        names.map(|name| name.clone().into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-03-05T12:00:00.000Z";

    /// A record with these members in the place of plain ones; `null` stays as it is.
    fn record(change: &Value) -> Result<Coming, Box<Refused>> {
        let mut record = json!({"key": "pg_0123456789abcdef0123", "name": "acme", "credits": 100,
            "totalSpent": 5, "totalCalls": 3, "createdAt": "2025-01-01T00:00:00.000Z",
            "lastUsedAt": null, "active": true, "spendingLimit": 0});
        for (name, value) in change.as_object().unwrap() {
            record[name] = value.clone();
        }
        let pair = json!([record["key"], record]).to_string();
        read(&RawValue::from_string(pair).unwrap(), Time::parse(NOW).unwrap())
    }

    fn why(change: &Value) -> String {
        record(change).unwrap_err().why
    }

    fn amount(coming: &Coming, counter: &CounterName) -> i64 {
        let found = coming.opening.postings.iter().find(|posting| posting.counter == *counter);
        found.map_or(0, |posting| posting.amount)
    }

    #[test]
    fn members_that_are_missing_are_filled_in() {
        let coming = record(&json!({})).unwrap();
        let Key { name, namespace, active, spending_limit, quota, expires_at, .. } = &coming.key;
        assert_eq!((name.as_str(), namespace.as_str(), active), ("acme", "default", &true));
        assert_eq!((spending_limit, quota, expires_at), (&0, &None, &None));
        assert_eq!(coming.key.created_at, Time::parse("2025-01-01T00:00:00Z").unwrap());
        assert_eq!(amount(&coming, &names::BALANCE), 100);
        assert_eq!(amount(&coming, &names::SPENT), 5);
        assert_eq!(amount(&coming, &names::CALLS), 3);
        assert!(coming.opening.last_call.is_none() && coming.facts.unknown_members.is_empty());
    }

    #[test]
    fn quotas_count_in_windows_that_last() {
        let quota = |day: Value, month: Value| {
            let coming = record(&json!({"quotaDailyCalls": 4, "quotaMonthlyCalls": 9,
                "quotaDailyCredits": 8.5, "quotaMonthlyCredits": 18, "quotaLastResetDay": day,
                "quotaLastResetMonth": month}))
            .unwrap();
            let all =
                [names::CALLS_DAY, names::CALLS_MONTH, names::CREDITS_DAY, names::CREDITS_MONTH];
            (all.map(|counter| amount(&coming, &counter)), coming.facts.has_fractional_usage)
        };
        let now = quota(json!("2026-03-05"), json!("2026-03"));
        assert_eq!(now, ([4, 9, 8, 18], true));
        assert_eq!(quota(json!("2026-03-04"), json!("2026-03")), ([0, 9, 0, 18], false));
        assert_eq!(quota(json!("2026-02-05"), json!("2026-02")), ([0; 4], false));
        assert_eq!(quota(Value::Null, Value::Null), now, "a missing marker is this very moment");
    }

    #[test]
    fn what_cannot_be_brought_over_says_why() {
        for (change, words) in [
            (json!({"credits": null}), "credits is null"),
            (json!({"credits": "5"}), "credits is not a number"),
            (json!({"credits": 1e300}), "more than is counted exactly"),
            (json!({"totalSpent": [1]}), "totalSpent is not a number"),
            (json!({"key": "key_0123456789abcdef"}), "its key cannot be used"),
            (json!({"key": "with space"}), "its key cannot be used"),
            (json!({"active": 1}), "active is neither"),
            (json!({"expiresAt": "garbage"}), "expiresAt is no time"),
            (json!({"expiresAt": true}), "expiresAt is no time"),
            (json!({"namespace": "acme_1"}), "namespace must be"),
            (json!({"spendingLimit": -1}), "spendingLimit is not"),
            (json!({"quota": 5}), "quota is not an object"),
            (json!({"quota": {"dailyCallLimit": "x"}}), "quota.dailyCallLimit"),
            (json!({"tags": {"a": 1}}), "tags is not"),
            (json!({"ipAllowlist": ["localhost"]}), "lets nobody in"),
            (json!({"allowedTools": "all"}), "allowedTools is not a list"),
        ] {
            let said = why(&change);
            assert!(said.contains(words), "{change}: {said}");
        }
        let missing = r#"["k",{"key":"k"}]"#.to_owned();
        let refused = read(&RawValue::from_string(missing).unwrap(), Time::ZERO).unwrap_err();
        assert!(refused.why.contains("credits is missing") && !refused.is_no_key);
        for no_key in [r#"["k",{}]"#, r#"["k",5]"#, "5", r#"["k"]"#, r#"["k",{"key":5}]"#] {
            let refused = read(&RawValue::from_string(no_key.to_owned()).unwrap(), Time::ZERO);
            assert!(refused.unwrap_err().is_no_key, "{no_key}");
        }
        let other = r#"["a",{"key":"b","credits":1}]"#.to_owned();
        let refused = read(&RawValue::from_string(other).unwrap(), Time::ZERO).unwrap_err();
        assert!(refused.why.contains("another key") && refused.credits.is_some());
    }

    #[test]
    fn odd_values_that_have_one_meaning_come_over() {
        let ends = |value: Value| record(&json!({"expiresAt": value})).unwrap().key.expires_at;
        let day = Time::parse("2027-01-31T00:00:00Z");
        assert_eq!(ends(json!("2027-01-31T00:00:00.000Z")), day);
        assert_eq!(ends(json!("2027-01-31")), day);
        assert_eq!(ends(json!(day.unwrap().ms())), day);
        assert_eq!((ends(json!("")), ends(json!(0))), (None, None));
        assert_eq!(ends(json!(-5)), Some(Time::ZERO));
        let limits = record(&json!({"spendingLimit": 1e300, "quota": {"dailyCallLimit": 7.9}}));
        let limits = limits.unwrap().key;
        assert_eq!(limits.spending_limit, COUNTER_MAX);
        assert_eq!(limits.quota.unwrap().daily_call_limit, 7);
        let listed = record(&json!({"ipAllowlist": ["10.0.0.0/8", "localhost", " ::1 "]})).unwrap();
        assert_eq!(listed.key.ip_allowlist.texts().count(), 2);
        assert_eq!(listed.facts.dropped_addresses, 1);
        let below = record(&json!({"credits": -0.5})).unwrap();
        assert_eq!(
            (amount(&below, &names::BALANCE), below.credits.to_string()),
            (-1, "-0.5".into())
        );
        assert!(!record(&json!({"active": null})).unwrap().key.active);
        assert_eq!(record(&json!({"future": 1})).unwrap().facts.unknown_members, ["future"]);
    }
}
