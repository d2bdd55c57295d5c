//! An API server of Kubernetes in memory, as a service under `kube::Client`.
//!
//! It has the parts that the operator uses, and panics at other requests, so that no test passes
//! because a request was misunderstood. A real API server gives the same answers to the same
//! requests: the scripts of `tests/simulation/scripts` run against both.
//!
//! It differs on purpose in two points. Its controllers collect garbage and release unused claims
//! when [`Objects::control`] is called, because a test wants to choose that moment. There is no
//! admission, and no defaulting of pods and Services, because the operator does not read the
//! additions.

mod failure;
mod fields;
mod kind;
mod managers;
mod objects;
mod patch;
mod request;
mod rules;
mod selector;
mod service;
mod write;

pub(crate) use kind::Kind;
pub(crate) use objects::{Key, Objects};
pub(crate) use request::{Request, Verb};
pub(crate) use service::{Server, serve};
pub(crate) use write::Answer;
