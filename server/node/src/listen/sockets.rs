//! Web sockets: HTTP/1 connections that carry one request of the JSON gateway after their upgrade.

use std::sync::Arc;

use hyper::body::Incoming as Body;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use quorate_api::{ResponseBody, Socket};

use super::role::Role;
use super::traffic::{Answering, Traffic};

/// The web socket that a connection becomes after its HTTP upgrade, if any.
#[derive(Default)]
pub(super) struct Sockets(Arc<Mutex<Option<(OnUpgrade, Socket)>>>);

/// The connection of a request, as far as it can become a web socket.
pub(super) struct Upgrade(Option<(OnUpgrade, Sockets)>);

impl Sockets {
    /// The connection of a request at a port of this role.
    pub(super) fn upgrade(&self, request: &mut hyper::Request<Body>, role: Role) -> Upgrade {
        let is_possible = role != Role::Peers && request.version() == http::Version::HTTP_11;
        let connection = is_possible.then(|| hyper::upgrade::on(request));
        Upgrade(connection.map(|connection| (connection, Self(self.0.clone()))))
    }

    /// Serves the web socket until it ends. Returns at once if there is none. Its answer counts as
    /// under way all the time, so that a stop of the program does not cut off its last message.
    pub(super) async fn serve(&self, traffic: &Arc<Traffic>) -> hyper::Result<()> {
        let Some((connection, socket)) = self.0.lock().take() else { return Ok(()) };
        let _answering = Answering::new(traffic.clone());
        socket.serve(TokioIo::new(connection.await?)).await;
        Ok(())
    }
}

impl Upgrade {
    /// Keeps the web socket that the answer has opened, if any.
    pub(super) fn keep(self, answer: &mut hyper::Response<ResponseBody>) {
        let Some((connection, sockets)) = self.0 else { return };
        if let Some(socket) = Socket::take(answer) {
            *sockets.0.lock() = Some((connection, socket));
        }
    }
}
