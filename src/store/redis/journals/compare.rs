//! Is what the accounts in Redis say what the journal says? Some accounts of a tenant are read in one step
//! with the number of the journal's last row; the copy is brought up to just that row, and says what
//! the journal gave them and took from them. So it is exact to the credit while calls go on.

use std::time::Instant;

use crate::ledger::{Window, names as counters_of};
use crate::model::bounds::{COMPARE_PAUSE, COMPARED_AT_ONCE};
use crate::model::ids::AccountId;
use crate::store::redis::books::Books;
use crate::store::redis::counters;
use crate::store::redis::names::Names;
use crate::store::{Compared, StoreError};

/// Some accounts at one moment.
struct Present {
    epoch: String,
    seq: i64,
    /// What each owns, held credits included.
    balances: Vec<i64>,
}

/// Epoch and number of the last row.
type Head = (Option<String>, Option<i64>);

impl Books {
    /// Compares all accounts with the journal.
    pub(in crate::store::redis) async fn compare(&self) -> Result<(), StoreError> {
        self.catch_up().await?;
        let known = self.memory().known.clone();
        let mut drift = 0_i128;
        for namespace in known {
            let Some(found) = self.compare_tenant(&namespace).await? else {
                tracing::debug!(
                    target: "store", %namespace,
                    "the accounts are not compared: rows of the journal are missing here"
                );
                return Ok(());
            };
            drift = drift.saturating_add(found);
        }
        let drift = i64::try_from(drift).unwrap_or(if drift < 0 { i64::MIN } else { i64::MAX });
        if drift != 0 {
            tracing::error!(target: "store", drift, "the accounts have credits that the journal does not explain");
        }
        self.memory().compared = Some(Compared { drift, at: Instant::now() });
        Ok(())
    }

    /// Credits that the journal does not explain; `None` if rows of it are missing here.
    async fn compare_tenant(&self, namespace: &str) -> Result<Option<i128>, StoreError> {
        let (mut drift, mut after) = (0_i128, String::new());
        loop {
            let accounts = self.copy.accounts(namespace, after.clone(), COMPARED_AT_ONCE).await?;
            let Some(last) = accounts.last() else { return Ok(Some(drift)) };
            last.as_str().clone_into(&mut after);
            let count = accounts.len();
            let Some(found) = self.compare_accounts(namespace, accounts).await? else {
                return Ok(None);
            };
            drift = drift.saturating_add(found);
            if count < COMPARED_AT_ONCE {
                return Ok(Some(drift));
            }
            tokio::time::sleep(COMPARE_PAUSE).await;
        }
    }

    async fn compare_accounts(
        &self,
        namespace: &str,
        accounts: Vec<AccountId>,
    ) -> Result<Option<i128>, StoreError> {
        // Nobody copies a row beyond the one that the accounts are true up to.
        let _alone = self.copying.lock().await;
        let present = self.present_accounts(namespace, &accounts).await?;
        if !self.copy_up_to(namespace, &present.epoch, present.seq).await? {
            return Ok(None);
        }
        let explained = self.copy.credits(accounts).await?;
        let pairs = present.balances.iter().zip(&explained);
        let drift = pairs.fold(0_i128, |sum, (balance, explained)| {
            sum.saturating_add(i128::from(*balance)).saturating_sub(i128::from(*explained))
        });
        Ok(Some(drift))
    }

    async fn present_accounts(
        &self,
        namespace: &str,
        accounts: &[AccountId],
    ) -> Result<Present, StoreError> {
        let names = Names::of(namespace);
        let balance = counters::field(&counters_of::BALANCE, Window::Lifetime);
        let mut commands = redis::pipe();
        commands.atomic();
        commands.cmd("HMGET").arg(names.meta()).arg("epoch").arg("seq");
        for account in accounts {
            commands.cmd("HMGET").arg(names.account(account)).arg(&*balance).arg("held");
        }
        let values: Vec<redis::Value> = self.link.ask_all(&commands).await?;
        let strange = |_| StoreError::Read("accounts cannot be read".to_owned());
        let mut values = values.into_iter();
        let first = values.next().unwrap_or(redis::Value::Nil);
        let (epoch, seq): Head = redis::from_redis_value(first).map_err(strange)?;
        let mut balances = Vec::with_capacity(accounts.len());
        for value in values {
            let (available, held): (Option<i64>, Option<i64>) =
                redis::from_redis_value(value).map_err(strange)?;
            balances.push(available.unwrap_or(0).saturating_add(held.unwrap_or(0)));
        }
        Ok(Present { epoch: epoch.unwrap_or_default(), seq: seq.unwrap_or(0), balances })
    }
}
