//! The chat at the tracker: it writes the log and hands it on.
//!
//! The [`proposer`] decides; the [`book`] is the log with what follows from it.
//! `hall` has both among the sessions, `feed` what was committed lately, as the
//! bytes that are sent to everyone, and `unsent` what waits for a replica.

pub mod book;

pub mod proposer;

mod answers;
mod feed;
mod unsent;

mod hall;
mod session;

pub use hall::{Chat, Names};
