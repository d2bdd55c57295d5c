//! Golden scripts: commands and etcd's answers to them in one file.
//!
//! A [`Runner`] executes a script's commands against a [`Target`] and records the answers. The
//! output must be the same for every target: the state machine alone, and servers. The text in the
//! file comes only from running the script against etcd; see [`golden`].
//!
//! # Commands
//!
//! A command is a line in the language of the crate `goldenscript`. Keys and values are words, or
//! quoted if they contain more than letters, digits and `_-./@`; `\xff` in quotes is that byte.
//! Flags are words; all other options are named. Omitted options are omitted from the request.
//!
//! ```text
//! put KEY [VALUE] [lease=ID] [prev_kv] [ignore_value] [ignore_lease] [size=BYTES] [times=N]
//! range KEY [end=KEY|prefix|from-key] [rev=] [limit=] [sort=TARGET[-asc|-desc]] [keys_only]
//!       [count_only] [serializable] [min_mod=] [max_mod=] [min_create=] [max_create=]
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
//! auth-status, auth-enable, auth-disable
//! authenticate USER [PASSWORD]
//! as [USER]                                 makes the calls from now on with the user's last token
//! with-token TEXT                           makes the calls from now on with this token
//! user-add USER [PASSWORD] [hash=HASH] [no_password]
//! passwd USER [PASSWORD] [hash=HASH]
//! user-get USER, user-list, user-delete USER
//! user-grant USER ROLE, user-revoke USER ROLE
//! role-add ROLE, role-get ROLE, role-list, role-delete ROLE
//! role-grant ROLE [read|write|readwrite KEY [end=KEY|prefix|from-key]]
//! role-revoke ROLE KEY [end=KEY|prefix|from-key]
//! watch KEY [end=KEY|prefix|from-key] [start=] [id=] [prev_kv] [no_put] [no_delete] [fragment]
//!       [progress_notify]
//! cancel ID
//! send-cancel ID                            for a cancellation without an answer
//! send-nothing                              a request without content
//! progress                                  requests progress and prints the answer
//! ask-progress                              requests progress only
//! events                                    prints events up to the current revision
//! await N                                   prints messages until there were N events and notices
//! ```
//!
//! A prefix names a watch stream: `b: watch key`. In a transaction, an `OP` is a `put`, `range` or
//! `del` with the arguments above, `txn (...)`, or `nothing`; with `times=N` it stands for `N`
//! operations on keys that end in `-000`, `-001` and so on. A `COMPARE` is
//! `TARGET(KEY [end=KEY|prefix|from-key] [times=N]) = VALUE [as TARGET]`, with `=`, `!=`, `<`, `>`
//! or `?NUMBER`, and `none` for a missing value. An enumeration's value can also be a number, even
//! one that etcd does not know.
//!
//! # Answers
//!
//! All fields of an answer are printed, except those that are zero. Cluster id, member id and raft
//! term differ between runs; the printer only checks that they are set. A TTL close to the granted
//! one prints as `running`, because time passes. Where etcd's order is random (a lease's keys,
//! alarms), lines are sorted.

#![forbid(unsafe_code)]

mod args;
mod auth;
pub mod golden;
mod lexer;
mod print;
mod request;
mod runner;
mod target;
mod txn;
mod watch;

pub use auth::{AuthAnswer, AuthCall};
pub use runner::Runner;
pub use target::{Answer, Failure, Status, Target};
