//! `GET /metrics`: open to whoever may read everything, and to a scraper with its token; as long as there is
//! no token, to programs on this machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::{Admin, Call};
use crate::events::metrics::{Gauges, KeySums};
use crate::model::bounds::METRICS_SUMS_AGE;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::StoreError;

/// Keys that are summed up at a time.
const KEYS_AT_ONCE: usize = 500;

/// Headers by which a proxy says for whom it asks: then it is not a program on this machine.
const FORWARDED: [&str; 8] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-client-ip",
    "cf-connecting-ip",
];

/// Who may scrape, and what was last summed up for it.
pub(in crate::admin) struct Scrapes {
    token: Option<Digest>,
    sums: Mutex<Option<(Instant, KeySums)>>,
}

impl Scrapes {
    pub(in crate::admin) fn new(token: Option<&SecretString>) -> Self {
        let token = token.map(|token| Digest::of(token.expose_secret().as_bytes()));
        Self { token, sums: Mutex::default() }
    }

    /// May this one without an admin key? Whoever shows one is judged by it.
    pub(in crate::admin) fn may(&self, headers: &HeaderMap, address: IpAddr) -> bool {
        if headers.contains_key("x-admin-key") {
            return false;
        }
        // A proxy may say nothing of itself: who has one sets a token.
        let Some(token) = self.token else {
            let is_direct = FORWARDED.iter().all(|name| !headers.contains_key(*name));
            return is_direct && address.is_loopback();
        };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        // Digests are compared, so time tells nothing about the token.
        let shown = shown.map(|(_, token)| Digest::of(token.trim().as_bytes()));
        shown.is_some_and(|shown| shown == token)
    }
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    // What the books cannot be asked for is left out: who watches an outage needs the rest.
    let keys = sums(&admin, call.now).await.ok();
    let load = admin.store.load();
    let teams = admin.store.teams();
    let gauges = Gauges {
        books_up: matches!(admin.store.health(), Ok(()) | Err(StoreError::Busy)),
        keys,
        active_teams: teams.iter().filter(|team| team.active).count(),
        open_holds: load.open_holds,
        journal_waiting: load.waiting,
        copied: admin.store.is_copied(),
        moved: load.moved,
        compared: load.compared,
        alerts_pending: load.alerts_pending,
        alerts_fired: load.alerts_fired,
        ..Gauges::default()
    };
    let page = axum::body::Body::from(admin.options.live.metrics(gauges));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(Answer::streamed(page).with(CONTENT_TYPE, kind))
}

/// Sums over all keys; not made anew for every scrape.
async fn sums(admin: &Admin, now: Time) -> Result<KeySums, StoreError> {
    let mut last = admin.scrapes.sums.lock().await;
    if let Some((at, sums)) = last.as_ref()
        && at.elapsed() < METRICS_SUMS_AGE
    {
        return Ok(*sums);
    }
    let mut sums = KeySums::default();
    let mut after = None;
    loop {
        let page = admin.store.keys_page(None, after, KEYS_AT_ONCE).await?;
        for (key, account) in &page.keys {
            if key.usable(now) {
                sums.active += 1;
                sums.credits_available = sums.credits_available.saturating_add(account.available());
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    *last = Some((Instant::now(), sums));
    Ok(sums)
}
