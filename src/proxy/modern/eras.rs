//! The connection to the server's modern side, and whether there is one.
//!
//! A process of a server speaks one era, so modern clients have a process of their own. It is made
//! when the first of them comes. A server that refuses it is of the legacy era alone; that is
//! remembered until it is started anew, because then it may be another version.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::super::connection::Connection;
use super::ear::ModernEar;
use crate::model::bounds;
use crate::protocol::object::{Object, items, string};
use crate::protocol::version;
use crate::upstream::{Hello, Link, Server, StartError};

/// Where the connection to the modern side comes from.
#[derive(Debug, Default)]
pub enum ModernSide {
    /// There is none, and none is looked for.
    #[default]
    None,
    /// It is made so when it is needed.
    Lazy(Server),
    /// It is the only side that the server has: the link that the proxy was made with.
    Only(Arc<ModernEar>),
}

/// A link of the modern era and who hears it.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct ModernLink {
    pub(in crate::proxy) link: Link,
    pub(in crate::proxy) ear: Arc<ModernEar>,
    /// The same as all callers have it.
    pub(super) connection: Connection,
}

impl ModernLink {
    fn new(link: Link, ear: Arc<ModernEar>) -> Self {
        let connection = Connection::shared(link.clone(), Arc::clone(ear.calls()));
        Self { link, ear, connection }
    }
}

/// What is known of the server's modern side.
#[derive(Debug)]
pub(in crate::proxy) struct Eras {
    server: Option<Server>,
    ready: OnceLock<ModernLink>,
    is_only: bool,
    /// There is one client, which is told what otherwise has no owner.
    has_one_client: bool,
    absent: Mutex<Option<Absent>>,
    /// Set once streams that nothing else ends are to end.
    closing: watch::Sender<bool>,
}

/// It was looked for in vain.
#[derive(Debug)]
struct Absent {
    /// The life of the server that was asked.
    generation: u64,
    /// When to look again, if it may only have been a bad moment.
    until: Option<Instant>,
}

impl Absent {
    fn holds(&self, generation: u64) -> bool {
        self.generation == generation && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Eras {
    pub(in crate::proxy) fn new(side: ModernSide, link: &Link, has_one_client: bool) -> Self {
        let (server, only) = match side {
            ModernSide::None => (None, None),
            ModernSide::Lazy(server) => (Some(server), None),
            ModernSide::Only(ear) => (None, Some(ModernLink::new(link.clone(), ear))),
        };
        let is_only = only.is_some();
        if let Some(only) = only.as_ref().filter(|_| has_one_client) {
            only.ear.calls().has_one_client();
        }
        let ready = only.map_or_else(OnceLock::new, OnceLock::from);
        let (absent, closing) = (Mutex::default(), watch::Sender::new(false));
        Self { server, ready, is_only, has_one_client, absent, closing }
    }

    /// Does the server have no legacy side?
    pub(in crate::proxy) const fn is_only(&self) -> bool {
        self.is_only
    }

    /// The link, if it was made already.
    pub(in crate::proxy) fn known(&self) -> Option<&ModernLink> {
        self.ready.get()
    }

    /// The link; `None` if the server has no modern side. `legacy` is the link to its other side.
    /// Made in a task of its own: whoever asks first may leave while the server starts.
    pub(in crate::proxy) async fn link(self: &Arc<Self>, legacy: &Link) -> Option<ModernLink> {
        if let Some(ready) = self.ready.get() {
            return Some(ready.clone());
        }
        self.server.as_ref()?;
        let (eras, generation) = (Arc::clone(self), legacy.generation());
        tokio::spawn(async move { eras.look(generation).await }).await.ok().flatten()
    }

    async fn look(&self, generation: u64) -> Option<ModernLink> {
        // All who ask meanwhile wait here for one start.
        let mut absent = self.absent.lock().await;
        if let Some(ready) = self.ready.get() {
            return Some(ready.clone());
        }
        if absent.as_ref().is_some_and(|absent| absent.holds(generation)) {
            return None;
        }
        let ear = Arc::new(ModernEar::default());
        if self.has_one_client {
            ear.calls().has_one_client();
        }
        let server = self.server.as_ref()?;
        match server.link(Hello::Discover, Arc::clone(&ear) as _).await {
            Ok(link) if *self.closing.borrow() => {
                link.stop(Duration::ZERO).await;
                None
            }
            Ok(link) => {
                tracing::info!(target: "proxy", server = link.server(), "the server speaks the modern era too");
                *absent = None;
                Some(self.ready.get_or_init(|| ModernLink::new(link, ear)).clone())
            }
            Err(why) => {
                let is_final = matches!(why, StartError::Refused { .. });
                if is_final {
                    tracing::info!(target: "proxy", "the server does not speak the modern era");
                } else {
                    tracing::warn!(target: "proxy", %why, "the server could not be started for the modern era");
                }
                let until = Instant::now() + bounds::MODERN_LOOK_INTERVAL;
                *absent = Some(Absent { generation, until: (!is_final).then_some(until) });
                None
            }
        }
    }

    /// The versions that can be spoken here, for whoever asked for another one.
    pub(in crate::proxy) fn versions(&self, modern: &ModernLink) -> Vec<String> {
        let result = modern.link.first_result();
        let said = result.as_deref().and_then(|result| Object::read(result).ok());
        let said = said.as_ref().and_then(|said| items(said.get("supportedVersions")?));
        let said = said.unwrap_or_default().into_iter().filter_map(string);
        let mut spoken: Vec<String> =
            said.filter(|it| self.is_spoken(it)).map(std::borrow::Cow::into_owned).collect();
        if !spoken.iter().any(|it| it == version::MODERN) {
            spoken.insert(0, version::MODERN.to_owned());
        }
        spoken
    }

    fn is_spoken(&self, version: &str) -> bool {
        version == version::MODERN || (!self.is_only && version::age(version).is_some())
    }

    /// Ends streams that nothing else ends.
    pub(in crate::proxy) fn close_streams(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until such streams are to end.
    pub(in crate::proxy) async fn closing(&self) {
        // `self` keeps the sender, so there is no other end.
        self.closing.subscribe().wait_for(|closing| *closing).await.ok();
    }

    /// Stops the modern side, if it has a process of its own.
    pub(in crate::proxy) async fn stop(&self, grace: Duration) {
        self.close_streams();
        if let Some(modern) = self.ready.get().filter(|_| !self.is_only) {
            modern.link.stop(grace).await;
        }
    }
}
