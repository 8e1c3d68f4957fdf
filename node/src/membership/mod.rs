//! Who is in the network, as this node knows it.
//!
//! `roster` decides without I/O; `session` keeps the conversation with the
//! tracker and feeds it; [`Membership`] is the handle.

mod pages;
mod roster;

mod handle;
mod session;

pub use handle::{Link, Membership};
pub use session::{FirstAnswer, Goodbye, Wish, start};
