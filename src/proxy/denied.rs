//! A refusal and the numbers that may go with it.

use super::asked::{Asked, Form};
use super::identify::Identity;
use super::{Proxy, Refused, Reply};
use crate::gate::Denied;

impl Proxy {
    /// The reply to a priced request that is refused.
    pub(super) async fn denied(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        denied: Denied,
    ) -> Reply {
        let tool = asked.calls.get(denied.failed_index).map(|call| call.tool);
        let tool = tool.filter(|_| asked.form != Form::Method);
        let tools = self.shared.link.tools();
        let tool = tool.filter(|tool| tools.contains(tool));
        let key = identity.key.as_deref();
        self.denials.count(denied.denial.word(), tool, key, identity.now);
        let shown = self.shown_for(identity, asked).await;
        Reply::Denied(Box::new(Refused {
            id: asked.id.to_owned(),
            retry_after_ms: denied.opens_at.map(|opens_at| opens_at.since_ms(identity.now)),
            denied,
            batch_calls: asked.in_batch().then_some(asked.calls.len()),
            is_modern: false,
            is_tool_call: asked.form == Form::Call,
            shown,
        }))
    }

    /// The reply to a free method that is refused. Only who has passed as a customer sees numbers.
    pub(super) async fn denied_free(&self, identity: &Identity, id: &str, denied: Denied) -> Reply {
        self.denials.count(denied.denial.word(), None, identity.key.as_deref(), identity.now);
        Reply::Denied(Box::new(Refused {
            id: id.to_owned(),
            denied,
            retry_after_ms: None,
            batch_calls: None,
            is_modern: false,
            is_tool_call: false,
            shown: self.shown(identity).await,
        }))
    }
}
