//! What instances tell each other: which record has changed. Whoever changes one tells it from within the
//! script that does.
//!
//! Nobody who is not there is told later. So an instance that begins to hear doubts all copies first;
//! it listens for an echo of its own, which goes the same way as all news; and what it has not heard of
//! in spite of all is old after some seconds, or refused by its revision where it costs something.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Msg, cmd};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::books::{Books, random};
use super::names;
use super::peers;
use crate::model::bounds::{
    REDIS_ANSWER_TIMEOUT, REDIS_CHANGES_LOOK, REDIS_CONFLICT_TRIES, REDIS_ECHO_INTERVAL,
    REDIS_ECHO_LOST, REDIS_SUBSCRIBE_PAUSE,
};
use crate::model::ids::KeyId;
use crate::model::team::TeamId;
use crate::store::{SoldBy, StoreError};

/// Which record has changed. An id is no secret; credentials and their digests are not told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A key of a tenant: made, changed or gone.
    Key(String, KeyId),
    /// A team of a tenant.
    Team(String, TeamId),
    /// A tenant's own.
    Namespace(String),
    /// Admin tokens.
    Tokens,
    /// Rules for alerts.
    Rules,
    /// What an instance sells by.
    Config(String, SoldBy),
}

impl News {
    /// As it is told: what, which tenant, which one.
    pub(super) fn text(kind: &str, namespace: &str, id: &str) -> String {
        format!("{kind} {namespace} {id}")
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (kind, namespace) = (words.next()?, words.next()?.to_owned());
        let id = words.next()?;
        match kind {
            "key" | "deleted" => Some(Self::Key(namespace, KeyId::parse(id)?)),
            "team" => Some(Self::Team(namespace, TeamId::parse(id)?)),
            "namespace" => Some(Self::Namespace(namespace)),
            "tokens" => Some(Self::Tokens),
            "rules" => Some(Self::Rules),
            "config" => Some(Self::Config(namespace, peers::read(id)?)),
            // A newer version's.
            _ => None,
        }
    }
}

impl Books {
    /// Tells all instances what belongs to no tenant. It has been done, whether they hear of it or not.
    pub(super) async fn tell(&self, kind: &str) {
        let mut tell = cmd("PUBLISH");
        tell.arg(names::NEWS).arg(News::text(kind, "-", "-"));
        if let Err(error) = self.link.ask::<i64>(&tell).await {
            tracing::debug!(target: "store", %error, kind, "a change was not told");
        }
    }

    /// Hears what others change, from the first connection to the last.
    pub(super) async fn follow_news(self: Arc<Self>) {
        let mut pause = REDIS_SUBSCRIBE_PAUSE;
        loop {
            let Err(why) = self.hear().await;
            if self.is_told.swap(false, Ordering::AcqRel) {
                tracing::warn!(
                    target: "store", %why,
                    "changes by other instances are not told any more; looking for them every few seconds"
                );
                pause = REDIS_SUBSCRIBE_PAUSE;
            } else {
                tracing::debug!(target: "store", %why, "changes by other instances are not told");
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(REDIS_CHANGES_LOOK);
        }
    }

    /// Subscribes, and hears until that ends.
    async fn hear(&self) -> Result<Infallible, StoreError> {
        let (mut sink, mut stream) = self.link.subscriber().await?.split();
        let own = names::echo(&hex::encode(random::<8>()?));
        subscribe(&mut sink, &[names::NEWS, &own]).await?;
        // Nothing is missed from here on; what was changed before may be anything.
        self.read_lists().await?;
        self.memory().doubt_keys();
        let echo = Notify::new();
        tokio::select! {
            ended = self.hear_from(&mut stream, &own, &echo) => ended,
            ended = self.call_and_listen(&own, &echo) => ended,
        }
    }

    async fn hear_from(
        &self,
        stream: &mut PubSubStream,
        own: &str,
        echo: &Notify,
    ) -> Result<Infallible, StoreError> {
        let gone = || StoreError::Unavailable("the connection for news was lost".to_owned());
        loop {
            let message = stream.next().await.ok_or_else(gone)?;
            if message.get_channel_name() == own {
                echo.notify_one();
            } else {
                self.heard(&message).await?;
            }
        }
    }

    async fn heard(&self, message: &Msg) -> Result<(), StoreError> {
        let text: String = message.get_payload().unwrap_or_default();
        match News::read(&text) {
            Some(News::Key(namespace, id)) => {
                let is_in_use = self.memory().forget_key(&id);
                if is_in_use {
                    self.read_again(&id).await;
                }
                self.learn_tenant(&namespace).await?;
            }
            Some(News::Team(namespace, id)) => {
                self.fresh_team(&namespace, &id).await?;
            }
            Some(News::Namespace(name)) => {
                self.fresh_namespace(&name).await?;
            }
            Some(News::Tokens) => {
                // What was read meanwhile may be older than the news.
                for _ in 0..REDIS_CONFLICT_TRIES {
                    let asked = self.memory().token_changes();
                    let tokens = self.read_tokens().await?;
                    if self.memory().put_tokens(tokens, asked) {
                        break;
                    }
                }
            }
            Some(News::Rules) => self.read_alert_rules().await?,
            Some(News::Config(name, sold_by)) => self.heard_of(&name, sold_by),
            None => tracing::debug!(target: "store", "news that this version does not understand"),
        }
        Ok(())
    }

    /// Reads a key that is in use here at once: if Redis goes now, it may be sold to from its lease.
    async fn read_again(&self, id: &KeyId) {
        // It is forgotten, so whoever needs it asks again and is told. Hearing goes on.
        if let Err(error) = self.fresh_key(id).await {
            tracing::debug!(target: "store", %error, key = %id, "a key that has changed could not be read");
        }
    }

    /// Remembers a tenant that is new here, if there is one: whoever may only tell could tell anything.
    async fn learn_tenant(&self, namespace: &str) -> Result<(), StoreError> {
        if self.memory().known.iter().any(|known| known == namespace) {
            return Ok(());
        }
        let is_there: bool =
            self.link.ask(cmd("SISMEMBER").arg(names::NAMESPACES).arg(namespace)).await?;
        if is_there {
            self.memory().put_known(namespace);
        }
        Ok(())
    }

    /// Calls into the channel of its own, by the way that all news goes, and says whether it is heard.
    async fn call_and_listen(&self, own: &str, echo: &Notify) -> Result<Infallible, StoreError> {
        let mut heard = Instant::now();
        loop {
            // A call that cannot be made says nothing about hearing.
            let called: Result<i64, _> = self.link.ask(cmd("PUBLISH").arg(own).arg("")).await;
            if timeout(REDIS_ANSWER_TIMEOUT, echo.notified()).await.is_ok() {
                heard = Instant::now();
                if !self.is_told.swap(true, Ordering::AcqRel) {
                    tracing::info!(target: "store", "changes by other instances are told at once");
                }
            } else if heard.elapsed() > REDIS_ECHO_LOST {
                called?;
                let why = "no echo comes back over the connection for news".to_owned();
                return Err(StoreError::Unavailable(why));
            }
            self.compare_configurations().await;
            sleep(REDIS_ECHO_INTERVAL).await;
        }
    }
}

async fn subscribe(sink: &mut PubSubSink, channels: &[&str]) -> Result<(), StoreError> {
    let made = timeout(REDIS_ANSWER_TIMEOUT, sink.subscribe(channels)).await;
    let why = match made {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "there is no answer".to_owned(),
    };
    Err(StoreError::Unavailable(format!("subscribing to {} failed: {why}", names::NEWS)))
}
