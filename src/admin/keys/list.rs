//! `GET /keys`: all keys, revoked ones included.

use std::sync::Arc;

use crate::admin::answer::{Answer, Problem, in_background};
use crate::admin::view::{KeyView, Moment};
use crate::admin::{Admin, Call, query};

pub(in crate::admin) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let namespace = query::namespace(&call.uri)?;
    let keys = admin.store.keys(namespace.as_deref()).await?;
    in_background(move || {
        let moment = Moment::new(admin.store.as_ref(), call.now);
        let views = keys.iter().map(|(key, account)| KeyView::of(key, account, &moment));
        Answer::pretty(&views.collect::<Vec<_>>())
    })
    .await
}
