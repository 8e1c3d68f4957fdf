//! What is measured, a scenario a module; each can be run alone.

pub mod chat;
pub mod faults;
pub mod index;
pub mod limits;
pub mod memory;
pub mod search;
pub mod single;
pub mod small;
pub mod spread;
pub mod start;
pub mod tracker;
