//! Lists of all servers together.

use std::sync::Arc;

use super::message::{Body, Changes, json};
use super::pages::{self, Cursors, List, Page};
use super::router::{Router, refusal, result};
use crate::model::bounds;
use crate::protocol::from_server::Answer;
use crate::protocol::to_client::ErrorCode;
use crate::upstream::Failure;
use crate::upstream::calls::Outcome;

impl Router {
    /// A page of a list: of each server the page that its cursor asks for, at first of all of them.
    /// A server that gives none is left out; only if none gives any, the request fails.
    pub(super) async fn list(self: Arc<Self>, id: u64, line: Vec<u8>, list: List) -> Outcome {
        let Some(body) = Body::read(&line) else { return Err(Failure::Ours) };
        let cursors = match body.param("cursor").filter(|cursor| *cursor != "null") {
            None => self.able_servers(list.capability()).into_iter().map(|s| (s, None)).collect(),
            Some(cursor) => match pages::read_cursor(cursor, &self.options.names) {
                Some(cursors) => cursors,
                None => return refusal(id, ErrorCode::InvalidParams.code(), "Invalid cursor"),
            },
        };
        let (answers, failed) = self.pages(id, &body, &cursors).await;
        match failed {
            Some(outcome) if answers.is_empty() => outcome,
            _ => {
                let (pages, later) =
                    within(self.shared.options.answer_bytes_max, &answers, &cursors);
                result(id, &pages::merged(list, &pages, later, &self.options.names))
            }
        }
    }

    /// Asks all at once. Gives the results in the order of the servers, and what the first server
    /// said that gave none.
    async fn pages(
        self: &Arc<Self>,
        id: u64,
        body: &Body<'_>,
        cursors: &Cursors,
    ) -> (Vec<(usize, Answer)>, Option<Outcome>) {
        let ask = |(server, cursor): &(usize, Option<String>)| {
            let params = vec![("cursor", cursor.as_deref().map(json))];
            let changes = Changes { params, ..Changes::default() };
            (*server, self.send(*server, id, body, changes, bounds::MEMBER_PART_TIMEOUT))
        };
        let asked: Vec<_> = cursors.iter().map(ask).collect();
        let (mut answers, mut failed) = (Vec::new(), None);
        for (server, asked) in asked {
            let outcome = match asked {
                Ok(sent) => sent.answer().await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(answer) if !answer.is_error() => answers.push((server, answer)),
                outcome => {
                    let server = self.options.names.prefix(server);
                    tracing::debug!(target: "upstream", server, "its part of a list is missing");
                    failed.get_or_insert(outcome);
                }
            }
        }
        (answers, failed)
    }
}

/// As many pages as an answer may hold. The other servers come with the next page.
fn within<'a>(
    bytes_max: usize,
    answers: &'a [(usize, Answer)],
    cursors: &Cursors,
) -> (Vec<Page<'a>>, Cursors) {
    let (mut pages, mut later, mut bytes) = (Vec::new(), Cursors::new(), 0_usize);
    for (server, answer) in answers {
        let result = answer.result_text().unwrap_or_default();
        bytes = bytes.saturating_add(result.len());
        if pages.is_empty() || bytes <= bytes_max {
            pages.push(Page { server: *server, result });
        } else {
            later.extend(cursors.iter().find(|(asked, _)| asked == server).cloned());
        }
    }
    (pages, later)
}
