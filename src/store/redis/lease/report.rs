//! Reporting what was sold from leases: in the order of the calls' ends, a few at a time, each once.

use redis::cmd;
use serde_json::{Value, json};

use super::super::books::Books;
use super::super::names::Names;
use super::super::together;
use super::file::{Row, Unreported};
use super::tend::Away;
use super::terms::accounts_of;
use super::{LeaseOut, Leases};
use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::ids::CallId;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::replay::call_id;

/// The script's accounts begin here.
const FIRST_ACCOUNT: u64 = 7;
/// And its answers to be kept, here.
const FIRST_ANSWER: usize = 8;

impl Books {
    /// Reports all that is written down, but for tenants whose Redis is away.
    pub(super) async fn report(
        &self,
        leases: &Leases,
        away: &mut Away,
        now: Time,
    ) -> Result<(), StoreError> {
        for lease in leases.file.unreported().await? {
            if !away.has(&lease.namespace) {
                away.note(&lease.namespace, self.report_lease(leases, &lease, now).await);
            }
        }
        Ok(())
    }

    async fn report_lease(
        &self,
        leases: &Leases,
        lease: &Unreported,
        now: Time,
    ) -> Result<(), StoreError> {
        let is_known = self.has_lease(lease).await?;
        if !is_known {
            tracing::warn!(
                target: "store", lease = %lease.lease, namespace = %lease.namespace,
                "Redis does not have a lease; what was sold from it, and was not reported yet, comes from the balance"
            );
        }
        loop {
            let mut rows = leases.file.rows(&lease.lease).await?;
            let Some(last) = rows.last().map(|row| row.number) else { return Ok(()) };
            if !is_known {
                rows = self.not_in_journal(rows).await?;
            }
            if !rows.is_empty() {
                self.report_rows(leases, lease, &rows, now).await?;
            }
            leases.file.forget(&lease.lease, last).await?;
        }
    }

    /// Does Redis have the lease, and with it the number of the last call that was reported?
    async fn has_lease(&self, lease: &Unreported) -> Result<bool, StoreError> {
        let mut get = cmd("HGET");
        get.arg(Names::of(&lease.namespace).leases()).arg(&lease.lease);
        let found: Option<String> = self.link.ask(&get).await?;
        let found = found.and_then(|text| LeaseOut::read(&lease.namespace, &lease.lease, &text));
        Ok(found.is_some_and(|out| !out.is_lost))
    }

    /// Of calls of a lease that Redis does not have, those that nobody has reported: it may have lost the
    /// lease, or the lease may have ended and the file be an old copy.
    async fn not_in_journal(&self, rows: Vec<Row>) -> Result<Vec<Row>, StoreError> {
        self.catch_up().await?;
        let mut unknown = Vec::with_capacity(rows.len());
        for row in rows {
            let call = row.call().ok_or_else(|| strange(&"a row names no call"))?;
            if self.copy.find_call(call).await?.is_none() {
                unknown.push(row);
            }
        }
        Ok(unknown)
    }

    async fn report_rows(
        &self,
        leases: &Leases,
        lease: &Unreported,
        rows: &[Row],
        now: Time,
    ) -> Result<(), StoreError> {
        let accounts = accounts_of(&lease.accounts);
        let names = Names::of(&lease.namespace);
        let mut keys = vec![
            names.meta(),
            names.holds(),
            names.due(),
            names.journal(),
            names.kept(),
            names.leases(),
        ];
        keys.extend(accounts.iter().map(|account| names.account(account)));
        let (mut calls, mut answers) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            calls.push(call_of(row, &mut answers)?);
        }
        let payer = accounts.first().map_or("", |account| account.as_str());
        // A Redis that has lost the lease is told of what was sold nevertheless: customers were served.
        let unknown = json!({
            "instance": leases.file.instance, "run": leases.file.run(), "payer": payer, "accounts": lease.accounts,
            "granted": "0", "until": "0", "reported": "0", "left": "0", "state": "lost",
            "rooms": [],
        });
        let (most, calls) = (REDIS_JOURNAL_ROWS_MAX.to_string(), Value::from(calls).to_string());
        let unknown = unknown.to_string();
        let mut args = vec![most.as_bytes(), calls.as_bytes(), lease.lease.as_bytes()];
        args.push(unknown.as_bytes());
        args.extend(answers);
        let script = &self.link.scripts.report;
        let reply = self.run(&lease.namespace, script, &keys, now, &args).await?;
        for (row, answer) in rows.iter().zip(together::answers(reply)) {
            let word = answer.word();
            if !matches!(word, "done" | "ended") {
                tracing::error!(
                    target: "store", row = %row.text, %word, "a call sold from a lease is not booked"
                );
            }
        }
        Ok(())
    }
}

fn strange(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Read(format!("the file of leases: {why}"))
}

impl Row {
    fn call(&self) -> Option<CallId> {
        let row: Value = serde_json::from_str(&self.text).ok()?;
        call_id(row.get("call")?.as_str()?)
    }
}

/// A row as the script reads it.
fn call_of<'a>(row: &'a Row, answers: &mut Vec<&'a [u8]>) -> Result<Value, StoreError> {
    let mut call: Value = serde_json::from_str(&row.text).map_err(|error| strange(&error))?;
    let places = call.get("accounts").and_then(Value::as_array);
    let places = places.into_iter().flatten().filter_map(Value::as_u64);
    let places: Vec<u64> = places.map(|place| place.saturating_add(FIRST_ACCOUNT)).collect();
    call["accounts"] = places.into();
    call["number"] = row.number.into();
    if let Some(keep) = call.get_mut("keep") {
        // The script counts the three arguments before ours.
        keep["answer"] = match &row.answer {
            Some(answer) => {
                answers.push(answer);
                FIRST_ANSWER.saturating_add(answers.len()).saturating_sub(1).into()
            }
            None => 0.into(),
        };
    }
    Ok(call)
}
