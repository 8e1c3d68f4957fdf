//! Measures Shoal beside a bare reference program and others of its kind.
//!
//! `shoal-bench` starts everything as real processes on addresses of this
//! machine, lets contestants take turns, and writes what it saw to
//! `docs/benchmarks.md`, with plots that it draws itself. `bare` is the
//! reference: what a verified download costs when a program does nothing else.
//!
//! Modules in layers; each imports only from those above it.

pub mod failure;
pub mod say;
pub mod size;

pub mod bare;

pub mod document;
pub mod figures;
pub mod machine;
pub mod plot;
pub mod report;
pub mod results;

pub mod place;
pub mod process;
pub mod setting;

pub mod crowd;
pub mod link;
pub mod network;
pub mod pieces;
pub mod watch;

pub mod contestants;
pub mod race;

pub mod scenarios;
