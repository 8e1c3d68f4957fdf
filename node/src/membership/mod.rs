//! Who is in the network, as this node knows it.
//!
//! `roster` is what the tracker says; `session` keeps the conversation with it and
//! feeds it. `exchange` is what nodes say to each other, with a tracker and
//! without. `union` decides from both who is here, and [`Membership`] is the
//! handle.

mod ending;
mod names;
mod pages;
#[cfg(test)]
mod pages_model;
mod ring;
mod roster;
mod troubles;
mod union;

mod handle;
mod news;

mod exchange;

mod around;
mod wish;

mod session;

mod enter;

pub use enter::start;
pub use exchange::{Acquaintance, AskError, Exchange, Standing, answer, neighbors, start as meet};
pub use handle::{Link, Membership, TrackerAt};
pub use ring::Ring;
pub use wish::{FirstAnswer, Goodbye, Wish};
