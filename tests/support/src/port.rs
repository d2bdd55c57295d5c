//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

/// Ports that nobody listened on a moment ago, all different.
///
/// Another process can take one before it is used; a suite that starts servers at the same time as
/// others sees that as a server that does not start, and asks again.
pub fn free<const N: usize>() -> [u16; N] {
    // Held together until all are known, so that they differ.
    let listeners =
        [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

/// As many such ports as asked for.
pub fn several(count: usize) -> Vec<u16> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let listeners: Vec<TcpListener> = (0..count).map(|_| bind()).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}
