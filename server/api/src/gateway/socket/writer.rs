//! Writes the answer of a web socket.

use std::io;
use std::pin::pin;

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::Receiver;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::super::Answer;

/// A frame that the writer must send before it sends more of the answer.
pub(super) enum Order {
    /// The answer to a ping, with this payload.
    Pong(Bytes),
    /// The end of the connection, with this payload.
    Close(Bytes),
}

/// The writing side of a web socket.
pub(super) struct Writer<O> {
    io: O,
    orders: Receiver<Order>,
    /// Whether a message has begun and not ended.
    is_within: bool,
}

impl<O: AsyncWrite + Unpin> Writer<O> {
    pub(super) fn new(io: O, orders: Receiver<Order>) -> Self {
        Self { io, orders, is_within: false }
    }

    /// Writes the answer, and meanwhile follows orders. Ends early when an order ends the
    /// connection, or when no more orders can come, because the client is gone.
    pub(super) async fn write(mut self, answer: impl Future<Output = Answer>) -> io::Result<()> {
        let mut answer = pin!(answer);
        let mut body = loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    if !self.follow(order).await? {
                        return self.io.shutdown().await;
                    }
                }
                answer = &mut answer => break answer.into_body(),
            }
        };
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    if !self.follow(order).await? {
                        break;
                    }
                }
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.say(data, body.is_end_stream()).await?;
                        }
                    }
                    None => {
                        self.say(Bytes::new(), true).await?;
                        break;
                    }
                    // The answer has failed, so the message cannot be completed.
                    Some(Err(_)) => break,
                },
            }
        }
        self.io.shutdown().await
    }

    /// Follows an order. Returns whether the writer may write more.
    async fn follow(&mut self, order: Option<Order>) -> io::Result<bool> {
        match order {
            Some(Order::Pong(payload)) => {
                self.frame(OpCode::Control(Control::Pong), true, payload).await?;
                Ok(true)
            }
            Some(Order::Close(payload)) => {
                self.frame(OpCode::Control(Control::Close), true, payload).await?;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Writes data of the answer: at most one line, or a piece of a line. The message ends when the
    /// line or the answer ends.
    async fn say(&mut self, mut data: Bytes, is_end: bool) -> io::Result<()> {
        let ends_line = data.last() == Some(&b'\n');
        data.truncate(data.len() - usize::from(ends_line));
        if data.is_empty() && !self.is_within {
            return Ok(());
        }
        let kind = if self.is_within { Data::Continue } else { Data::Text };
        let is_last = ends_line || is_end;
        self.is_within = !is_last;
        self.frame(OpCode::Data(kind), is_last, data).await
    }

    async fn frame(&mut self, opcode: OpCode, is_final: bool, payload: Bytes) -> io::Result<()> {
        let head = FrameHeader { is_final, opcode, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        let formatted = head.format(payload.len() as u64, &mut bytes);
        formatted.expect("a vector takes all bytes");
        self.io.write_all_buf(&mut Bytes::from(bytes).chain(payload)).await?;
        self.io.flush().await
    }
}
