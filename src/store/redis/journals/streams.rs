//! Entries of the streams that belong to no tenant. A lost answer is asked for again, and each is written once.

use redis::{Cmd, cmd};

use crate::model::bounds::REDIS_DEED_REMEMBERED;
use crate::store::StoreError;
use crate::store::redis::books::random;
use crate::store::redis::names;

/// KEYS: the stream, a mark of this entry. ARGV: how long that is remembered in ms, most entries, the fields.
const APPEND: &str = "if redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[1]) then \
     return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3)) end";

/// The command that appends an entry, however often it is sent. The stream is one of no tenant.
pub(in crate::store::redis) fn append(
    stream: &str,
    most: usize,
    fields: &[(&str, &str)],
) -> Result<Cmd, StoreError> {
    Ok(append_marked(stream, most, fields, &new_mark()?))
}

/// What an entry is known by.
pub(in crate::store::redis) fn new_mark() -> Result<String, StoreError> {
    Ok(names::written(&hex::encode(random::<16>()?)))
}

/// The same for an entry that may be asked for again much later.
pub(in crate::store::redis) fn append_marked(
    stream: &str,
    most: usize,
    fields: &[(&str, &str)],
    mark: &str,
) -> Cmd {
    let mut append = cmd("EVAL");
    append.arg(APPEND).arg(2).arg(stream).arg(mark);
    append.arg(i64::try_from(REDIS_DEED_REMEMBERED.as_millis()).unwrap_or(i64::MAX)).arg(most);
    for (name, text) in fields {
        append.arg(name).arg(text);
    }
    append
}
