//! The byte stream between a socket and the HTTP libraries.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use quorate_api::Intake;

use super::frames::Frames;
use super::traffic::Traffic;
use super::unsent::Unsent;

/// The first bytes of every HTTP/2 client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of the frame header that must follow the preface.
const FRAME_HEAD: usize = 9;
/// Bytes that a connection may read before it yields to other tasks, so that its requests are
/// handled before it reads more.
const TURN_BYTES: usize = 32 << 10;
/// Bytes per read while frames are held back.
const READ_BYTES: usize = 8 << 10;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads the first bytes of a client and returns its protocol and the bytes. A client that closes
/// the connection without sending anything counts as HTTP/1.
pub(super) async fn read_first<I: AsyncRead + Unpin>(
    io: &mut I,
) -> io::Result<(Protocol, BytesMut)> {
    let mut first = BytesMut::new();
    while first.len() < PREFACE.len() {
        if !read_more(io, &mut first, PREFACE.len()).await? || !PREFACE.starts_with(&first) {
            return Ok((Protocol::Http1, first));
        }
    }
    // The preface alone is not enough: a client must send its first frame right after it.
    let length = PREFACE.len() + FRAME_HEAD;
    while first.len() < length && read_more(io, &mut first, length).await? {}
    Ok((Protocol::Http2, first))
}

/// Reads until `first` has at most `length` bytes, in one read. Returns false at the end of input.
async fn read_more<I: AsyncRead + Unpin>(
    io: &mut I,
    first: &mut BytesMut,
    length: usize,
) -> io::Result<bool> {
    let mut more = [0; PREFACE.len() + FRAME_HEAD];
    let read = io.read(&mut more[..length - first.len()]).await?;
    first.extend_from_slice(&more[..read]);
    Ok(read > 0)
}

/// A connection whose first bytes are read already.
pub(super) struct Incoming<I> {
    io: I,
    /// `None` for HTTP/1, whose bytes pass unchanged.
    frames: Option<Frames>,
    /// Bytes received but not ready to be passed on.
    held: BytesMut,
    /// Bytes to be read by the library next.
    ready: BytesMut,
    traffic: Arc<Traffic>,
    intake: Intake,
    unsent: Unsent,
}

impl<I> Incoming<I> {
    pub(super) fn new(
        io: I,
        protocol: Protocol,
        mut first: BytesMut,
        traffic: Arc<Traffic>,
        intake: Intake,
    ) -> Self {
        let mut held = BytesMut::new();
        let mut frames = None;
        if protocol == Protocol::Http2 {
            held = first.split_off(PREFACE.len().min(first.len()));
            frames = Some(Frames::default());
        }
        let unsent = Unsent::default();
        Self { io, frames, held, ready: first, traffic, intake, unsent }
    }

    /// The underlying connection. `None` if received bytes have not been read.
    pub(super) fn into_bare(self) -> Option<I> {
        (self.ready.is_empty() && self.held.is_empty()).then_some(self.io)
    }

    /// Copies ready bytes to `out`.
    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.ready.len().min(out.remaining());
        out.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        self.traffic.read_in_turn(length);
        if self.ready.is_empty() {
            // Frees the memory: while all bytes pass unchanged, the buffer is not used.
            self.ready = BytesMut::new();
        }
    }
}

impl<I: AsyncRead + Unpin> Incoming<I> {
    /// Reads into `out`; bytes that cannot be passed on yet go to `held`. Returns false at the end
    /// of input.
    fn poll_pass(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        let fresh = &mut out.filled_mut()[before..];
        let length = fresh.len();
        self.traffic.count(length);
        self.intake.count(length);
        self.unsent.read(length);
        let passed = match &mut self.frames {
            Some(frames) => frames.pass(fresh),
            None => length,
        };
        self.traffic.read_in_turn(passed);
        if passed < length {
            self.held.extend_from_slice(&fresh[passed..]);
            out.set_filled(before + passed);
            self.rework();
        }
        Poll::Ready(Ok(length > 0))
    }

    /// Reads into `held` and reworks it. Returns false at the end of input.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ_BYTES];
        let mut more = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut more))?;
        let more = more.filled();
        self.traffic.count(more.len());
        self.intake.count(more.len());
        self.unsent.read(more.len());
        self.held.extend_from_slice(more);
        if more.is_empty() {
            // The last frame stays incomplete; it is passed on as it is.
            self.ready = std::mem::take(&mut self.held);
        } else {
            self.rework();
        }
        Poll::Ready(Ok(!more.is_empty()))
    }

    fn rework(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.rework(&mut self.held, &mut self.ready);
        }
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        loop {
            if !self.ready.is_empty() {
                self.give(out);
                return Poll::Ready(Ok(()));
            }
            let goes_on = if self.held.is_empty() {
                ready!(self.poll_pass(cx, out))?
            } else {
                ready!(self.poll_hold(cx))?
            };
            if out.filled().len() > before || (!goes_on && self.ready.is_empty()) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Incoming<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.traffic.read_in_turn(0) >= TURN_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.intake.poll_open(cx));
        ready!(this.unsent.poll_read(cx));
        this.poll_fill(cx, out)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Incoming<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes)?;
        self.unsent.wrote(written);
        let written = ready!(written);
        self.traffic.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts)?;
        self.unsent.wrote(written);
        let written = ready!(written);
        self.traffic.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx)?;
        self.unsent.flushed(flushed);
        flushed.map(Ok)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
