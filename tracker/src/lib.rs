//! The tracker of Shoal: knows who is here and tells everyone.
//!
//! A module imports only from the layers above it, so this list is the map.
//! A message of a node goes: `session` receives it, `visit` turns it into
//! events of the `registry` and its reply, and through the `hub` whatever
//! changed reaches the log and the [`screen`] at once, and the other sessions
//! group by group: a `bell` wakes all of a group, and the `bulletin` has what most
//! of them say, encoded once.

// Decisions: no I/O, no clock, no tasks.
pub mod succession;

mod registry;
mod visit;

// What the sessions are told, as bytes, and when.
mod bell;
mod bulletin;
mod known;

// The same without sockets, for tests of those who talk to a tracker.
#[doc(hidden)]
pub mod rehearsal;

// The chat: who writes its log.
pub mod chat;

// The one door to the terminal.
pub mod screen;

// The registry among its sessions.
mod hub;

// Whether this process is tracker.
pub mod office;

// One connection, whatever it is about.
mod session;

pub mod door;

// The whole.
pub mod run;

// A program of it.
pub mod cli;
