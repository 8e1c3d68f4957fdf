//! What a person sees and types.
//!
//! A line becomes a [`command`], a command becomes requests to a node
//! ([`verbs`]) and an [`answer`], an answer becomes text ([`render`]) or JSON
//! ([`json`]). [`plain`] reads lines from a file or a pipe; [`interactive`]
//! edits them on a terminal, with what happens above the prompt and the
//! [`status`] of downloads below it.

pub mod text;
pub mod words;

pub mod command;
pub mod printer;

pub mod answer;
pub mod chat;
pub mod choose;
pub mod jobs;

pub mod json;
pub mod office;
pub mod render;

pub mod news;
pub mod status;
pub mod verbs;

pub mod plain;

pub mod interactive;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use shoal_common::task::Tasks;
use tokio::sync::oneshot;
use tracing::info_span;

use crate::control::client::Door;
use crate::volume::Volume;
use interactive::{Screen, Session};
use printer::Printer;

/// What it means to leave a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// The node ends with its own terminal.
    EndsTheNode,
    /// The node goes on.
    LeavesTheNode,
}

/// Where a terminal stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where what was typed is kept.
    pub history: PathBuf,
    /// What it means to leave it.
    pub leaving: Leaving,
}

impl Place {
    /// The terminal of the node that shares `files`.
    pub fn new(files: &Path, leaving: Leaving) -> Self {
        Self { history: Volume::state_path(files).join("history"), leaving }
    }
}

/// How a terminal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The person left, or the node ended in order.
    InOrder,
    /// The node is gone without a word: killed, or out of reach.
    NodeGone,
}

/// A terminal at work. Dropped, it gives the screen back as it was.
#[derive(Debug)]
pub struct Terminal {
    ended: oneshot::Receiver<Ending>,
    _screen: Option<Screen>,
}

impl Terminal {
    /// Waits until the person leaves it or the node is gone.
    pub async fn ended(&mut self) -> Ending {
        // Without an answer its task was stopped, by this very process.
        (&mut self.ended).await.unwrap_or(Ending::InOrder)
    }
}

/// Opens a terminal on a node: with line editing where a person sits, else
/// plain.
pub fn start(door: Door, place: Place, printer: Printer, tasks: &Tasks) -> Terminal {
    let (end, ended) = oneshot::channel();
    let span = info_span!("terminal");
    let leaving = place.leaving;
    let person = is_for_people()
        .then(|| (Screen::take(), Session::open(door.clone(), place, printer.clone())));
    let screen = match person {
        Some((screen, Some(session))) => {
            let shown = screen.clone();
            tasks.spawn(span, async move {
                end.send(session.run(shown).await).ok();
            });
            Some(screen)
        }
        _ => {
            tasks.spawn(span, async move {
                end.send(plain::run(door, printer, leaving).await).ok();
            });
            None
        }
    };
    Terminal { ended, _screen: screen }
}

/// Whether a person sits at a terminal that can move its cursor.
fn is_for_people() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}
