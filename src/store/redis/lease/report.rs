//! Reporting what was sold from leases: in the order of the calls' ends, a few at a time, each once.

use serde_json::{Value, json};

use super::super::books::Books;
use super::super::calls::results;
use super::super::names::Names;
use super::Leases;
use super::file::{Row, Unreported};
use super::terms::accounts_of;
use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::time::Time;
use crate::store::StoreError;

/// The script's accounts begin here.
const FIRST_ACCOUNT: u64 = 7;
/// And its answers to be kept, here.
const FIRST_ANSWER: usize = 8;

impl Books {
    /// Reports all that is written down.
    pub(super) async fn report(&self, leases: &Leases, now: Time) -> Result<(), StoreError> {
        for lease in leases.file.unreported().await? {
            loop {
                let rows = leases.file.rows(&lease.lease).await?;
                let Some(last) = rows.last().map(|row| row.number) else { break };
                self.report_rows(leases, &lease, &rows, now).await?;
                leases.file.forget(&lease.lease, last).await?;
            }
        }
        Ok(())
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
            "instance": leases.file.instance, "payer": payer, "accounts": lease.accounts,
            "granted": "0", "until": "0", "reported": "0", "left": "0", "state": "open",
            "rooms": [],
        });
        let (most, calls) = (REDIS_JOURNAL_ROWS_MAX.to_string(), Value::from(calls).to_string());
        let unknown = unknown.to_string();
        let mut args = vec![most.as_bytes(), calls.as_bytes(), lease.lease.as_bytes()];
        args.push(unknown.as_bytes());
        args.extend(answers);
        let script = &self.link.scripts.report;
        let reply = self.run(&lease.namespace, script, &keys, now, &args).await?;
        for (row, result) in rows.iter().zip(results(&reply)) {
            let word = result.first().map_or("", String::as_str);
            if !matches!(word, "done" | "ended") {
                tracing::error!(
                    target: "store", row = %row.text, %word, "a call sold from a lease is not booked"
                );
            }
        }
        Ok(())
    }
}

/// A row as the script reads it.
fn call_of<'a>(row: &'a Row, answers: &mut Vec<&'a [u8]>) -> Result<Value, StoreError> {
    let strange = |error| StoreError::Read(format!("the file of leases: {error}"));
    let mut call: Value = serde_json::from_str(&row.text).map_err(strange)?;
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
