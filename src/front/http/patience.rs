//! A stream whose reader must take something now and then. Without this a client that asks for
//! large answers and never reads them would keep a connection and its memory for ever.
//!
//! It also puts small pieces together: one plain write costs the system less than a gathering one.
//! The stream is shared with whoever wants to know whether its client is still there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A stream that fails when a write makes no progress for too long.
#[derive(Debug)]
pub(super) struct Patient {
    stream: Arc<TcpStream>,
    stall_max: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Where the pieces of a small write are put together.
    whole: Vec<u8>,
}

/// Writes up to this size are put together.
const SMALL: usize = 4 << 10;

impl Patient {
    pub(super) fn new(stream: Arc<TcpStream>, stall_max: Duration) -> Self {
        Self { stream, stall_max, stalled: None, whole: Vec::new() }
    }

    fn written(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn progress<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Reads what is there. A read that leaves room has taken all of it, so the stream is ready no more and
/// need not be asked again to say so: the system tells of what comes from then on.
fn read(stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut is_read = false;
    let emptied = stream.try_io(Interest::READABLE, || {
        let size = stream.try_read_buf(buffer)?;
        is_read = true;
        if size > 0 && buffer.remaining() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    if is_read { Ok(()) } else { emptied }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match read(&self.stream, buffer) {
                // Ready no more: asked again, it says when it is.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.written(context, |stream| stream.try_write(bytes));
        self.progress(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let size = slices.iter().fold(0_usize, |size, slice| size.saturating_add(slice.len()));
        let polled = if size <= SMALL {
            this.whole.clear();
            for slice in slices {
                this.whole.extend_from_slice(slice);
            }
            this.written(context, |stream| stream.try_write(&this.whole))
        } else {
            this.written(context, |stream| stream.try_write_vectored(slices))
        };
        self.progress(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is kept back here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.stream, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Patient::new(Arc::new(stream), Duration::from_millis(50));
        stream.write_all(b"hello").await.unwrap();
        let mut read = [0_u8; 5];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        let failed = stream.write_all(&vec![0_u8; 64 << 20]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
