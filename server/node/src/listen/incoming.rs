//! A connection as the HTTP libraries see it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use quorate_api::Intake;

use super::frames::Frames;
use super::traffic::Traffic;

/// How an HTTP/2 client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of the head of the frame that must follow.
const FRAME_HEAD: usize = 9;
/// Bytes after which others have a turn, so that the requests in them are looked at before more
/// are read.
const TURN_BYTES: usize = 32 << 10;
/// Bytes that are read at once when they are not passed on as they come.
const READ_BYTES: usize = 8 << 10;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Waits for the first words of a client; returns what it speaks, and the words. A client that says
/// nothing and goes is taken for one of HTTP/1.
pub(super) async fn hear<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<(Protocol, BytesMut)> {
    let mut said = BytesMut::new();
    while said.len() < PREFACE.len() {
        if !hear_more(io, &mut said, PREFACE.len()).await? || !PREFACE.starts_with(&said) {
            return Ok((Protocol::Http1, said));
        }
    }
    // The preface alone is nothing: a client must go on at once.
    let length = PREFACE.len() + FRAME_HEAD;
    while said.len() < length && hear_more(io, &mut said, length).await? {}
    Ok((Protocol::Http2, said))
}

/// Reads on up to `length`; false at the end.
async fn hear_more<I: AsyncRead + Unpin>(
    io: &mut I,
    said: &mut BytesMut,
    length: usize,
) -> io::Result<bool> {
    let mut more = [0; PREFACE.len() + FRAME_HEAD];
    let read = io.read(&mut more[..length - said.len()]).await?;
    said.extend_from_slice(&more[..read]);
    Ok(read > 0)
}

/// Reads and writes a connection of which the beginning was heard.
pub(super) struct Incoming<I> {
    io: I,
    /// `None` for HTTP/1, where nothing is changed.
    frames: Option<Frames>,
    /// What came and is not ready yet.
    held: BytesMut,
    /// What is to be read next.
    ready: BytesMut,
    traffic: Arc<Traffic>,
    intake: Intake,
}

impl<I> Incoming<I> {
    pub(super) fn new(
        io: I,
        protocol: Protocol,
        mut said: BytesMut,
        traffic: Arc<Traffic>,
        intake: Intake,
    ) -> Self {
        let (mut held, mut frames) = (BytesMut::new(), None);
        if protocol == Protocol::Http2 {
            held = said.split_off(PREFACE.len().min(said.len()));
            frames = Some(Frames::default());
        }
        Self { io, frames, held, ready: said, traffic, intake }
    }

    /// What lies beneath. None when something came that was not read.
    pub(super) fn into_bare(self) -> Option<I> {
        (self.ready.is_empty() && self.held.is_empty()).then_some(self.io)
    }

    /// Gives what is ready.
    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.ready.len().min(out.remaining());
        out.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        self.traffic.read_in_turn(length);
        if self.ready.is_empty() {
            // Its memory is not needed while everything passes as it comes.
            self.ready = BytesMut::new();
        }
    }
}

impl<I: AsyncRead + Unpin> Incoming<I> {
    /// Reads into `out`; what cannot be passed on yet goes to `held`. False at the end.
    fn poll_pass(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        let fresh = &mut out.filled_mut()[before..];
        let length = fresh.len();
        self.traffic.count(length);
        self.intake.count(length);
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

    /// Adds to `held`; false at the end.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ_BYTES];
        let mut more = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut more))?;
        let more = more.filled();
        self.traffic.count(more.len());
        self.intake.count(more.len());
        self.held.extend_from_slice(more);
        match more.is_empty() {
            // A frame that stays half is passed on as it is.
            true => self.ready = std::mem::take(&mut self.held),
            false => self.rework(),
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
            let goes_on = match self.held.is_empty() {
                true => ready!(self.poll_pass(cx, out))?,
                false => ready!(self.poll_hold(cx))?,
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
        this.poll_fill(cx, out)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Incoming<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.traffic.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
        self.traffic.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
