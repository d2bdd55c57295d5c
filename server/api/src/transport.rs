//! What stands between HTTP/2 and a service: the head of a call and the frames of its body, checked
//! as gRPC's library for Go checks them, with its codes and words.

pub(crate) mod body;
pub(crate) mod head;
