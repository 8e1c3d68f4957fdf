//! A node that joins the network for one purpose, shares nothing, and leaves.

use std::collections::BTreeMap;
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
    if config.tracker.is_none() && config.peers.is_empty() {
        let message = "there is neither a tracker nor a node to begin with; name one with --peer";
        return Err(failed(message.to_owned()));
    }
    let first = node.first_answer().filter(|_| config.tracker.is_some());
    let refusal = async {
        match first {
            Some(first) => first.await.ok().and_then(Result::err),
            None => std::future::pending().await,
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
            let tracker = escape(config.tracker.as_deref().unwrap_or_default());
            Err(failed(format!("the tracker at `{tracker}` refuses this node: {refusal}")))
        }
        Err(_) => Err(failed(nobody(config, &node.app().troubles()))),
    }
}

/// Why nobody took this node in: what came of each address. Those that said nothing
/// may do so still.
fn nobody(config: &Config, troubles: &BTreeMap<String, String>) -> String {
    let why = |what: &str, at: &String| match troubles.get(at) {
        Some(trouble) => escape(trouble),
        None => format!("the {what} at `{}` does not answer", escape(at)),
    };
    let tracker = config.tracker.iter().map(|at| why("tracker", at));
    let nodes = config.peers.iter().map(|at| why("node", at));
    let mut all: Vec<String> = tracker.chain(nodes).collect();
    let more = all.len().saturating_sub(MOST_NAMED);
    all.truncate(MOST_NAMED);
    if more > 0 {
        all.push(match more {
            1 => "nor does one other take this node in".to_owned(),
            _ => format!("nor do {more} others take this node in"),
        });
    }
    if config.peers.is_empty() {
        all.push("any node of the network lets this one in, too: name one with --peer".to_owned());
    }
    all.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_taken_in_is_told_what_came_of_each_address() {
        let config = |tracker: Option<&str>, peers: usize| Config {
            tracker: tracker.map(str::to_owned),
            peers: (0..peers).map(|number| format!("n{number}:1")).collect(),
            ..Config::default()
        };
        let other = "`n0:1` refuses to talk: another network".to_owned();
        let troubles = BTreeMap::from([("n0:1".to_owned(), other.clone())]);
        assert_eq!(nobody(&config(None, 1), &troubles), other);
        let two = nobody(&config(None, 2), &troubles);
        assert_eq!(two, format!("{other}; the node at `n1:1` does not answer"));
        let many = nobody(&config(Some("t:1"), 9), &troubles);
        assert!(many.ends_with("; nor do 6 others take this node in"), "{many}");
        let alone = nobody(&config(Some("t:1"), 0), &troubles);
        assert!(alone.starts_with("the tracker at `t:1` does not answer; any node"), "{alone}");
    }
}
