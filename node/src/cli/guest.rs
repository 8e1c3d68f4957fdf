//! A node that joins the network for one purpose, shares nothing, and leaves.

use std::time::Duration;

use shoal_common::process::{Exit, StopSignals};
use tokio::time::timeout;

use crate::app::node::Node;
use crate::config::Config;
use crate::terminal::printer::Printer;
use crate::terminal::text::escape;
use crate::terminal::verbs::Trouble;

/// How long the tracker, or the nodes to begin with, may take to take this node in.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long the last words may take to be written.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Something went wrong that is nobody's refusal.
pub(super) fn failed(message: String) -> Trouble {
    Trouble { exit: Exit::Failed, message, help: Vec::new() }
}

/// Waits until the node is in a network: of its tracker, or of any node that it is
/// to begin with.
pub(super) async fn join(node: &mut Node, config: &Config) -> Result<(), Trouble> {
    let Some(tracker) = &config.tracker else {
        return meet(node, config).await;
    };
    let tracker = escape(tracker);
    let first = node.first_answer();
    let refusal = async {
        match first {
            Some(first) => first.await.ok().and_then(Result::err),
            None => None,
        }
    };
    let met = async {
        if config.peers.is_empty() {
            std::future::pending::<()>().await;
        }
        node.app().joined().await;
    };
    let joined = async {
        tokio::select! {
            refusal = refusal => refusal,
            () = met => None,
        }
    };
    match timeout(JOIN_PATIENCE, joined).await {
        Ok(None) => Ok(()),
        Ok(Some(refusal)) => {
            Err(failed(format!("the tracker at `{tracker}` refuses this node: {refusal}")))
        }
        Err(_) => Err(failed(format!("the tracker at `{tracker}` does not answer"))),
    }
}

async fn meet(node: &Node, config: &Config) -> Result<(), Trouble> {
    if timeout(JOIN_PATIENCE, node.app().joined()).await.is_ok() {
        return Ok(());
    }
    let tried = config.peers.iter().take(MOST_NAMED).map(|at| format!("`{}`", escape(at)));
    let tried = tried.collect::<Vec<_>>().join(", ");
    Err(failed(match config.peers.len() {
        0 => "there is neither a tracker nor a node to begin with; name one with --peer".to_owned(),
        1 => format!("the node at {tried} does not answer"),
        2..=MOST_NAMED => format!("none of the nodes at {tried} answers"),
        all => format!("none of {all} nodes answers: {tried} and others"),
    }))
}

/// Most addresses that are named where nobody answers.
const MOST_NAMED: usize = 4;

/// Does it, unless a signal comes before; then `interrupted` is said.
pub(super) async fn unless_stopped<T>(
    doing: impl Future<Output = Result<T, Trouble>>,
    interrupted: &str,
) -> Result<T, Trouble> {
    match StopSignals::listen() {
        Ok(mut signals) => tokio::select! {
            outcome = doing => outcome,
            _ = signals.next() => Err(Trouble {
                exit: Exit::Interrupted,
                message: interrupted.to_owned(),
                help: Vec::new(),
            }),
        },
        Err(error) => Err(failed(format!("cannot listen to signals: {error}"))),
    }
}

/// Takes the line of progress away, where there is one.
pub(super) async fn clear_progress(printer: &Printer) {
    if printer.look_err().width.is_some() {
        printer.raw_err("\r\x1b[K".to_owned()).await;
    }
}
