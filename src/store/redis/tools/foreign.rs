//! What paygate-mcp has left in Redis. It uses names with the same beginning as ours: its `pg:keys` is a set,
//! ours a sorted set, and its keys are in hashes named after the raw key.

use std::collections::HashMap;

use redis::cmd;
use zeroize::Zeroizing;

use crate::model::bounds::STATE_FILE_BYTES_MAX;
use crate::store::StoreError;
use crate::store::redis::RedisPlace;
use crate::store::redis::link::Link;
use crate::store::redis::names;
use crate::store::redis::records::lists::CHUNK;
use crate::store::redis::tools::whole::patient_link;

/// A key of paygate-mcp: itself, and the fields of its record. It is raw, so it does not stay in memory.
pub type ForeignKey = (Zeroizing<String>, HashMap<String, Zeroizing<String>>);

/// Does this database hold keys of paygate-mcp?
pub(in crate::store::redis) async fn is_foreign(link: &Link) -> Result<bool, StoreError> {
    let kind: String = link.ask(cmd("TYPE").arg(names::KEYS)).await?;
    Ok(kind == "set")
}

/// Reads all keys of paygate-mcp that its own instances would read.
pub async fn keys_of_paygate_mcp(at: &RedisPlace) -> Result<Vec<ForeignKey>, StoreError> {
    let link = patient_link(at).await?;
    if !is_foreign(&link).await? {
        let what = "there are no keys of paygate-mcp in this Redis database; its URL may name another one behind the last /";
        return Err(StoreError::Read(what.to_owned()));
    }
    let mut raw: Vec<String> = link.ask(cmd("SMEMBERS").arg(names::KEYS)).await?;
    raw.sort_unstable();
    let raw: Vec<Zeroizing<String>> = raw.into_iter().map(Zeroizing::new).collect();
    let (mut keys, mut size) = (Vec::with_capacity(raw.len()), 0_u64);
    for chunk in raw.chunks(CHUNK) {
        let mut commands = redis::pipe();
        for key in chunk {
            commands.cmd("HGETALL").arg(format!("pg:key:{}", key.as_str()));
        }
        let records: Vec<HashMap<String, String>> = link.ask_all(&commands).await?;
        for (key, record) in chunk.iter().zip(records) {
            let lengths = record.iter().map(|(name, text)| name.len().saturating_add(text.len()));
            let length: usize = lengths.fold(key.len(), usize::saturating_add);
            size = size.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            if size > STATE_FILE_BYTES_MAX {
                let most = STATE_FILE_BYTES_MAX >> 20;
                return Err(StoreError::Read(format!(
                    "the keys of paygate-mcp are more than {most} MiB"
                )));
            }
            let record = record.into_iter().map(|(name, text)| (name, Zeroizing::new(text)));
            keys.push((key.clone(), record.collect()));
        }
    }
    Ok(keys)
}
