//! Assembles all parts from a Config: start, wait, drain, stop.
//!
//! The order of starting is the order in which mistakes are cheapest: the port, then the books,
//! then the server, which may take half a minute to come up. The order of stopping keeps the
//! promise: no more messages, calls in flight finish and settle, then the server ends, then the
//! books close.

mod background;
mod books;
mod discover;
mod import;
mod keys;
mod options;
mod reload;
mod server;
mod stop;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use crate::admin;
use crate::config::{Backend, Config};
use crate::events::webhooks::{WebhookError, Webhooks};
use crate::front::http::{BindError, HttpFront, Listener, Served, TlsError};
use crate::front::stdio::StdioFront;
use crate::model::bounds;
use crate::proxy::Proxy;
use crate::store::local::OpenError;
use crate::store::redis::RedisOpenError;
use crate::store::{Store, StoreError};
use crate::upstream::{MemberStatus, RemoteSetupError, Server, StartError};

use background::Background;
pub use discover::discover;
pub use import::{Import, ImportError, ImportFrom, ImportInto, ImportReport, import};
pub use keys::DEMO_CREDITS;
pub use reload::Load;
use reload::{Parts, Reloader};
use server::Guarded;
pub use stop::{Signals, Stopped};

/// A running Paygate.
pub struct App {
    /// For clients over HTTP, if any are served.
    http: Option<HttpFront>,
    /// For the client that started this process, if it is served.
    stdio: Option<StdioFront>,
    proxy: Arc<Proxy>,
    store: Arc<dyn Store>,
    background: Background,
    reloader: Arc<Reloader>,
    about: About,
}

/// The pipes of the client that started this process.
pub struct Pipes {
    /// What arrives, piece by piece; its end is the client's.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// What goes to the client.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
}

/// What clients will be served through.
struct Fronts {
    listener: Option<Listener>,
    pipes: Option<Pipes>,
}

/// What outlives every request.
struct Kept {
    store: Arc<dyn Store>,
    webhooks: Arc<Webhooks>,
}

/// What an operator is told about a running Paygate.
#[derive(Debug)]
pub struct About {
    /// Where it listens, with the real port, if it does.
    pub address: Option<SocketAddr>,
    /// What the guarded server says it is, or its command.
    pub server: String,
    /// If several servers are guarded, where each stands.
    pub members: Vec<MemberStatus>,
    /// How many tools it lists.
    pub tools: usize,
    /// The admin key if it was made at this start and is nowhere else.
    pub new_admin_key: Option<String>,
    /// A key to try the demo with.
    pub demo_key: Option<String>,
    /// Keys that were imported at this start.
    pub imported: usize,
    /// What became of the state file, if one is named.
    pub state_file: Option<String>,
}

/// Why it did not start. Each says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No port.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No books.
    #[error(transparent)]
    Books(#[from] OpenError),
    /// No books in Redis.
    #[error(transparent)]
    Redis(#[from] RedisOpenError),
    /// Keys that could not be brought over.
    #[error(
        "stateFile: {} cannot be brought over whole ({why}); nothing was imported; mend it, or bring over the rest \
         with `paygate import`, or leave the key out", .path.display()
    )]
    StateFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No server to guard.
    #[error(transparent)]
    Server(#[from] StartError),
    /// A remote server that cannot be asked.
    #[error(transparent)]
    Remote(#[from] RemoteSetupError),
    /// A receiver of webhooks that cannot be reached by any means.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// The demo is this program itself.
    #[error(
        "the demo server cannot be started: this program does not find itself ({0}); guard a server of yours with \
         --server instead"
    )]
    NoProgram(io::Error),
    /// No randomness.
    #[error("the system gives no random bytes for keys ({0})")]
    NoRandomness(getrandom::Error),
    /// A key could not be written.
    #[error(
        "the key {key} could not be written to the books: {why}; choose another file with --db, or run without one \
         with --ephemeral"
    )]
    Key {
        /// Its ends.
        key: String,
        /// What the store says.
        why: StoreError,
    },
}

