//! A client of the gateway's web sockets.

use std::net::TcpStream;

use http::{HeaderName, HeaderValue, Request};
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::client::{WITHIN, normalised};

/// A web socket.
#[derive(Debug)]
pub(crate) struct Socket(WebSocket<TcpStream>);

/// The end of a web socket, as the client sees it.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// A close frame with this code; 0 without a code.
    Close(u16, String),
    /// The end of the connection, without a close frame.
    Cut,
}

/// A handshake for a path, with these headers.
fn handshake(address: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

impl Socket {
    /// Opens a web socket at a path, with these headers; also returns the answer to the handshake.
    /// The error is the answer to a handshake that is refused.
    pub(crate) fn try_open(
        address: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Self, Response), Response> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let handshake = handshake(address, path, headers);
        // Messages of tests are longer than the library's default for frames.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match tungstenite::client::client_with_config(handshake, stream, Some(config)) {
            Ok((socket, response)) => {
                let (head, _) = response.into_parts();
                Ok((Self(socket), Response::from_parts(head, None)))
            }
            Err(HandshakeError::Failure(Error::Http(refused))) => Err(*refused),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Opens a web socket at a path of the gateway, with these headers.
    pub(crate) fn open_with(address: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let opened = Self::try_open(address, &format!("/v3/{path}"), headers);
        opened.unwrap_or_else(|refused| panic!("{path}: {refused:?}")).0
    }

    /// Opens a web socket at a path of the gateway.
    pub(crate) fn open(address: &str, path: &str) -> Self {
        Self::open_with(address, path, &[])
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).unwrap();
    }

    /// Sends a message. Returns whether this succeeds: the server may end the connection meanwhile.
    pub(crate) fn is_served(&mut self, message: impl Into<Message>) -> bool {
        self.0.send(message.into()).is_ok()
    }

    /// Sends a ping. Returns whether something came back.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.send(Message::Ping("a".into())).and_then(|()| self.0.read()).is_ok()
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(self.0.get_mut(), bytes).unwrap();
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> Message {
        self.0.read().unwrap()
    }

    /// The next message, which must be text, as JSON.
    pub(crate) fn json(&mut self) -> Value {
        match self.message() {
            Message::Text(text) => normalised(serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message; returns the next one as JSON.
    pub(crate) fn ask(&mut self, message: impl Into<Message>) -> Value {
        self.send(message);
        self.json()
    }

    /// The messages up to the end, as JSON, and the end.
    pub(crate) fn rest(mut self) -> (Vec<Value>, End) {
        let mut messages = Vec::new();
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    messages.push(normalised(serde_json::from_str(&text).unwrap()));
                }
                Ok(Message::Close(frame)) => {
                    let said = |frame: CloseFrame| (frame.code.into(), frame.reason.to_string());
                    let (code, reason) = frame.map(said).unwrap_or_default();
                    // The server ends the connection.
                    let end = self.0.read();
                    assert!(matches!(end, Err(Error::ConnectionClosed)), "{end:?}");
                    return (messages, End::Close(code, reason));
                }
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return (messages, End::Cut);
                }
                other => panic!("{other:?} after {messages:?}"),
            }
        }
    }

    /// Closes it; returns the same as [`rest`](Self::rest).
    pub(crate) fn close(mut self, frame: Option<CloseFrame>) -> (Vec<Value>, End) {
        self.0.close(frame).unwrap();
        self.0.flush().unwrap();
        self.rest()
    }
}
