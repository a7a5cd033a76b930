//! Takes connections, as many at a time as there is room for. Every connection is a task in one
//! set, so that none outlives the listener unnoticed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::connection;
use super::service::Service;
use super::tls::{Certificate, Tls};
use crate::model::bounds;

/// A port that was taken for us, and nobody served yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error(
        "cannot listen on {address}: the port is taken, maybe by another Paygate; choose another with --port, or \
         --port 0 for any free one"
    )]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// The port needs more rights.
    #[error(
        "cannot listen on {address}: this user may not use the port; choose one above 1023 with --port"
    )]
    Forbidden {
        /// Where.
        address: SocketAddr,
    },
    /// The address is not one of this machine, or something else.
    #[error(
        "cannot listen on {address} ({why}); check --host (an address of this machine) and --port"
    )]
    Other {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        why: io::Error,
    },
}

impl Listener {
    /// Takes a port; 0 for any free one.
    pub async fn bind(host: IpAddr, port: u16) -> Result<Self, BindError> {
        let address = SocketAddr::new(host, port);
        let explain = |why: io::Error| match why.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken { address },
            io::ErrorKind::PermissionDenied => BindError::Forbidden { address },
            _ => BindError::Other { address, why },
        };
        let socket = TcpListener::bind(address).await.map_err(explain)?;
        let address = socket.local_addr().map_err(explain)?;
        Ok(Self { socket, address, tls: None })
    }

    /// Speaks TLS, with this certificate.
    #[must_use]
    pub fn with_tls(mut self, certificate: Certificate) -> Self {
        self.tls = Some(Arc::new(Tls::new(certificate)));
        self
    }

    /// The certificate of new connections, if TLS is spoken.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Where it listens: with port 0 the one that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until it is told to stop, then waits for the connections that are left.
    pub(super) async fn accept(
        self,
        service: Arc<ArcSwap<Service>>,
        connections_max: usize,
        mut stop: watch::Receiver<bool>,
    ) {
        let room = Arc::new(Semaphore::new(connections_max));
        let mut connections = JoinSet::new();
        let mut stopping = stop.clone();
        let mut stopped = std::pin::pin!(stopping.wait_for(|stop| *stop));
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(ended) = connections.join_next() => tell_of_panic(ended),
                (stream, peer, permit) = self.next(&room) => {
                    let service = Arc::clone(&service);
                    let (tls, stop) = (self.tls.clone(), stop.clone());
                    connections.spawn(async move {
                        connection::run(stream, peer, service, tls, stop).await;
                        drop(permit);
                    });
                }
            }
        }
        drop(self.socket);
        stop.mark_unchanged();
        while let Some(ended) = connections.join_next().await {
            tell_of_panic(ended);
        }
    }

    /// The next connection, once there is room for it.
    async fn next(&self, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            // The semaphore is never closed; if it were, nobody would be let in.
            let Ok(permit) = Arc::clone(room).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.socket.accept().await {
                Ok((stream, peer)) => return (stream, peer, permit),
                Err(why) => {
                    // The client gave up, or files ran out: both pass.
                    tracing::warn!(target: "front", %why, "a connection could not be accepted");
                    sleep(bounds::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A panic ends one connection and is never the end of the process.
fn tell_of_panic(ended: Result<(), JoinError>) {
    if let Err(why) = ended
        && why.is_panic()
    {
        tracing::error!(target: "front", %why, "a request could not be handled; its connection was closed");
    }
}
