//! The Kubernetes resources of the operator: their types, defaults and rules.
//!
//! [`v1alpha1`] has the kinds. Every rule that the API server can check is a rule of the schema, so
//! that a wrong resource is refused with words when it is written, and not reported later.
//! [`definition`] makes the resource definitions of the types, and [`manifest`] their files.

#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "derived schemas copy public types into their functions")]

pub mod definition;
pub mod duration;
mod labels;
pub mod manifest;
pub mod names;
pub mod quantity;
pub mod v1alpha1;
