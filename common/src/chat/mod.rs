//! The chat's log and the rooms that it builds. Pure: no I/O, no clock.
//!
//! Both ends need them: the tracker that proposes entries and the replicas
//! that hold them.

pub mod words;

pub mod entry;

pub mod rooms;

pub mod log;
