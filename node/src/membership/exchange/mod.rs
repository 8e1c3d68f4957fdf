//! Membership without a tracker: nodes that tell each other of others.
//!
//! `table` is what is known, `pace` decides whom to call and when, and `machine` is
//! both; none of them does I/O. `ask` and `answer` are the two ends of a
//! conversation, `run` makes the calls when they are due.

mod digests;
mod entry;
pub mod neighbors;
mod table;

mod pace;

mod machine;

mod handle;

mod answer;
mod ask;

mod run;

pub use answer::answer;
pub use ask::AskError;
pub use handle::{Acquaintance, Exchange, Standing};
pub use run::start;

#[cfg(test)]
mod sim;
