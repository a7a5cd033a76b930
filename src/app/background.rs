//! Work that nobody asked for: it takes no input, may be repeated, and ends with the app.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Retention;
use crate::model::bounds;
use crate::proxy::Proxy;
use crate::store::{Store, clock};

/// Nothing is older than this, and it is still a time.
const HOURS_MAX: u64 = 24 * 365 * 1000;

/// The tasks that run beside the front.
#[derive(Debug)]
pub(super) struct Background {
    stop: watch::Sender<bool>,
    expiry: JoinHandle<()>,
    sessions: JoinHandle<()>,
    forgetting: JoinHandle<()>,
    usage: JoinHandle<()>,
}

impl Background {
    pub(super) fn start(
        store: &Arc<dyn Store>,
        proxy: &Arc<ArcSwap<Proxy>>,
        retention: Retention,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let expiry = tokio::spawn(expire_holds(Arc::clone(store), stopped.clone()));
        let sessions = tokio::spawn(tend_sessions(Arc::clone(proxy), stopped.clone()));
        let forgetting = tokio::spawn(forget(Arc::clone(store), retention, stopped.clone()));
        let usage = tokio::spawn(roll_up(Arc::clone(store), Arc::clone(proxy), stopped));
        Self { stop, expiry, sessions, forgetting, usage }
    }

    /// Ends them, each after what it is doing.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(why) = self.expiry.await {
            tracing::error!(target: "app", %why, "holds were not released on time any more");
        }
        if let Err(why) = self.sessions.await {
            tracing::error!(target: "app", %why, "sessions were not looked after any more");
        }
        if let Err(why) = self.forgetting.await {
            tracing::error!(target: "app", %why, "old entries were not forgotten any more");
        }
        if let Err(why) = self.usage.await {
            tracing::error!(target: "app", %why, "usage was not rolled up any more");
        }
    }
}

/// Releases the holds of calls that never ended.
async fn expire_holds(store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(bounds::EXPIRE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = ticks.tick() => {}
        }
        match store.expire(clock::now()).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(target: "app", count, "holds ran out and were released"),
            // A closed store says so in `/health`; there is nothing to add every second.
            Err(why) => tracing::debug!(target: "app", %why, "holds could not be released"),
        }
    }
}

/// Ends sessions that nobody uses or may use any more.
async fn tend_sessions(proxy: Arc<ArcSwap<Proxy>>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(bounds::SESSION_TEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = ticks.tick() => proxy.load_full().tend_sessions().await,
        }
    }
}

/// How long something is kept; for ever without days.
fn span(days: i64) -> Option<Duration> {
    let hours = u64::try_from(days).unwrap_or(0).saturating_mul(24);
    (hours > 0).then(|| Duration::from_hours(hours.min(HOURS_MAX)))
}

/// Writes refusals down and, less often, brings the sums of usage up to the present; once more at the
/// end.
async fn roll_up(
    store: Arc<dyn Store>,
    proxy: Arc<ArcSwap<Proxy>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = interval(bounds::REFUSED_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Counted before somebody asks and waits for it.
    let mut is_end = tokio::select! {
        _ = stop.changed() => true,
        counted = store.tenant_sums(clock::now()) => {
            if let Err(why) = counted {
                tracing::debug!(target: "app", %why, "the keys of the tenants could not be counted");
            }
            false
        }
    };
    for turn in (0..bounds::USAGE_ROLL_EVERY).cycle() {
        is_end = is_end
            || tokio::select! {
                _ = stop.changed() => true,
                _ = ticks.tick() => false,
            };
        let refused = proxy.load().denials().take();
        let done = if is_end || turn == 0 {
            store.roll_up_usage(refused).await
        } else {
            store.note_refused(refused).await
        };
        if let Err(why) = done {
            tracing::debug!(target: "app", %why, "usage could not be rolled up");
        }
        if is_end {
            return;
        }
    }
}

/// Forgets old entries of the audit log and old usage, a few at a time.
async fn forget(store: Arc<dyn Store>, retention: Retention, mut stop: watch::Receiver<bool>) {
    let (audit, usage) = (span(retention.audit_days), span(retention.usage_days));
    let mut ticks = interval(bounds::AUDIT_FORGET_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = ticks.tick() => {}
        }
        let before = |kept: Option<Duration>| kept.map(|kept| clock::now().minus(kept));
        if let Err(why) = store.forget_usage(before(usage)).await {
            tracing::debug!(target: "app", %why, "old usage could not be forgotten");
        }
        if let Err(why) = store.forget_audit(before(audit)).await {
            tracing::debug!(target: "app", %why, "old entries of the audit log could not be forgotten");
        }
    }
}
