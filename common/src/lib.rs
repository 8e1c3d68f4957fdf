//! What a tracker and a node of Shoal must agree on: the words and the wire.
//!
//! A module imports only from the layers above it, so this list is the map.
//! A conversation goes: [`call`] opens a connection and greets, [`serve`]
//! accepts and greets back, then messages of one [`protocol`] module travel as
//! frames of [`connection`], until one side hangs up.

// Words.
pub mod content;
pub mod ident;
pub mod limits;
pub mod name;

// What people say to each other: a log, and the rooms that it builds.
pub mod chat;

// Time.
pub mod clock;

// Ways of the process: how tasks run, stop and are logged.
pub mod logs;
pub mod process;
pub mod task;

// Wire.
pub mod connection;
pub mod protocol;

// Conversations: who speaks, and the two ends of a connection, each written once.
pub mod party;

pub mod call;
pub mod serve;
