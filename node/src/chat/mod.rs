//! The chat at a node: what it says, what it hears, and its copy of the log.

pub mod replica;

pub mod member;
