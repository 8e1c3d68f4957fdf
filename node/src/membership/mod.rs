//! Who is in the network, as this node knows it.
//!
//! `roster` decides without I/O; `session` keeps the conversation with the
//! tracker and feeds it; [`Membership`] is the handle.

mod exchange;
mod roster;
mod union;

mod handle;
mod news;
mod session;

pub use exchange::{Acquaintance, AskError, BadLine, Exchange, Standing, answer, neighbors};
pub use handle::{Link, Membership};
pub use session::{FirstAnswer, Goodbye, Wish, start};
