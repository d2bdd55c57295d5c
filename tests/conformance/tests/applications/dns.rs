//! Queries to a DNS server.

use std::net::{Ipv4Addr, UdpSocket};
use std::str::FromStr as _;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

/// How long a server may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// The records of the answer of the server at `port`, after the response code if it is an error;
/// `None` without an answer. The serial number of a zone is the time, so the records that name the
/// authority are left out.
pub(crate) fn ask(port: u16, name: &str, kind: RecordType) -> Option<Vec<String>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    socket.send(&message.to_vec().unwrap()).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    let code = answer.metadata.response_code;
    let code = (code != ResponseCode::NoError).then(|| code.to_string());
    let answers = answer.answers.iter().map(ToString::to_string);
    let more = answer.additionals.iter().map(|record| format!("also {record}"));
    Some(code.into_iter().chain(answers).chain(more).collect())
}
