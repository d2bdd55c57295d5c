//! The ports: binding them, accepting their connections, TLS, and HTTP.
//!
//! ```text
//!   bind --> accept --> tls --> http --> the API, or the peer port
//!              |                  |
//!            places             incoming: what the HTTP libraries read
//! ```

mod accept;
mod authority;
mod batch;
mod bind;
mod connections;
mod frames;
mod http;
mod huffman;
mod incoming;
mod places;
mod reverse_offer;
mod reverse_server;
mod role;
mod sockets;
mod tls;
mod traffic;
mod unsent;

pub(crate) use self::accept::{Acceptor, keepalive};
pub(crate) use self::bind::{Port, bind};
pub(crate) use self::connections::Connections;
pub(crate) use self::http::Http;
pub(crate) use self::places::Places;
pub(crate) use self::role::Role;
pub(crate) use self::tls::Certificates;
