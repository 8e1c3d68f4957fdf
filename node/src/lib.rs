//! What a person runs: share a folder, search, fetch.
//!
//! A module imports only from the layers above it, so this list is the map.

// Ground: amounts as people write them, what the node was told, the one place
// where names become paths, where news are told, and how much is moved at the
// moment.
pub mod amount;
pub mod config;
pub mod notice;
pub mod traffic;
pub mod volume;

// Parts: who is here, who has what, and moving it.
pub mod membership;

pub mod catalog;

pub mod transfer;

// What people say to each other.
pub mod chat;

// The face: every verb on one handle. Terminals, `ctl` and tests are equal
// users of it.
pub mod app;

// Ways in: a socket that carries the verbs, and terminals that speak over it.
pub mod control;

pub mod terminal;

// The program.
pub mod cli;
