//! The wire's behaviour, compared with a real etcd's.
//!
//! Golden scripts are commands and the answers that etcd gives to them, in one file. A [`Runner`]
//! executes the commands of a script against a [`Target`] and writes the answers down:
//!
//! | target | is |
//! |---|---|
//! | [`state_machine::StateMachine`] | the state machine alone, over a base in memory |
//! | [`remote::Remote`] | a server, Quorate's or etcd's, over gRPC |
//!
//! Whatever the target, the text must be the one in the file. It was written by running the script
//! against etcd, and by nothing else: see [`golden`].
//!
//! # Commands
//!
//! A command is a line in the language of the crate `goldenscript`. Keys and values are words, or
//! quoted where they hold more than letters, digits and `_-./@`; `\xff` in quotes is that byte.
//! Flags are words, everything else has a name. What is left out is left out of the request.
//!
//! ```text
//! put KEY [VALUE] [lease=ID] [prev_kv] [ignore_value] [ignore_lease] [size=BYTES] [times=N]
//! range KEY [end=KEY|prefix|from-key] [rev=] [limit=] [sort=TARGET[-asc|-desc]] [keys_only]
//! [count_only]
//!       [serializable] [min_mod=] [max_mod=] [min_create=] [max_create=]
//! stream KEY ...                            a streamed range, with the arguments of a range
//! del KEY [end=KEY|prefix|from-key] [prev_kv]
//! > txn [if COMPARE, ...] [then OP; ...] [else OP; ...]
//! compact REVISION [physical]
//! grant TTL [id=ID]                         without an id, the server's choice becomes "$lease"
//! revoke ID
//! ttl ID [keys]
//! leases
//! keepalive ID
//! hashkv [rev=]
//! alarm get|activate|deactivate [nospace|corrupt] [member=self|ID]
//! watch KEY [end=KEY|prefix|from-key] [start=] [id=] [prev_kv] [no_put] [no_delete] [fragment]
//!       [progress_notify]
//! cancel ID
//! send-cancel ID                            when no answer is expected
//! send-nothing                              a request without content
//! progress                                  asks a stream how far it has come, and prints it
//! ask-progress                              only asks
//! events                                    prints what came up to the last revision
//! await N                                   prints what comes until N events and notices are there
//! ```
//!
//! A prefix names a watch stream: `b: watch key`. In a transaction, an `OP` is a `put`, `range` or
//! `del` with the arguments above, `txn (...)`, or `nothing`; with `times=N` it stands for `N`
//! operations on keys that end in `-000`, `-001` and so on. A `COMPARE` is
//! `TARGET(KEY [end=KEY|prefix|from-key] [times=N]) = VALUE [as TARGET]`, with `=`, `!=`, `<`, `>`
//! or
//! `?NUMBER`, and `none` for a value that is not given. An enumeration's value can be written as a
//! number, also one that etcd does not know.
//!
//! # Answers
//!
//! All fields of an answer are printed, except those that are zero. Ids of cluster, members and the
//! raft term differ between runs; of them it is only checked that they are there. Time runs on, so
//! that a TTL close to what was granted prints as `running`. Where etcd's order is random (keys of
//! a lease, alarms), lines are sorted.

#![forbid(unsafe_code)]

mod args;
pub mod etcdctl;
pub mod faults;
pub mod golden;
pub mod lender;
mod lexer;
pub mod pair;
mod print;
pub mod raw;
pub mod remote;
mod request;
pub mod rivals;
mod runner;
pub mod state_machine;
mod target;
pub mod trios;
mod txn;
mod watch;

pub use runner::Runner;
pub use target::{Answer, Target};
