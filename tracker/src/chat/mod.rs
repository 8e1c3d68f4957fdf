//! The chat at the tracker: it writes the log and hands it on.
//!
//! The [`proposer`] decides; the [`book`] is the log with what follows from it.
//! `hall` has both among the sessions, and `feed` what was committed lately, as
//! the bytes that are sent to everyone.

pub mod book;

pub mod proposer;

mod answers;
mod feed;

mod hall;
mod session;

pub use hall::{Chat, Names};
