//! Free ports on the loopback interface.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Ports that this process has handed out. None is handed out twice: a killed server must find its
/// port free when it is started again, though other servers start meanwhile.
static KNOWN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Ports that were free a moment ago, all different and never handed out before.
///
/// Another process can take a port before it is used. The server then fails to start, and the suite
/// must retry with new ports.
pub fn free<const N: usize>() -> [u16; N] {
    // All stay bound until the last one is known, so that they differ.
    let listeners = [(); N].map(|()| listener());
    listeners.map(|listener| port(&listener))
}

/// Like [`free`], for a count known only at run time.
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
