//! A node as a program: started, attended, stopped.

use std::io;
use std::path::PathBuf;

use shoal_common::process::{Exit, StopSignals, raise_descriptor_limit};
use shoal_common::protocol::refusal::Refusal;
use tokio::sync::watch;
use tracing::{info, info_span, warn};

use crate::app::App;
use crate::app::node::{Node, Sharing, StartError};
use crate::config::Config;
use crate::control;
use crate::control::socket::ControlSocket;
use crate::terminal;

/// Why a node can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The node can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refuses handlers for signals.
    #[error("cannot take over the signals that stop a program: {0}")]
    Signals(io::Error),
    /// A name was insisted on, and another node has it.
    #[error("another node of the network is named `{0}`: choose another with `--name`, or leave it away to get a free one")]
    NameTaken(String),
}

/// Runs a node until it is asked to leave: by `exit`, by a signal, or because
/// it can't have the name that was insisted on.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config) -> Result<Exit, RunError> {
    let descriptors = raise_descriptor_limit();
    let mut signals = StopSignals::listen().map_err(RunError::Signals)?;
    let mut node = Node::start(&config, Sharing::Folder)?;
    let app = node.app().clone();
    info!(id = %app.identity().id, files = %config.files.display(), descriptors, "node starts");
    open_control(&node, &config.files);
    node.resume();

    let mut exits = app.exit_requests();
    let door = control::serve::open_here(app.clone(), node.tasks());
    let attendance = terminal::attend(door, config.files.clone());
    let attending = node.tasks().spawn(info_span!("terminal"), attendance);

    let outcome = tokio::select! {
        taken = name_taken(&mut node), if config.name.is_some() => Err(taken),
        _ = exits.changed() => Ok(Exit::Done),
        signal = signals.next() => {
            info!("{signal}");
            Ok(Exit::Done)
        }
    };
    announce(&app, &config);
    node.stop(config.grace, hurry(&mut signals, &mut exits)).await;
    // The terminal is put in order again before the program ends.
    attending.await.ok();
    outcome.map_err(|()| RunError::NameTaken(app.identity().name.to_string()))
}

/// Without the socket a node still does its work; only `ctl` and `attach` can't
/// reach it (a file system that has no sockets, say).
fn open_control(node: &Node, files: &PathBuf) {
    match ControlSocket::bind(files) {
        Ok(socket) => {
            let serving = control::serve::serve(socket, node.app().clone(), node.tasks().clone());
            node.tasks().spawn(info_span!("control socket"), serving);
        }
        Err(error) => warn!("`ctl` and `attach` can't reach this node: {error}"),
    }
}

/// Ends when the tracker has said that another node has our name.
async fn name_taken(node: &mut Node) {
    if let Some(answer) = node.first_answer()
        && answer.await == Ok(Err(Refusal::NameTaken))
    {
        return;
    }
    std::future::pending().await
}

/// Says what is waited for.
fn announce(app: &App, config: &Config) {
    let downloads = app.jobs().into_iter().filter(|job| !job.state.is_over());
    let downloads = downloads.map(|job| format!("download of `{}`", job.name));
    let uploads = app.uploads().into_iter().map(|up| format!("upload of `{}` to {}", up.name, up.to));
    let waited: Vec<_> = downloads.chain(uploads).collect();
    if !waited.is_empty() {
        app.say(format_args!(
            "waiting up to {} s for: {}; `exit` or Ctrl-C again leaves at once",
            config.grace.as_secs(),
            waited.join(", ")
        ));
    }
}

/// Asked to leave a second time.
async fn hurry(signals: &mut StopSignals, exits: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = signals.next() => {}
        _ = exits.changed() => {}
    }
}
