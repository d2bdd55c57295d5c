//! Bodies that obey the limits, and bodies that do not.

use std::collections::VecDeque;

use futures_util::FutureExt;
use tonic::Code;

use super::*;
use crate::budget::Budget;

/// A body that yields these pieces and never ends.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.0.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

/// The head and the first `there` bytes of a message of `length` bytes.
fn message(length: usize, there: usize) -> Vec<u8> {
    let head = u32::try_from(length).unwrap().to_be_bytes();
    [&[0][..], &head, &vec![7; there]].concat()
}

fn body(method: &str, bytes: &[u8], piece: usize, budget: &Budget) -> Bounded<Pieces> {
    let pieces = Pieces(bytes.chunks(piece).map(Bytes::copy_from_slice).collect());
    Bounded::new(pieces, MessageLimits::of(method), budget.account())
}

async fn next(body: &mut Bounded<Pieces>) -> Result<Bytes, Status> {
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    match frame.unwrap() {
        Ok(frame) => Ok(frame.into_data().unwrap()),
        Err(error) => Err(*error.downcast().unwrap()),
    }
}

/// The data that arrives without waiting.
async fn all(body: &mut Bounded<Pieces>) -> Result<Vec<u8>, Status> {
    let mut all = Vec::new();
    while let Some(data) = next(body).now_or_never() {
        all.extend(data?);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_message_is_charged() {
    let budget = Budget::new(1 << 20);
    let large = message(10_000, 10_000);
    let half = message(20_000, 19_999);
    let bytes = [message(0, 0), message(9, 9), large, half].concat();
    for piece in [1, 3, 5, 7, 4096, bytes.len()] {
        let mut stream = body("Propose", &bytes, piece, &budget);
        assert_eq!(all(&mut stream).await.unwrap(), bytes, "{piece}");
        assert_eq!(budget.used(), 20_000, "{piece}");
        stream.inner.0.push_back(Bytes::from_static(&[7]));
        all(&mut stream).await.unwrap();
        assert_eq!(budget.used(), 0, "{piece}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_too_long_message_is_refused_by_its_head() {
    let budget = Budget::new(1 << 30);
    for (method, limit) in [
        ("HashKV", SMALL_BYTES_MAX),
        ("Heartbeat", SMALL_BYTES_MAX),
        ("ChangeMembers", MEMBERS_BYTES_MAX),
        ("ChangeMembersIf", MEMBERS_BYTES_MAX),
        ("Append", MESSAGE_BYTES_MAX),
    ] {
        for piece in [1, 5] {
            let mut good = body(method, &message(limit, 0), piece, &budget);
            assert!(all(&mut good).await.is_ok(), "{method}");
            let mut bad = body(method, &message(limit + 1, 0), piece, &budget);
            assert_eq!(all(&mut bad).await.unwrap_err().code(), Code::OutOfRange, "{method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_must_arrive_in_time() {
    let budget = Budget::new(1 << 20);
    for (method, bytes) in [
        ("Append", message(10_000, 9_999)),
        ("Append", [message(1, 1), vec![0]].concat()),
        ("HashKV", message(9, 8)),
        ("HashKV", message(9, 9)),
        ("HashKV", Vec::new()),
    ] {
        let mut late = body(method, &bytes, 100_000, &budget);
        all(&mut late).await.unwrap();
        let code = next(&mut late).await.unwrap_err().code();
        assert_eq!((code, budget.used()), (Code::DeadlineExceeded, 0), "{method}");
    }
    let mut between = body("Append", &message(10_000, 10_000), 100_000, &budget);
    all(&mut between).await.unwrap();
    let more = tokio::time::timeout(2 * MESSAGE_WITHIN, next(&mut between)).await;
    assert!(more.is_err(), "a stream may be silent");
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_room() {
    let budget = Budget::new(150_000);
    let half = message(90_000, 50_000);
    let mut first = body("Append", &half, 100_000, &budget);
    all(&mut first).await.unwrap();
    let mut second = body("Append", &half, 100_000, &budget);
    assert!(next(&mut second).now_or_never().is_none(), "there is no room");
    assert_eq!(next(&mut second).await.unwrap_err().code(), Code::ResourceExhausted);
    let mut third = body("Append", &half, 100_000, &budget);
    assert!(next(&mut third).now_or_never().is_none(), "there is no room");
    drop(first);
    assert_eq!(next(&mut third).await.unwrap(), half);
}
