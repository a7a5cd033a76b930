//! `GET /health`: the truth about this process, its server and its books, for whoever decides
//! whether to send calls here.

use hyper::StatusCode;
use serde::Serialize;

use super::respond::{Response, json};
use super::service::Service;
use crate::store::{Leased, StoreError};
use crate::upstream::Status;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health<'a> {
    status: &'static str,
    uptime: u64,
    version: &'static str,
    inflight: usize,
    upstream: Upstream<'a>,
    /// The process for modern clients, once one was needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    modern_upstream: Option<Upstream<'a>>,
    store: &'static str,
    /// The Redis that several instances share.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<Redis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhooks: Option<Webhooks>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Redis {
    connected: bool,
    /// Is this instance told at once what others change?
    pubsub: bool,
    /// Live instances on the same books that sell by another configuration.
    #[serde(skip_serializing_if = "is_zero")]
    other_configs: usize,
    /// Calls whose end was not heard yet; what was taken for them and not delivered is given back.
    #[serde(skip_serializing_if = "is_zero")]
    unsettled: usize,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Credits that this instance may sell without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    leased_credits: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhooks {
    pending_retries: u32,
    dead_letter_count: i64,
}

#[derive(Serialize)]
struct Upstream<'a> {
    status: &'static str,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// Each of several servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Upstream<'a>>,
}

pub(super) fn serve(service: &Service) -> Response {
    let (upstream, members) = (service.link().status(), service.link().members());
    let (store, leased) = (service.store().health(), service.store().load().leased);
    let modern = service.proxy().modern_link().map(|link| (link.status(), link.server()));
    let is_whole = members.iter().all(|member| member.status.is_ready())
        && modern.as_ref().is_none_or(|(status, _)| status.is_ready());
    let concern = service.store().concern();
    let is_whole = is_whole && concern.is_none();
    let (status, word) = judge(service.doors().are_closed(), &upstream, is_whole, &store, leased);
    let health = Health {
        status: word,
        uptime: service.uptime().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        inflight: service.proxy().in_flight(),
        upstream: Upstream {
            servers: members.iter().map(|each| describe(&each.status, &each.server)).collect(),
            ..describe(&upstream, service.link().server())
        },
        modern_upstream: modern.as_ref().map(|(status, server)| describe(status, server)),
        store: store_word(&store),
        redis: service.has_redis().then(|| Redis {
            pubsub: service.store().is_told(),
            other_configs: service.store().other_configs(),
            unsettled: service.store().unsettled(),
            leased_credits: leased.map(|leased| leased.credits),
            ..redis(service.store().is_connected(), &store, concern)
        }),
        webhooks: service.webhooks().brief().map(|brief| Webhooks {
            pending_retries: brief.pending_retries,
            dead_letter_count: brief.dead_letters,
        }),
    };
    json(status, serde_json::to_vec(&health).unwrap_or_default())
}

fn judge(
    is_draining: bool,
    upstream: &Status,
    is_whole: bool,
    store: &Result<(), StoreError>,
    leased: Option<Leased>,
) -> (StatusCode, &'static str) {
    match store {
        _ if is_draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        _ if !upstream.is_ready() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Ok(()) if is_whole => (StatusCode::OK, "healthy"),
        // Some of several servers, or the process of one era, are not there; or books in Redis are not
        // copied here; or the disk is slow, and calls are refused now and
        // then and taken again.
        Ok(()) | Err(StoreError::Busy) => (StatusCode::OK, "degraded"),
        // Taken out of service, it could not sell what it has on lease.
        Err(StoreError::Unavailable(_)) if leased.is_some_and(|leased| leased.is_selling) => {
            (StatusCode::OK, "degraded")
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    }
}

/// What is said of Redis has no address and no secret in it.
fn redis(connected: bool, store: &Result<(), StoreError>, concern: Option<String>) -> Redis {
    let why = match store {
        Err(StoreError::Unavailable(why)) => Some(why.clone()),
        Ok(()) | Err(_) => concern,
    };
    Redis { connected, why, ..Redis::default() }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Why the books are closed is in the log: this page is for everybody.
fn store_word(store: &Result<(), StoreError>) -> &'static str {
    match store {
        Ok(()) => "ok",
        Err(StoreError::Busy) => "busy",
        Err(StoreError::Unavailable(_)) => "unavailable",
        Err(_) => "closed",
    }
}

fn describe<'a>(status: &'a Status, server: &'a str) -> Upstream<'a> {
    let (status, attempt, why) = match status {
        Status::Starting => ("starting", None, None),
        Status::Ready => ("ready", None, None),
        Status::Restarting { attempt, why } => ("restarting", Some(*attempt), Some(&**why)),
        Status::Stopped { why } => ("stopped", None, Some(&**why)),
    };
    Upstream { status, server, attempt, why, servers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_its_parts() {
        let restarting = Status::Restarting { attempt: 1, why: "exit status: 3".into() };
        let closed = || Err(StoreError::Closed("disk full".to_owned()));
        for (is_draining, upstream, store, expected) in [
            (false, Status::Ready, Ok(()), (200, "healthy")),
            (false, Status::Ready, Err(StoreError::Busy), (200, "degraded")),
            (false, Status::Ready, closed(), (503, "unavailable")),
            (false, restarting, Ok(()), (503, "unavailable")),
            (false, Status::Starting, Ok(()), (503, "unavailable")),
            (true, Status::Ready, Ok(()), (503, "draining")),
            (true, Status::Ready, closed(), (503, "draining")),
        ] {
            let (status, word) = judge(is_draining, &upstream, true, &store, None);
            assert_eq!((status.as_u16(), word), expected, "{is_draining} {upstream:?} {store:?}");
        }
        assert_eq!(
            judge(false, &Status::Ready, false, &Ok(()), None),
            (StatusCode::OK, "degraded")
        );
    }

    #[test]
    fn whoever_sells_from_leases_stays_in_service() {
        for (is_selling, expected) in [(true, 200), (false, 503)] {
            let away = Err(StoreError::Unavailable("it does not answer".to_owned()));
            let leased = Some(Leased { credits: 9, is_selling });
            let (status, _) = judge(false, &Status::Ready, true, &away, leased);
            assert_eq!(status.as_u16(), expected);
        }
    }

    #[test]
    fn the_books_are_told_of_in_fixed_words() {
        let closed = Err(StoreError::Closed("unable to open /secret/path".to_owned()));
        assert_eq!(
            [Ok(()), Err(StoreError::Busy), closed].each_ref().map(store_word),
            ["ok", "busy", "closed"]
        );
    }
}
