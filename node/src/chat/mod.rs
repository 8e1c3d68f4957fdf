//! The chat at a node: what it says, what it hears, and its copy of the log.
//!
//! Pure are [`replica`] (the copy), [`member`] (what waits and what was heard)
//! and [`line`] (how it reads). `disk` and `transcript` remember; `client`
//! follows the tracker with one `session` after the other; the [`Chat`] handle
//! has the [`verbs`].

pub mod when;

pub mod line;
pub mod member;
pub mod replica;

mod journal;

mod disk;
mod transcript;

pub mod verbs;

mod handle;

mod client;
mod session;

pub use client::Setting;
pub use handle::Chat;
pub use transcript::harmless;

use std::io;

use shoal_common::task::Tasks;
use tokio::sync::mpsc;
use tracing::info_span;

use client::Client;

/// Commands that may wait for the task.
const BACKLOG: usize = 64;

/// Starts the chat of a node. Its task writes to the disk: `tasks` run where that
/// holds up nothing.
///
/// # Errors
/// What it remembers can't be read or written.
pub fn start(setting: Setting, tasks: &Tasks) -> io::Result<Chat> {
    let (to_task, commands) = mpsc::channel(BACKLOG);
    let membership = setting.membership.clone();
    let (client, present) = Client::open(setting, commands)?;
    tasks.spawn(info_span!("chat"), client.run());
    Ok(Chat::new(to_task, membership, present))
}
