//! All that the books know of one call.

use crate::ledger::{Hold, Posting, Resolution, Reversal};
use crate::model::ids::CallId;
use crate::model::time::Time;

/// A call as the journal tells it. The journal stays when the key is deleted and usage is forgotten.
#[derive(Clone, Debug)]
pub struct ExplainedCall {
    /// Which call.
    pub call: CallId,
    /// Id of the key that pays.
    pub key: String,
    /// The key's name now; none if it is deleted.
    pub key_name: Option<String>,
    /// Its tenant.
    pub namespace: String,
    /// What the client said that it was for, as a JSON object; forgotten with the usage.
    pub labels: Option<String>,
    /// What was reserved.
    pub hold: Hold,
    /// How it ended; none while it is held.
    pub end: Option<Resolution>,
    /// What was given back later.
    pub refund: Option<Reversal>,
    /// Its calls: one, or those of a batch.
    pub items: Vec<ExplainedItem>,
    /// What an open hold waits for, and until when.
    pub waits: Option<(String, Time)>,
    /// Its rows in the journal, in their order.
    pub rows: Vec<ExplainedRow>,
}

/// One call of a hold.
#[derive(Clone, Debug)]
pub struct ExplainedItem {
    /// Tool, or method with a price.
    pub tool: String,
    /// The whole price.
    pub price: i64,
    /// What was charged when it ended.
    pub charged: i64,
    /// How it ended; `open` while it is held.
    pub outcome: String,
}

/// A row of the journal.
#[derive(Clone, Debug)]
pub struct ExplainedRow {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: Time,
    /// The journal's word for what it books.
    pub kind: String,
    /// In credits: reserved, charged or given back.
    pub amount: i64,
    /// Why, in an operator's words.
    pub reason: Option<String>,
}

impl ExplainedCall {
    /// What became of an amount that was reserved: what stayed of it, and what was given back later.
    pub fn kept(&self, index: usize, posting: &Posting) -> (Option<i64>, i64) {
        let kept = self.end.as_ref().map(|end| end.kept.get(index).copied().unwrap_or(0));
        let back = self.refund.iter().flat_map(|refund| &refund.postings);
        let mut back = back.filter(|back| {
            (&back.account, &back.counter, back.window)
                == (&posting.account, &posting.counter, posting.window)
        });
        (kept, back.next().map_or(0, |back| back.amount))
    }
}
