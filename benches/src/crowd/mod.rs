//! A crowd: as many connections as a network has nodes, in one process and on
//! one thread, so that what serves them can be measured.
//!
//! Source addresses are many of 127.0.0.0/8, because one has too few ports.
//! What is sent is encoded before it is needed. All waits have an end.

pub mod links;
pub mod words;

pub mod load;

pub mod peak;
pub mod presence;
pub mod told;