impl App {
    /// Starts everything. `environment` is what the guarded server inherits; `pipes` are those of the
    /// client that started this process, if it is served; `load` reads the configuration anew.
    pub async fn start(
        config: &Config,
        load: Load,
        environment: Vec<(OsString, OsString)>,
        pipes: Option<Pipes>,
    ) -> Result<Self, AppError> {
        let listener = if config.serves.http() { Some(listen(config).await?) } else { None };
        let target = options::webhooks(config)?;
        let (store, state_file) = books::open(config).await?;
        let server = Server::new(options::server(config, environment)?, config.children_max);
        let guarded = match server::start(server).await {
            Ok(guarded) => guarded,
            Err(why) => {
                stop::books(store.as_ref()).await;
                return Err(why.into());
            }
        };
        let link = guarded.link.clone();
        options::warn_of_names(config, &link);
        let fronts = Fronts { listener, pipes };
        let webhooks = Arc::new(Webhooks::new(Arc::clone(&store), target));
        if let Err(why) = webhooks.begin().await {
            tracing::warn!(target: "webhooks", %why, "what happens is not noted yet as to be sent");
        }
        let kept = Kept { store: Arc::clone(&store), webhooks };
        let mut started = Self::assemble(config, load, fronts, kept, guarded).await;
        if let Ok(app) = &mut started {
            app.about.state_file = state_file;
        }
        if started.is_err() {
            link.stop(bounds::CHILD_STOP_GRACE).await;
            stop::books(store.as_ref()).await;
        }
        started
    }

    async fn assemble(
        config: &Config,
        load: Load,
        fronts: Fronts,
        Kept { store, webhooks }: Kept,
        guarded: Guarded,
    ) -> Result<Self, AppError> {
        let Guarded { server, link, ear, modern } = guarded;
        let imported = keys::import(&config.import_keys, store.as_ref()).await?;
        let demo_key = match config.backend {
            Backend::Demo => Some(keys::create_demo(store.as_ref()).await?),
            Backend::Command(_) | Backend::Remote(_) | Backend::Several(_) => None,
        };
        let admin_key = keys::admin(config.admin_key.as_ref())?;
        let proxy =
            Proxy::new(options::proxy(config), Arc::clone(&store), server, link.clone(), ear);
        let proxy = Arc::new(proxy.with_modern(modern));
        let reloader = Arc::new(Reloader::new(config, load));
        let admin = admin::router(
            options::admin(config, admin_key.secret.clone(), &proxy, &reloader, &webhooks),
            Arc::clone(&store),
        );
        let served = Served {
            proxy: Arc::clone(&proxy),
            store: Arc::clone(&store),
            link: link.clone(),
            admin,
            webhooks: Arc::clone(&webhooks),
        };
        let about = About {
            address: fronts.listener.as_ref().map(Listener::address),
            server: options::server_title(config, &link),
            members: link.members(),
            tools: link.tools().len(),
            new_admin_key: admin_key.shown,
            demo_key,
            imported,
            state_file: None,
        };
        let current = Arc::new(ArcSwap::new(Arc::clone(&proxy)));
        let stdio = fronts.pipes.map(|Pipes { input, output }| {
            let options = options::stdio(config, about.demo_key.as_deref());
            StdioFront::start(options, Arc::clone(&current), input, output)
        });
        let http = fronts
            .listener
            .map(|listener| HttpFront::start(listener, options::http(config), served));
        let background =
            Background::start(&store, &current, &webhooks, reloader.terms(), config.retention);
        let http_renewal = http.as_ref().map(HttpFront::renewal);
        let instance = options::instance(config, about.address);
        let kept = Arc::clone(&store);
        let parts = Parts { http: http_renewal, proxy: current, webhooks, store: kept, instance };
        reloader.serve(parts);
        Ok(Self { http, stdio, proxy, store, background, reloader, about })
    }

    /// What to tell an operator.
    pub fn about(&self) -> &About {
        &self.about
    }
}

/// Takes the port, with the certificate if there is one.
async fn listen(config: &Config) -> Result<Listener, AppError> {
    let certificate = options::certificate(config)?;
    let listener = Listener::bind(config.host, config.port).await?;
    Ok(match certificate {
        Some(certificate) => listener.with_tls(certificate),
        None => listener,
    })
}
