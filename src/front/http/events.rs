//! A reply that is told message by message: the body of an event stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body as AxumBody;
use bytes::Bytes;
use futures_util::stream::{StreamExt, once, unfold};
use http_body_util::Either;
use tokio::time::timeout;

use super::connection::{Departure, departed};
use super::media;
use super::respond::Response;
use crate::front::reply::{self, DenialOptions};
use crate::model::bounds;
use crate::proxy::{EventId, Streaming};

/// A comment: it shows that the stream is alive and means nothing.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// With a `departure` the stream is dropped as soon as its client has left.
pub(super) fn respond(
    streaming: Streaming,
    denials: Arc<DenialOptions>,
    departure: Option<Departure>,
) -> Response {
    let first = opening(streaming.place());
    let first = once(std::future::ready(Ok::<_, Infallible>(first)));
    let pieces = first.chain(unfold(streaming, move |mut streaming| {
        let (denials, departure) = (Arc::clone(&denials), departure.clone());
        async move {
            let piece = tokio::select! {
                biased;
                piece = piece(&mut streaming, &denials) => piece?,
                () = departed(departure.as_ref()) => return None,
            };
            Some((Ok(piece), streaming))
        }
    }));
    let mut response = Response::new(Either::Right(AxumBody::from_stream(pieces)));
    media::event_headers(response.headers_mut());
    response
}

async fn piece(streaming: &mut Streaming, denials: &DenialOptions) -> Option<Bytes> {
    let words = |reply| reply::write(reply, denials).text.unwrap_or_default();
    let Ok(next) = timeout(bounds::STREAM_KEEP_ALIVE, streaming.next(&words)).await else {
        return Some(Bytes::from_static(KEEP_ALIVE));
    };
    let told = next?;
    Some(media::event(told.id, &told.text).into())
}

/// What a client gets before there is anything to tell: at least the headers of the answer, and if its
/// version knows that, a place to come back to.
fn opening(place: Option<EventId>) -> Bytes {
    match place {
        Some(place) => {
            format!("id: {place}\nretry: {}\ndata: \n\n", bounds::STREAM_RETRY_MS).into()
        }
        None => Bytes::from_static(KEEP_ALIVE),
    }
}
