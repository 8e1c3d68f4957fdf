//! What is measured, a scenario a module; each can be run alone.

pub mod single;
