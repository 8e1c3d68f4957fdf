//! A node with its terminal, and a terminal on a node elsewhere.

use std::path::Path;
use std::time::Duration;

use shoal_common::logs;
use shoal_common::process::{Exit, StopSignals, raise_descriptor_limit};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::task::Tasks;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::info;

use crate::app::App;
use crate::app::node::{Node, Sharing};
use crate::cli::args::NodeArgs;
use crate::cli::neighbors::with_neighbors;
use crate::config::Config;
use crate::control::client::Door;
use crate::control::serve::Service;
use crate::control::socket::ControlSocket;
use crate::terminal::printer::{Printer, complain};
use crate::terminal::text::{self, escape};
use crate::terminal::{self, Ending, Place};

/// How long the last words may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a node until it is told to leave.
pub(super) async fn run(args: NodeArgs) -> Exit {
    raise_descriptor_limit();
    let config = args.config();
    let clock = config.clock.clone();
    let _logs = match logs::start(&args.logs, "shoal-node", args.log_format, clock) {
        Ok(guard) => guard,
        Err(error) => return failed(&error),
    };
    let config = match with_neighbors(config, args.network.neighbors.as_deref()) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    let signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("cannot listen to signals: {error}")),
    };
    let node = match Node::start(&config, Sharing::Folder) {
        Ok(node) => node,
        Err(error) => return failed(&error),
    };
    node.resume();
    live(node, &config, signals).await
}

/// Without the socket a node still does its work; only `ctl` and `attach` can't
/// reach it (on a file system that has no sockets, say).
fn open_control(service: &Service, app: &App, files: &Path) {
    match ControlSocket::bind(files) {
        Ok(socket) => service.serve(socket),
        Err(error) => app.say(format_args!("`ctl` can't reach this node: {error}")),
    }
}

fn failed(error: &impl ToString) -> Exit {
    complain(&error.to_string());
    Exit::Failed
}

/// The life of a node with its terminal.
async fn live(mut node: Node, config: &Config, mut signals: StopSignals) -> Exit {
    let app = node.app().clone();
    let printer = Printer::new();
    // Their own group: terminals show what happens while the node ends.
    let shown = Tasks::new(Handle::current());
    let gone = node.tasks().cancelled().clone();
    let service = Service::new(app.clone(), gone, shown.clone());
    open_control(&service, &app, &config.files);
    let place = Place::new(&config.files, terminal::Leaving::EndsTheNode);
    let mut screen = terminal::start(service.door(), place, printer.clone(), &shown);

    let mut asked = app.exit_requests();
    let first = node.first_answer();
    let refused = tokio::select! {
        refusal = refused(first) => Some(refusal),
        name = signals.next() => {
            info!("{name}");
            None
        }
        _ = asked.changed() => None,
    };
    if refused.is_none() {
        say_what_is_waited_for(&app, config.grace);
    }
    let hurry = async {
        tokio::select! {
            _ = signals.next() => {}
            _ = asked.changed() => {}
        }
    };
    let grace = if refused.is_some() { Duration::ZERO } else { config.grace };
    node.stop(grace, hurry).await;
    timeout(LAST_WORDS, screen.ended()).await.ok();
    shown.stop(LAST_WORDS).await.ok();
    // Room for what gives the screen back.
    printer.flush(LAST_WORDS).await;
    drop(screen);
    let exit = match refused {
        Some(refusal) => {
            timeout(LAST_WORDS, printer.note(why_refused(config, refusal))).await.ok();
            Exit::Refused
        }
        None => Exit::Done,
    };
    printer.flush(LAST_WORDS).await;
    exit
}

/// The refusal that can't pass: somebody else has the name that was insisted
/// on. Never ends if there is none; any other is told and tried again.
async fn refused(first: Option<crate::membership::FirstAnswer>) -> Refusal {
    if let Some(first) = first
        && let Ok(Err(refusal @ Refusal::NameTaken)) = first.await
    {
        return refusal;
    }
    std::future::pending().await
}

fn why_refused(config: &Config, refusal: Refusal) -> String {
    match (&config.name, refusal) {
        (Some(name), Refusal::NameTaken) => format!(
            "a node with the name `{name}` is in the network already; \
             choose another with --name, or leave --name out; one that was killed is forgotten \
             within two heartbeat intervals of the tracker (20 s, unless it was told otherwise)"
        ),
        _ => {
            let tracker = escape(config.tracker.as_deref().unwrap_or_default());
            format!("the tracker at `{tracker}` refuses this node: {refusal}")
        }
    }
}

/// Says what is still under way when the node is about to leave.
fn say_what_is_waited_for(app: &App, grace: Duration) {
    // One that waits for an owner may wait for ever.
    let running = app.jobs().into_iter().filter(|job| job.state.is_moving());
    let downloads = running.map(|job| format!("the download of `{}`", job.name));
    let uploads = app.uploads().into_iter();
    let uploads = uploads.map(|upload| format!("the upload of `{}` to {}", upload.name, upload.to));
    let waited: Vec<String> = downloads.chain(uploads).collect();
    if waited.is_empty() || grace.is_zero() {
        return;
    }
    let up_to =
        text::count(usize::try_from(grace.as_secs()).unwrap_or(usize::MAX), "second", "seconds");
    app.say(format_args!(
        "leaving; waiting up to {up_to} for {} (Ctrl-C leaves at once)",
        waited.join(", ")
    ));
}

/// A terminal on the running node of a folder.
pub(super) async fn attach(files: &Path) -> Exit {
    let door = Door::of(files);
    let identity = match door.identity().await {
        Ok(identity) => identity,
        Err(error) => return failed(&error),
    };
    let Ok(mut signals) = StopSignals::listen() else {
        return failed(&"cannot listen to signals");
    };
    let printer = Printer::new();
    printer
        .note(format!("on node `{}`; `help` helps, Ctrl-D leaves it running", identity.name))
        .await;
    // The prompt must not come before it.
    printer.flush(LAST_WORDS).await;
    let shown = Tasks::new(Handle::current());
    let place = Place::new(files, terminal::Leaving::LeavesTheNode);
    let mut screen = terminal::start(door, place, printer.clone(), &shown);
    let exit = tokio::select! {
        ending = screen.ended() => match ending {
            Ending::InOrder => Exit::Done,
            Ending::NodeGone => Exit::Failed,
        },
        _ = signals.next() => Exit::Interrupted,
    };
    shown.stop(LAST_WORDS).await.ok();
    // Room for what gives the screen back.
    printer.flush(LAST_WORDS).await;
    drop(screen);
    if exit == Exit::Failed {
        printer.note("the node is gone").await;
    }
    printer.finish(exit, LAST_WORDS).await
}
