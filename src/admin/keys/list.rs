//! `GET /keys`: all keys, revoked ones included: a page of them, or the whole list as a stream.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::admin::keys::view::{KeyView, Moment};
use crate::admin::wire::answer::{Answer, Problem, in_background};
use crate::admin::wire::query::Query;
use crate::admin::wire::stream::{self, Source};
use crate::admin::{Admin, Call};
use crate::store::KeysPage;

/// Keys that are read at a time for the whole list.
const KEYS_PER_PIECE: usize = 250;

pub(in crate::admin) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let namespace = call.actor.scope(query.namespace()?)?;
    if let Some(asked) = query.page()? {
        let page = admin.store.keys_page(namespace.as_deref(), asked.after, asked.limit).await?;
        return in_background(move || {
            let moment = Moment::new(admin.store.as_ref(), call.now);
            let views = page.keys.iter().map(|(key, account)| KeyView::of(key, account, &moment));
            Ok(Answer::pretty(&views.collect::<Vec<_>>())?.next_cursor(page.next))
        })
        .await;
    }
    // Before the answer begins, so that a failure has a status.
    let first = admin.store.keys_page(namespace.as_deref(), None, KEYS_PER_PIECE).await?;
    let all = WholeList { admin, call, namespace, page: Some(first), after: None, begun: false };
    Ok(Answer::streamed(stream::body(all)))
}

struct WholeList {
    admin: Arc<Admin>,
    call: Call,
    namespace: Option<String>,
    /// What was read already.
    page: Option<KeysPage>,
    /// Where to read on.
    after: Option<i64>,
    begun: bool,
}

#[async_trait]
impl Source for WholeList {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let page = match (self.page.take(), self.after.take()) {
            (Some(page), _) => page,
            (None, Some(after)) => {
                let namespace = self.namespace.as_deref();
                self.admin.store.keys_page(namespace, Some(after), KEYS_PER_PIECE).await?
            }
            (None, None) => return Ok(None),
        };
        self.after = page.next;
        let mut text = String::new();
        if !self.begun {
            text.push('[');
        }
        let moment = Moment::new(self.admin.store.as_ref(), self.call.now);
        for (key, account) in &page.keys {
            text.push_str(if self.begun { ",\n  " } else { "\n  " });
            self.begun = true;
            let view = serde_json::to_string_pretty(&KeyView::of(key, account, &moment));
            // Line breaks are between members only: inside of texts they are escaped.
            text.push_str(
                &view.map_err(|error| Problem::unwritable(&error))?.replace('\n', "\n  "),
            );
        }
        if self.after.is_none() {
            text.push_str(if self.begun { "\n]" } else { "]" });
        }
        self.begun = true;
        Ok(Some(text.into()))
    }
}
