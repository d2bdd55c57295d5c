//! What the service manager is told, if one asked for it by `NOTIFY_SOCKET`, as systemd does.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The member serves.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The member ends.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

fn tell(what: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, what) {
        let socket = socket.to_string_lossy().into_owned();
        tracing::warn!(%error, socket, what, "cannot tell the service manager; see NOTIFY_SOCKET");
    }
}

fn send(socket: &OsStr, what: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // A name that is in no file system.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => {
            let text = "it begins neither with a slash nor with @";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not stop us.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(what.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_and_without_a_file_are_told() {
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
            let mut said = [0; 16];
            let length = listener.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1");
        }
        assert!(send(OsStr::new("vsock:2:1"), "READY=1").is_err());
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
