//! Faults under load, and a checker of what clients saw.

#![forbid(unsafe_code)]
