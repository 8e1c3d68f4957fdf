//! The verbs of a node over a Unix socket.
//!
//! Every terminal is a client of this conversation: the one of the node's own
//! process (over a pair of sockets), `attach`, `ctl`, and what comes later. So
//! all of them can do the same, and none can do what the others can't.
//!
//! Messages are frames of [`Connection`](shoal_common::connection::Connection),
//! without a greeting: the socket lies in the node's own folder, and only the
//! person who owns the folder can open it.

pub mod protocol;
pub mod socket;

pub mod client;
pub mod serve;
