//! The journal in the file, read with plain SQL, against what the clients know.

use std::collections::HashMap;
use std::path::Path;

use crate::client::{Deed, Kind};

/// The end of a call in the journal.
struct End {
    account: String,
    charged: i64,
    /// Calls that were paid for.
    calls: i64,
}

pub(crate) struct Journal {
    grants: Vec<(String, i64)>,
    ends: HashMap<String, End>,
    days: Vec<i64>,
    /// Calls that a start has released.
    pub(crate) recovered: usize,
}

impl Journal {
    pub(crate) fn read(path: &Path) -> Self {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(path, flags).unwrap();
        let rows = |sql: &str| {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            });
            rows.unwrap().collect::<Result<Vec<(_, String, i64, i64)>, _>>().unwrap()
        };
        let grants = rows("SELECT NULL, account, amount, 0 FROM journal WHERE kind = 'grant'");
        let mut ends = HashMap::new();
        let sql = "SELECT lower(hex(call)), account, amount,
                          (SELECT count(*) FROM json_each(detail, '$.calls') WHERE value ->> 2 > 0)
                   FROM journal WHERE kind IN ('call', 'capture', 'release', 'expire', 'recover')";
        for (call, account, charged, calls) in rows(sql) {
            let id = format!("call_{}", call.unwrap());
            let twice = ends.insert(id.clone(), End { account, charged, calls });
            assert!(twice.is_none(), "{id} ended twice");
        }
        let days = rows("SELECT NULL, '', at / 86400000, 0 FROM journal GROUP BY 3");
        let recovered = rows("SELECT NULL, '', seq, 0 FROM journal WHERE kind = 'recover'");
        Self {
            recovered: recovered.len(),
            grants: grants.into_iter().map(|(_, account, amount, _)| (account, amount)).collect(),
            ends,
            days: days.into_iter().map(|(_, _, day, _)| day).collect(),
        }
    }

    pub(crate) fn is_of_one_day(&self) -> bool {
        let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let today = i64::try_from(today.as_secs() / 86_400).unwrap();
        self.days.iter().all(|day| *day == today)
    }

    /// Credits granted, credits charged, calls charged.
    pub(crate) fn sums(&self, id: &str) -> (i64, i64, i64) {
        let granted = self.grants.iter().filter(|(account, _)| account == id).map(|(_, n)| n).sum();
        let ends = self.ends.values().filter(|end| end.account == id);
        let (charged, calls) =
            ends.fold((0, 0), |(sum, calls), end| (sum + end.charged, calls + end.calls));
        (granted, charged, calls)
    }

    /// Every acknowledged top-up is there once, every other at most once, and nothing else.
    pub(crate) fn check_top_ups(&self, id: &str, first: i64, deeds: &[&Deed], what: &str) {
        let mut found: HashMap<i64, usize> = HashMap::new();
        for (_, amount) in self.grants.iter().filter(|(account, _)| account == id) {
            *found.entry(*amount).or_default() += 1;
        }
        assert_eq!(found.remove(&first), Some(1), "{what}: the first credits");
        for deed in deeds {
            let Kind::TopUp { amount, .. } = &deed.kind else { continue };
            let times = found.remove(amount).unwrap_or(0);
            let least = usize::from(deed.is_answered);
            assert!((least..=1).contains(&times), "{what}: {deed:?} is there {times} times");
        }
        assert!(found.is_empty(), "{what}: nobody asked for {found:?}");
    }

    /// Every answered call was charged exactly once, and at most as many others as got no answer.
    pub(crate) fn check_calls(&self, id: &str, deeds: &[&Deed], what: &str) {
        let mut others: Vec<&End> = Vec::new();
        let known: HashMap<&str, &Deed> =
            deeds.iter().filter_map(|deed| Some((deed.call_id.as_deref()?, *deed))).collect();
        for (call, deed) in &known {
            let charged = self.ends.get(*call).map(|end| end.charged);
            // What was free waits for no disk: its row may be lost.
            let is_lost = charged.is_none() && deed.kind.price() == 0;
            assert!(
                is_lost || charged == Some(deed.kind.price()),
                "{what}: {charged:?} for {deed:?}"
            );
        }
        others.extend(
            self.ends
                .iter()
                .filter(|(call, end)| end.account == id && !known.contains_key(call.as_str()))
                .map(|(_, end)| end)
                .filter(|end| end.charged > 0),
        );
        let mut unanswered: Vec<i64> =
            deeds.iter().filter(|deed| !deed.is_answered).map(|deed| deed.kind.price()).collect();
        for end in others {
            let place = unanswered.iter().position(|price| *price == end.charged);
            let place =
                place.unwrap_or_else(|| panic!("{what}: {} charged to nobody", end.charged));
            unanswered.swap_remove(place);
        }
        for deed in deeds {
            let is_call = matches!(deed.kind, Kind::Calls { .. });
            assert!(!deed.is_answered || !is_call || deed.call_id.is_some(), "{what}: {deed:?}");
        }
    }
}
