//! A row of a tenant's journal as books that are shared tell of it: money, and also records, so that
//! whoever has all rows has all of the books.

use crate::model::time::Time;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its number.
    pub(super) row: i64,
    /// When it was written, in ledger time.
    pub(super) at: Time,
    /// `grant adjust call refund import` are money; `key team namespace deleted once audit` are not.
    pub(super) kind: String,
    /// The call's id in hex, or empty.
    pub(super) call: String,
    /// Whose, or the record's id.
    pub(super) account: String,
    /// Credits.
    pub(super) amount: i64,
    /// JSON; of a record, the record.
    pub(super) detail: String,
    /// What the client says that its call is for: JSON, or empty.
    pub(super) labels: String,
    /// Of a key: revision, digest, digest before it or `-`, and its place in the order where it was made.
    /// Of a team or tenant: revision. Of something done once: id, request, until when. Of a call: `kept`
    /// with id, request and until when, and `paid` with its call and until when. Of an entry of the audit
    /// log: the balance that it tells of.
    pub(super) more: String,
}

impl Told {
    /// Does it move money?
    pub(super) fn is_money(&self) -> bool {
        is_money(&self.kind)
    }

    /// Is it the same row, written once and read at two places? Labels and entries of the audit log
    /// are forgotten in time.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.row == other.row
            && self.at == other.at
            && self.kind == other.kind
            && self.call == other.call
            && self.account == other.account
            && self.amount == other.amount
            && (self.detail == other.detail || self.kind == "audit")
    }
}

/// Does a kind of row move money?
pub(super) fn is_money(kind: &str) -> bool {
    matches!(kind, "grant" | "adjust" | "call" | "refund" | "import")
}
