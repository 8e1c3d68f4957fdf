//! Moving content: manifests, then chunks, every one verified.
//!
//! [`Uploads`] answers the requests of others. [`Downloads`] is the handle on
//! what comes in: [`schedule`] decides which downloads run; each has one
//! coordinator, and one task an owner fetches.
//!
//! ```text
//! jobs → schedule                     which downloads run
//!     ↘ download → roster             which owner, and when again
//!               ↘ checklist           which file
//!               ↘ fetch → plan        which chunk
//!                      ↘ item → sink | writer | stream    where verified chunks go
//! serve → uploads                     who fetches, and how many may
//!      ↘ follow → fellows             who is told what is here, and of whom
//!      ↘ source → outlet → window     file, to the socket
//! ```

// Words and decisions, without I/O.
pub mod checklist;
pub mod depth;
pub mod job;
pub mod pace;
pub mod plan;
pub mod rate;
pub mod roster;
mod schedule;
pub mod stats;

// Serving.
mod link;
mod window;

mod outlet;

mod fellows;
mod uploads;

mod source;

mod follow;

mod serve;

// Fetching.
mod attempt;
mod environment;
mod note;
mod progress;

mod sink;
mod stream;
mod writer;

mod item;

mod swarm;

mod fetch;

mod download;

mod reader;

mod jobs;

pub use environment::{Answer, Environment, Network};
pub use fellows::Fellows;
pub use jobs::{Downloads, JobError, StartError};
pub use rate::Throttle;
pub use reader::Reader;
pub use serve::serve_downloads;
pub use uploads::Uploads;
