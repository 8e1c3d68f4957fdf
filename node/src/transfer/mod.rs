//! Moving content: a manifest, then chunks, every one verified.
//!
//! [`Uploads`] answers the requests of others from mapped files. [`Downloads`]
//! is the handle on what comes in: one coordinator a download decides, with
//! [`plan`] (which owner for which chunk) and [`roster`] (which owners at
//! all), and one task an owner fetches.
//!
//! ```text
//! jobs → download → roster            which owner, and when again
//!              ↘ fetch → plan         which chunk
//!                     ↘ sink          verified chunks, to the disk
//! serve → uploads                     who fetches, and how many may
//!      ↘ follow → fellows             who is told what is here, and of whom
//!      ↘ source → outlet → window     file, to the socket
//! ```

// Words and decisions, without I/O.
pub mod job;
pub mod pace;
pub mod plan;
pub mod rate;
pub mod roster;

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
mod environment;
mod note;
mod sink;

mod fetch;
mod progress;

mod download;

mod jobs;

pub use environment::{Environment, Seek};
pub use fellows::Fellows;
pub use jobs::{CancelError, Downloads, StartError};
pub use serve::serve_downloads;
pub use uploads::Uploads;
