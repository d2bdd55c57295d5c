//! Free ports on the loopback interface.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Ports that this process was told of: a server that is killed and started again must find its
/// port free, though others start beside it.
static KNOWN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Ports that nobody listened on a moment ago, all different, and none of them for the second time.
///
/// Another process can take one before it is used; a suite that starts servers at the same time as
/// others sees that as a server that does not start, and asks again.
pub fn free<const N: usize>() -> [u16; N] {
    // Held together until all are known, so that they differ.
    let listeners = [(); N].map(|()| listener());
    listeners.map(|listener| port(&listener))
}

/// As many such ports as asked for.
pub fn several(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| listener()).collect();
    listeners.iter().map(port).collect()
}

fn listener() -> TcpListener {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        if known.insert(port(&listener)) {
            return listener;
        }
    }
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}
