//! The cells: every request by every caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_proto::etcdserverpb::WatchResponse;
use quorate_test_conformance::raw::{Answer, Connection, frame};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::callers::{Caller, callers};
use crate::management;
use crate::model::{Verdict, verdict};
use crate::requests::{self, Request, Shape};
use crate::setup::Tokens;
use crate::transactions;

/// How long the first answer of a stream may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Calls in flight at the same time.
pub(crate) const IN_FLIGHT: usize = 64;

/// A request and its caller, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) request: usize,
    pub(crate) caller: usize,
}

/// An answer: the code and the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// All requests and callers.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) callers: Vec<Caller>,
    pub(crate) requests: Vec<Request>,
}

impl Matrix {
    /// The matrix for a server with a member at this peer URL.
    pub(crate) fn new(peer_url: &str) -> Self {
        let callers = callers();
        let mut requests = requests::all(callers.len());
        requests.extend(transactions::all());
        requests.extend(management::all(peer_url));
        Self { callers, requests }
    }

    /// The verdict of the model on a cell.
    pub(crate) fn verdict(&self, cell: Cell) -> Verdict {
        verdict(&self.callers[cell.caller], &self.requests[cell.request].needs)
    }

    /// All cells; those of transactions by every other caller, in turn.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (number, request) in self.requests.iter().enumerate() {
            let is_txn = request.path.ends_with("/Txn");
            for caller in 0..self.callers.len() {
                let cell = Cell { request: number, caller };
                let is_sent = match request.only {
                    Some(only) => only == caller,
                    None if request.is_fatal => self.verdict(cell) != Verdict::Passes,
                    None => !is_txn || (number + caller) % 2 == 0,
                };
                if is_sent {
                    cells.push(cell);
                }
            }
        }
        cells
    }

    /// A cell in words.
    pub(crate) fn name(&self, cell: Cell) -> String {
        let Caller { token, header } = self.callers[cell.caller];
        format!("{} by {token:?} in {header:?}", self.requests[cell.request].name)
    }

    /// Whether an answer is that of the model. `has_space`: whether no alarm refuses new data.
    pub(crate) fn is_right(&self, cell: Cell, outcome: &Outcome, has_space: bool) -> bool {
        let request = &self.requests[cell.request];
        let Outcome { code, text } = outcome;
        let has_no_space = !has_space && request.adds && code == "8";
        match self.verdict(cell).refusal() {
            None => code == request.after || has_no_space,
            Some(_) if request.shape == Shape::First => code != "0",
            // etcd's locks and elections give only the text of the refusal.
            Some((_, refusal)) if request.is_claim() => text == refusal,
            Some(refusal) => (code.as_str(), text.as_str()) == refusal || has_no_space,
        }
    }
}

/// Sends the cells over the connections in turn, this many at a time, and returns their outcomes.
pub(crate) async fn send(
    matrix: &Arc<Matrix>,
    cells: &[Cell],
    connections: &Arc<Vec<Connection>>,
    tokens: &Tokens,
    at_a_time: usize,
) -> Vec<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let cells: Arc<[Cell]> = cells.into();
    let mut workers = JoinSet::new();
    for _ in 0..at_a_time {
        let (matrix, cells, next) = (matrix.clone(), cells.clone(), next.clone());
        let (connections, tokens) = (connections.clone(), tokens.clone());
        workers.spawn(async move {
            let mut outcomes = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(cell) = cells.get(number) else { return outcomes };
                let connection = &connections[number % connections.len()];
                outcomes.push((number, ask(&matrix, *cell, connection, &tokens).await));
            }
        });
    }
    let mut outcomes = vec![Outcome::default(); cells.len()];
    while let Some(of_worker) = workers.join_next().await {
        for (number, outcome) in of_worker.expect("it does not panic") {
            outcomes[number] = outcome;
        }
    }
    outcomes
}

async fn ask(matrix: &Matrix, cell: Cell, connection: &Connection, tokens: &Tokens) -> Outcome {
    let request = &matrix.requests[cell.request];
    let call = tokens.call(&matrix.callers[cell.caller], request.path);
    let body = frame(&request.message);
    if request.shape == Shape::Ends {
        return Outcome::of(&connection.call(call, body).await);
    }
    // A watch ends with its requests; the others have one.
    let is_all = request.shape == Shape::First;
    let mut call = connection.start(call, body, is_all).await;
    let answered = timeout(ANSWER_WITHIN, call.wait_for_messages(1)).await;
    if answered.is_err() {
        return Outcome { code: "silent".to_owned(), text: String::new() };
    }
    if answered == Ok(false) {
        let Outcome { code, text } = Outcome::of(call.so_far());
        // An end without an answer is no success.
        let code = if code == "0" { "ended".to_owned() } else { code };
        return Outcome { code, text };
    }
    match request.shape {
        Shape::Watch => Outcome::of_watch(&call.so_far().decode()),
        _ => Outcome { code: "0".to_owned(), text: String::new() },
    }
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        let Answer { code, message, reset, .. } = answer;
        match (code, reset) {
            (Some(code), None) => Self { code: code.clone(), text: message.clone() },
            (code, reset) => Self { code: "lost".to_owned(), text: format!("{code:?} {reset:?}") },
        }
    }

    /// A watch that is refused says so in its first answer, in the words of Go.
    fn of_watch(answer: &WatchResponse) -> Self {
        let reason = answer.cancel_reason.clone();
        if !answer.canceled {
            return Self { code: "0".to_owned(), text: reason };
        }
        let parts = reason.strip_prefix("rpc error: code = ");
        match parts.and_then(|parts| parts.split_once(" desc = ")) {
            None => Self { code: "canceled".to_owned(), text: reason },
            Some((name, text)) => {
                let code = match name {
                    "InvalidArgument" => "3",
                    "PermissionDenied" => "7",
                    "Unauthenticated" => "16",
                    other => other,
                };
                Self { code: code.to_owned(), text: text.to_owned() }
            }
        }
    }
}
