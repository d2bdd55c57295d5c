//! Speed, memory and disk use, as ratios to etcd in the same run.

#![forbid(unsafe_code)]
