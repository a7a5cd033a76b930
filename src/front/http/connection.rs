//! One connection from its first byte to its last.
//!
//! Its end is unhurried: if a client is still sending when its answer is complete (a body that is
//! too large), closing at once would make the system reset the connection, and the client would
//! never read why. So the write side is closed first and what still comes is read and dropped,
//! within bounds.

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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::patience::Patient;
use super::respond::Response;
use super::service::Service;
use crate::model::bounds;

type Answer = Pin<Box<dyn Future<Output = Result<Response, std::convert::Infallible>> + Send>>;

/// Serves one connection until it ends or `stop` says so.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<ArcSwap<Service>>,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(why) = stream.set_nodelay(true) {
        tracing::debug!(target: "front", %why, "answers may be held back a little");
    }
    let stream = Arc::new(stream);
    let departure = Departure(Arc::clone(&stream));
    let answer = move |request: Request<Incoming>| -> Answer {
        // One request is served by one set of options, whatever is renewed meanwhile.
        let (service, departure) = (service.load_full(), departure.clone());
        Box::pin(async move { Ok(service.serve(request, peer, departure).await) })
    };
    let stream = TokioIo::new(Patient::new(stream, bounds::WRITE_STALL_MAX));
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
pub(super) struct Departure(Arc<TcpStream>);

/// Waits until a client has left; for ever, if there is no departure to wait for.
pub(super) async fn departed(departure: Option<&Departure>) {
    let Some(Departure(stream)) = departure else { return std::future::pending().await };
    let mut byte = [0_u8; 1];
    match stream.peek(&mut byte).await {
        // The end, or a connection that is broken.
        Ok(0) | Err(_) => {}
        // More is there already, and hides what comes after it.
        Ok(_) => std::future::pending().await,
    }
}

/// Waits until the front is told to stop; if it is gone, that too.
async fn wanted(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

async fn linger(mut stream: Patient) {
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
