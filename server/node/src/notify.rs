//! Notifications to a service manager such as systemd, which sets `NOTIFY_SOCKET` to receive them.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Notifies the manager that the member serves.
pub(crate) fn ready() {
    tell("READY=1");
}

/// Notifies the manager that the member is stopping.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        let socket = socket.to_string_lossy().into_owned();
        tracing::warn!(
            %error, socket, state, "cannot notify the service manager; check NOTIFY_SOCKET"
        );
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // An abstract address: a name that is not in the file system.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => {
            let text = "the address must begin with / or @";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not block the member.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_abstract_sockets_are_notified() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let name = format!("@quorate-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let listening = [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str()),
            (UnixDatagram::bind_addr(&named).unwrap(), OsStr::new(&name)),
        ];
        for (listener, socket) in listening {
            send(socket, "READY=1").unwrap();
            let mut received = [0; 16];
            let length = listener.recv(&mut received).unwrap();
            assert_eq!(&received[..length], b"READY=1");
        }
        assert!(send(OsStr::new("vsock:2:1"), "READY=1").is_err());
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
