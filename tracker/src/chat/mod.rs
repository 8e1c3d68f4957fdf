//! The chat at the tracker: it writes the log and hands it on.

pub mod book;

pub mod proposer;
