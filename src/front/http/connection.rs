//! One connection from its first byte to its last.
//!
//! Its end is unhurried: if a client is still sending when its answer is complete (a body that is
//! too large), closing at once would make the system reset the connection, and the client would
//! never read why. So the write side is closed first and what still comes is read and dropped,
//! within bounds. With TLS the same goes on inside of it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::patience::Patient;
use super::respond::Response;
use super::service::Service;
use super::tls::{Insecure, Tls};
use crate::model::bounds;

type Answer = Pin<Box<dyn Future<Output = Result<Response, std::convert::Infallible>> + Send>>;

/// Serves one connection until it ends or `stop` says so.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<ArcSwap<Service>>,
    tls: Option<Arc<Tls>>,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(why) = stream.set_nodelay(true) {
        tracing::debug!(target: "front", %why, "answers may be held back a little");
    }
    let socket = Arc::new(stream);
    let stream = Patient::new(Arc::clone(&socket), bounds::WRITE_STALL_MAX);
    let Some(tls) = tls else {
        let departure = Departure { socket, is_secure: false };
        return serve(stream, departure, peer, service, stop).await;
    };
    let secured = tokio::select! {
        secured = tls.secure(&socket, stream) => secured,
        () = wanted(&mut stop) => return,
    };
    match secured {
        Ok(stream) => {
            let departure = Departure { socket, is_secure: true };
            serve(stream, departure, peer, service, stop).await;
        }
        Err(why) => {
            tracing::debug!(target: "front", %peer, %why, "a connection is not secure");
            if let Insecure::Plain(stream) = why {
                linger(stream).await;
            }
        }
    }
}

/// Serves HTTP on a stream.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    departure: Departure,
    peer: SocketAddr,
    service: Arc<ArcSwap<Service>>,
    mut stop: watch::Receiver<bool>,
) {
    let answer = move |request: Request<Incoming>| -> Answer {
        // One request is served by one set of options, whatever is renewed meanwhile.
        let (service, departure) = (service.load_full(), departure.clone());
        // Each layer keeps it and hands it on; so it is copied once.
        let request = Box::new(request);
        Box::pin(async move { Ok(service.serve(request, peer, departure).await) })
    };
    let stream = TokioIo::new(stream);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Who has sent all and closed that side still waits for the answer, and pays for it.
        .half_close(true)
        .header_read_timeout(bounds::HEAD_TIMEOUT)
        .max_headers(bounds::HEADERS_MAX)
        .max_buf_size(bounds::HEAD_BYTES_MAX)
        .serve_connection(stream, service_fn(answer));
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = wanted(&mut stop) => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(why) = ended {
        // Clients go away all the time.
        tracing::debug!(target: "front", %peer, %why, "a connection ended early");
    }
    linger(connection.into_parts().io.into_inner()).await;
}

/// The end of a client's sending side, which says that it has left wherever leaving says something.
/// It cannot be told from a client that has only finished sending, so it must not be asked about
/// one that may have: one of the legacy era.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    socket: Arc<TcpStream>,
    /// Then what a client sends last is a record of TLS, not the end itself.
    is_secure: bool,
}

/// Waits until a client has left; for ever, if there is no departure to wait for.
pub(super) async fn departed(departure: Option<&Departure>) {
    let Some(Departure { socket, is_secure }) = departure else {
        return std::future::pending().await;
    };
    let mut byte = [0_u8; 1];
    match socket.peek(&mut byte).await {
        // The end, or a connection that is broken.
        Ok(0) | Err(_) => {}
        // The goodbye of TLS is there already, or more; the end comes behind it.
        Ok(_) if *is_secure => closed(socket).await,
        // More is there already, and hides what comes after it.
        Ok(_) => std::future::pending().await,
    }
}

/// Waits until the client's side is closed, whatever lies unread before that. What is unread would
/// wake us at once each time, so we look now and then.
async fn closed(socket: &TcpStream) {
    while let Ok(ready) = socket.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        sleep(bounds::DEPARTURE_LOOK).await;
    }
}

/// Waits until the front is told to stop; if it is gone, that too.
async fn wanted(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drop_what_comes = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut scratch = vec![0_u8; 16 << 10];
        let mut dropped = 0_usize;
        while let Ok(size @ 1..) = stream.read(&mut scratch).await {
            dropped = dropped.saturating_add(size);
            if dropped > bounds::LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // Too slow or too much: then the connection is reset after all.
    timeout(bounds::LINGER_WAIT, drop_what_comes).await.ok();
}
