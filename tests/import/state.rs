//! State files as paygate-mcp 2.9 writes them: a list of pairs, two spaces a level, plain keys.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// A record, as text, and what is known of it.
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Its credits, if they can be read.
    pub(crate) thousandths: Option<i128>,
    members: Vec<(String, String)>,
    /// Whether it can be brought over.
    comes: bool,
    active: bool,
    is_over: bool,
    spent: i64,
    calls: i64,
}

pub(crate) struct State {
    pub(crate) records: Vec<Record>,
}

/// A decimal with up to three decimals, times 1000.
pub(crate) fn thousandths(text: &str) -> i128 {
    let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
    let (whole, decimals) = size.split_once('.').unwrap_or((size, ""));
    assert!(decimals.len() <= 3, "{text}");
    sign * format!("{whole}{decimals:0<3}").parse::<i128>().unwrap()
}

impl Record {
    /// A plain record; `credits` is the text of a JSON number.
    pub(crate) fn new(key: &str, credits: &str) -> Self {
        let known = credits.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
        let member = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let members = vec![
            member("key", &format!("\"{key}\"")),
            member("name", "\"plain\""),
            member("credits", credits),
            member("totalSpent", "0"),
            member("totalCalls", "0"),
            member("active", "true"),
        ];
        Self {
            key: key.to_owned(),
            name: "plain".to_owned(),
            namespace: "default".to_owned(),
            thousandths: known.then(|| thousandths(credits)),
            members,
            comes: known,
            active: true,
            is_over: false,
            spent: 0,
            calls: 0,
        }
    }

    /// With this member in the place of the one before.
    pub(crate) fn with(mut self, member: &str) -> Self {
        let (name, value) = member.split_once(": ").unwrap();
        self.set(name.trim_matches('"'), value);
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        self.members.retain(|(known, _)| known != name);
        self.members.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn comes(&self) -> bool {
        self.comes
    }

    pub(crate) fn credits_unknown(&self) -> bool {
        self.thousandths.is_none()
    }

    pub(crate) fn whole(&self) -> i128 {
        self.thousandths.unwrap().div_euclid(1000)
    }

    pub(crate) fn can_call(&self) -> bool {
        let spendable = self.thousandths.is_some_and(|size| (2_000..9_000_000).contains(&size));
        let is_plain = !self.members.iter().any(|(name, _)| {
            ["ipAllowlist", "allowedTools", "quota", "spendingLimit"].contains(&name.as_str())
        });
        self.comes && self.active && !self.is_over && spendable && is_plain
    }

    /// What the books show of it.
    pub(crate) fn check(&self, shown: &Value) {
        assert_eq!(shown["credits"].as_i64().map(i128::from), Some(self.whole()), "{shown}");
        assert_eq!(
            (&shown["totalSpent"], &shown["totalCalls"]),
            (&self.spent.into(), &self.calls.into())
        );
        assert_eq!(
            (&shown["active"], &shown["expired"]),
            (&self.active.into(), &self.is_over.into())
        );
        assert_eq!(shown["namespace"], self.namespace);
        let member = |name: &str| {
            let found = self.members.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| serde_json::from_str::<Value>(value).unwrap())
        };
        for name in [
            "allowedTools",
            "deniedTools",
            "tags",
            "ipAllowlist",
            "quota",
            "spendingLimit",
            "createdAt",
            "lastUsedAt",
            "quotaDailyCalls",
            "quotaMonthlyCredits",
        ] {
            if let Some(value) = member(name) {
                assert_eq!(shown[name], value, "{name} of {shown}");
            }
        }
    }

    fn write(&self, text: &mut String) {
        write!(text, "  [\n    \"{}\",\n    {{\n", self.key).unwrap();
        let members = self.members.iter().map(|(name, value)| format!("      \"{name}\": {value}"));
        text.push_str(&members.collect::<Vec<_>>().join(",\n"));
        text.push_str("\n    }\n  ]");
    }
}

impl State {
    pub(crate) fn of(records: Vec<Record>) -> Self {
        Self { records }
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut text = "[\n".to_owned();
        for (index, record) in self.records.iter().enumerate() {
            if index > 0 {
                text.push_str(",\n");
            }
            record.write(&mut text);
        }
        text.push_str("\n]");
        fs::write(path, text).unwrap();
    }

