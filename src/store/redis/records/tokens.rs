//! Admin tokens. They belong to no tenant, and every instance has all of them in memory; whether one is still
//! there is asked of Redis before it changes anything.

use std::collections::HashMap;
use std::sync::Arc;

use redis::cmd;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::audit::AuditEvent;
use crate::model::bounds::{
    ADMIN_TOKENS_MAX, REDIS_DEED_REMEMBERED, REDIS_JOURNAL_ROWS_MAX, REDIS_TOKEN_ROWS_LOOK,
};
use crate::model::secret::Digest;
use crate::model::token::{AdminToken, TokenId};
use crate::store::record::TokenRecord;
use crate::store::redis::books::{Books, random};
use crate::store::redis::journals::journal::{Entry, Row};
use crate::store::redis::names;
use crate::store::redis::records::credits::pairs;
use crate::store::redis::records::deeds::audit_text;
use crate::store::redis::records::lists;
use crate::store::{Deed, StoreError, clock};

/// At its limit of memory Redis refuses it before it runs, not half way.
const SCRIPT: &str = concat!("#!lua\n", include_str!("../lua/token.lua"));

#[derive(Deserialize)]
struct Token {
    digest: String,
    record: TokenRecord,
}

impl Books {
    /// Makes an admin token.
    pub(in crate::store::redis) async fn create_token(
        &self,
        token: AdminToken,
        deed: Deed,
    ) -> Result<(), StoreError> {
        if self.memory().tokens.len() >= ADMIN_TOKENS_MAX {
            return Err(StoreError::Full("admin tokens", ADMIN_TOKENS_MAX));
        }
        let digest = hex::encode(token.digest.bytes());
        let record = json!({ "digest": digest, "record": TokenRecord::of(&token) }).to_string();
        self.change_token("make", token.id.as_str(), &record, deed.audit.as_ref()).await?;
        self.memory().made_token(token);
        self.tell("tokens").await;
        Ok(())
    }

    /// Ends an admin token.
    pub(in crate::store::redis) async fn delete_token(
        &self,
        id: &TokenId,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let gone = self.change_token("end", id.as_str(), "", None).await?;
        let known = self.memory().ended_token(id);
        if gone == 0 && !known {
            return Err(StoreError::NotFound);
        }
        self.tell("tokens").await;
        if let Err(error) = self.copy.end_tokens(vec![id.to_string()]).await {
            tracing::warn!(target: "store", %error, "that an admin token was ended is in no file here");
        }
        match &deed.audit {
            Some(event) => self.note(event).await,
            None => Ok(()),
        }
    }

    /// How many tokens were made or ended.
    async fn change_token(
        &self,
        what: &str,
        id: &str,
        record: &str,
        audit: Option<&AuditEvent>,
    ) -> Result<i64, StoreError> {
        let row = |at: i64, kind: &str, detail: &str| {
            json!(["at", at.to_string(), "kind", kind, "amount", "0", "detail", detail])
        };
        let kind = if what == "make" { "token" } else { "token-gone" };
        let mut told = row(clock::now().ms(), kind, record);
        if let Value::Array(fields) = &mut told {
            fields.extend([json!("account"), json!(id)]);
        }
        let mut rows = vec![told];
        rows.extend(audit.map(|event| row(event.at.ms(), "audit", &audit_text(event))));
        let mark = names::token_change(&hex::encode(random::<16>()?));
        let mut change = cmd("EVAL");
        change.arg(SCRIPT).arg(4).arg(names::TOKENS).arg(names::JOURNAL).arg(names::CHANGES);
        change.arg(mark).arg(what).arg(id).arg(record);
        change.arg(i64::try_from(REDIS_DEED_REMEMBERED.as_millis()).unwrap_or(i64::MAX));
        change.arg(REDIS_JOURNAL_ROWS_MAX).arg(serde_json::Value::from(rows).to_string());
        self.link.ask(&change).await
    }

    /// Is it still there? News of its end may not have been heard yet.
    pub(in crate::store::redis) async fn has_token(
        &self,
        id: &TokenId,
    ) -> Result<bool, StoreError> {
        let mut look = cmd("HEXISTS");
        look.arg(names::TOKENS).arg(id.as_str());
        let is_there: bool = self.link.ask(&look).await?;
        let is_known = self.memory().tokens.values().any(|token| token.id == *id);
        if !is_there {
            self.memory().ended_token(id);
        }
        Ok(is_there && is_known)
    }

    /// All that are there, but for those that were ended: a Redis that came back as it was before must not
    /// let anybody in again.
    pub(in crate::store::redis) async fn read_tokens(
        &self,
    ) -> Result<HashMap<Digest, Arc<AdminToken>>, StoreError> {
        let mut commands = redis::pipe();
        commands.cmd("HGETALL").arg(names::TOKENS);
        let last = commands.cmd("XREVRANGE").arg(names::JOURNAL).arg("+").arg("-");
        last.arg("COUNT").arg(REDIS_TOKEN_ROWS_LOOK);
        let (value, last): (redis::Value, Vec<Entry>) = self.link.ask_all(&commands).await?;
        let rows = last.iter().filter_map(Row::read).filter(|row| row.kind == "token-gone");
        let just_ended: Vec<String> = rows.map(|row| row.account.as_str().to_owned()).collect();
        if !just_ended.is_empty() {
            self.copy.end_tokens(just_ended).await?;
        }
        let ended = self.copy.ended_tokens().await?;
        let (mut tokens, mut back) = (HashMap::new(), Vec::new());
        for (id, text) in pairs(value) {
            if ended.contains(&id) {
                back.push(id);
            } else if let Some(token) = read(&id, &text) {
                tokens.insert(token.digest, Arc::new(token));
            }
        }
        for id in back {
            tracing::warn!(
                target: "store", token = %id,
                "an admin token that was ended is in Redis again; it is ended once more"
            );
            self.change_token("end", &id, "", None).await?;
        }
        Ok(tokens)
    }
}

fn read(id: &str, text: &str) -> Option<AdminToken> {
    let Token { digest, record } = lists::read(id, text)?;
    let digest = Digest::from_slice(&hex::decode(digest).ok()?)?;
    Some(record.token(TokenId::parse(id)?, digest))
}
