//! Connects HTTP/2 with the services: checks the headers of a call and the frames of its body as
//! grpc-go does, with grpc-go's codes and texts, and charges the call to the memory budget.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod charge;
pub(crate) mod count;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod intake;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod unread;
