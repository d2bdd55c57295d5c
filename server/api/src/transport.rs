//! What stands between HTTP/2 and a service: the head of a call and the frames of its body, checked
//! as gRPC's library for Go checks them, with its codes and words; and what the call holds of the
//! memory budget.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod charge;
pub(crate) mod head;
pub(crate) mod intake;
pub(crate) mod stream;
