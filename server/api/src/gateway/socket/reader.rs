//! Reads what the client of a web socket sends.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc::Sender;

use super::frames::{Frames, Part};
use super::writer::Order;

/// Bytes per read. They are in no budget while they wait for the call.
const READ_BYTES: usize = 4 << 10;

/// Reads until the connection ends or must end. The data of messages go to `data`, a line for each
/// message, and are dropped when the call needs no more. What the client must be told goes to
/// `orders`; a close frame is the last order.
pub(super) async fn read<I>(mut io: I, data: Sender<Bytes>, orders: Sender<Order>)
where
    I: AsyncRead + Unpin,
{
    let mut frames = Frames::default();
    let mut bytes = BytesMut::new();
    loop {
        match frames.next(&mut bytes) {
            None => {
                bytes.reserve(READ_BYTES);
                if !matches!(io.read_buf(&mut bytes).await, Ok(1..)) {
                    return;
                }
            }
            Some(Part::Data(part)) => drop(data.send(part).await),
            Some(Part::End) => drop(data.send(Bytes::from_static(b"\n")).await),
            Some(Part::Ping(payload)) => drop(orders.send(Order::Pong(payload)).await),
            Some(Part::Close(payload)) => return drop(orders.send(Order::Close(payload)).await),
        }
    }
}