    /// The places, counted from 1, of some records.
    pub(crate) fn places(&self, which: impl Fn(&Record) -> bool) -> Vec<usize> {
        let numbered = self.records.iter().enumerate().filter(|(_, record)| which(record));
        numbered.map(|(index, _)| index + 1).collect()
    }

    /// Keys with nothing odd about them.
    pub(crate) fn plain(count: usize) -> Self {
        let record = |index: usize| Record::new(&format!("pg_{index:048x}"), &index.to_string());
        Self { records: (0..count).map(record).collect() }
    }

    /// As many keys, with every odd shape that such a file can have.
    pub(crate) fn generated(count: usize) -> Self {
        Self { records: (0..count).map(odd).collect() }
    }
}

/// The record with a number: which oddities it has follows from it.
fn odd(index: usize) -> Record {
    const SPACES: [&str; 5] = ["default", "acme", "globex", "initech", "a-b-1"];
    let now = paygate::store::clock::now();
    let has = |period: usize, at: usize| index % period == at;
    let credits = match index {
        _ if has(101, 5) => "null".to_owned(),
        _ if has(97, 6) => "1e+300".to_owned(),
        _ if has(89, 7) => "9007199254740992".to_owned(),
        _ if has(50, 8) => "9007199254740991".to_owned(),
        _ if has(40, 9) => "-3.5".to_owned(),
        _ if has(10, 3) => format!("{index}.{:03}", index * 7 % 999 + 1),
        _ if has(30, 1) => "0".to_owned(),
        _ => (index * 37 % 5_000).to_string(),
    };
    let key = if has(20, 4) { format!("legacy-{index}") } else { format!("pg_{index:048x}") };
    let mut record = Record::new(&key, &credits);
    // 2^53 is read, and named as too much.
    if credits == "9007199254740992" {
        (record.comes, record.thousandths) = (false, None);
    }
    record.name = format!("customer {index}");
    record.set("name", &format!("\"{}\"", record.name));
    (record.spent, record.calls) =
        (i64::try_from(index * 3).unwrap(), i64::try_from(index).unwrap());
    let spent = if has(10, 3) { format!("{}.5", record.spent) } else { record.spent.to_string() };
    record.set("totalSpent", &spent);
    record.set("totalCalls", &record.calls.to_string());
    if !has(7, 1) {
        // Members that older versions did not write.
        SPACES[index % 5].clone_into(&mut record.namespace);
        record.set("namespace", &format!("\"{}\"", record.namespace));
        record.set("createdAt", "\"2025-03-04T05:06:07.089Z\"");
        record.set("lastUsedAt", if has(3, 0) { "null" } else { "\"2025-06-01T00:00:00.500Z\"" });
        record.set("deniedTools", "[]");
        record.set("tags", r#"{"plan": "pro", "seat": "ünï"}"#);
        record.set("quotaLastResetDay", &format!("\"{}\"", now.day_text()));
        record.set("quotaLastResetMonth", &format!("\"{}\"", now.month_text()));
        record.set("quotaDailyCalls", &(index % 9).to_string());
        record.set("quotaMonthlyCredits", &(index % 90).to_string());
    }
    limits(index, &mut record);
    record
}

/// What it may not do, and what cannot be brought over.
fn limits(index: usize, record: &mut Record) {
    let has = |period: usize, at: usize| index % period == at;
    if has(9, 2) {
        record.active = false;
        record.set("active", "false");
    }
    if has(11, 4) {
        record.is_over = true;
        record.set(
            "expiresAt",
            if has(2, 0) { "\"2025-01-31T00:00:00.000Z\"" } else { "1735689600000" },
        );
    } else if has(13, 4) {
        record.set("expiresAt", "\"2999-01-31T00:00:00.000Z\"");
    }
    if has(17, 3) {
        record.set("allowedTools", r#"["instant", "files:read_file"]"#);
        record.set("spendingLimit", "500000");
    }
    if has(19, 3) {
        record.set("ipAllowlist", r#"["10.0.0.0/8", "::1"]"#);
        let quota = r#"{"dailyCallLimit": 9, "monthlyCallLimit": 0, "dailyCreditLimit": 0, "monthlyCreditLimit": 70}"#;
        record.set("quota", quota);
    }
    for (period, member) in
        [(83, "expiresAt"), (79, "namespace"), (73, "ipAllowlist"), (71, "active")]
    {
        if has(period, 12) {
            record.comes = false;
            record.set(
                member,
                if member == "ipAllowlist" { r#"["nowhere"]"# } else { "\"not_a value\"" },
            );
        }
    }
}
