//! Work that nobody asked for: it takes no input, may be repeated, and ends with the app.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Terms;
use crate::config::Retention;
use crate::events::alerts;
use crate::events::webhooks::Webhooks;
use crate::model::bounds;
use crate::proxy::Proxy;
use crate::store::{LookAt, Store, clock};

/// Nothing is older than this, and it is still a time.
const HOURS_MAX: u64 = 24 * 365 * 1000;

/// The tasks that run beside the front, each with what does not happen without it.
#[derive(Debug)]
pub(super) struct Background {
    stop: watch::Sender<bool>,
    tasks: Vec<(JoinHandle<()>, &'static str)>,
}

impl Background {
    pub(super) fn start(
        store: &Arc<dyn Store>,
        proxy: &Arc<ArcSwap<Proxy>>,
        webhooks: &Arc<Webhooks>,
        terms: Arc<ArcSwap<Terms>>,
        retention: Retention,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (store, proxy) = (|| Arc::clone(store), || Arc::clone(proxy));
        let stopped = || stopped.clone();
        let tasks = vec![
            (tokio::spawn(expire_holds(store(), stopped())), "holds were not released on time"),
            (tokio::spawn(tend_sessions(proxy(), stopped())), "sessions were not looked after"),
            (tokio::spawn(forget(store(), retention, stopped())), "old entries were not forgotten"),
            (tokio::spawn(roll_up(store(), proxy(), stopped())), "usage was not rolled up"),
            (
                tokio::spawn(watch_keys(store(), terms, stopped())),
                "keys were not looked at for alerts",
            ),
            (tokio::spawn(compare(store(), stopped())), "the books were not compared"),
            (tokio::spawn(Arc::clone(webhooks).follow(stopped())), "webhooks were not sent"),
        ];
        Self { stop, tasks }
    }

    /// Ends them, each after what it is doing.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for (task, lost) in self.tasks {
            if let Err(why) = task.await {
                tracing::error!(target: "app", %why, "{lost} any more");
            }
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

/// Looks at keys for alerts. What a stop leaves out is looked at by the next start.
async fn watch_keys(
    store: Arc<dyn Store>,
    terms: Arc<ArcSwap<Terms>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = interval(bounds::ALERT_LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in (0..bounds::ALERT_LOOKS_PER_IDLE_LOOK).cycle() {
        tokio::select! {
            _ = stop.changed() => return,
            _ = ticks.tick() => {}
        }
        let look_at = if round == 0 { LookAt::IdleKeysToo } else { LookAt::UsedKeys };
        let configured = terms.load().alert_rules.clone();
        let look = alerts::look(store.as_ref(), configured.as_ref(), look_at, clock::now());
        if let Err(why) = look.await {
            tracing::debug!(target: "app", %why, "keys could not be looked at for alerts");
        }
    }
}

/// Compares the accounts with the journal. It only reads, so a stop may come in the middle.
async fn compare(store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(bounds::COMPARE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let compared = async {
            ticks.tick().await;
            store.compare_books().await
        };
        let compared = tokio::select! {
            _ = stop.changed() => return,
            compared = compared => compared,
        };
        if let Err(why) = compared {
            tracing::warn!(target: "app", %why, "the accounts could not be compared with the journal");
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
