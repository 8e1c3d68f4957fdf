//! Joins the network, fetches one file, and leaves.

use std::io;
use std::time::Duration;

use shoal_common::content::FileId;
use shoal_common::process::{Exit, StopSignals, raise_descriptor_limit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::app::node::{Node, Sharing};
use crate::cli::args::GetArgs;
use crate::config::Config;
use crate::control::serve::Service;
use crate::terminal::jobs;
use crate::terminal::news::{News, follow};
use crate::terminal::plain::complain;
use crate::terminal::printer::{Printer, complain as complain_now};
use crate::terminal::status;
use crate::terminal::text::escape;
use crate::terminal::verbs::{Offered, Trouble};
use crate::transfer::job::{JobInfo, JobState, Wanted, What};
use crate::volume::Volume;

/// How long the tracker may take to take this node in.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last words may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Fetches the file.
pub(super) async fn run(args: GetArgs) -> Exit {
    raise_descriptor_limit();
    let config = Config { files: args.output.clone(), ..args.network.config() };
    let mut node = match Node::start(&config, Sharing::Nothing) {
        Ok(node) => node,
        Err(error) => {
            complain_now(&error.to_string());
            return Exit::Failed;
        }
    };
    let printer = Printer::new();
    let outcome = match StopSignals::listen() {
        Ok(mut signals) => tokio::select! {
            outcome = fetch(&mut node, &args, &printer) => outcome,
            _ = signals.next() => Err(Trouble {
                exit: Exit::Interrupted,
                message: "interrupted; what has come is kept for the next time".to_owned(),
                help: Vec::new(),
            }),
        },
        Err(error) => Err(Trouble::refused(format!("cannot listen to signals: {error}"))),
    };
    clear_progress(&printer).await;
    // Held until the end, so that nobody else begins to use the folder before
    // it is in order.
    let volume = node.volume().clone();
    node.stop(Duration::ZERO, std::future::pending()).await;
    if let Err(error) = volume.forget() {
        printer.note(format!("cannot tidy up `.shoal`: {error}")).await;
    }
    drop(volume);
    let exit = match outcome {
        Ok(job) => {
            printer.line(jobs::outcome(&job)).await;
            printer.lines(jobs::failures(&job)).await;
            if job.state == JobState::Done { Exit::Done } else { Exit::Failed }
        }
        Err(trouble) => {
            complain(&printer, &trouble).await;
            trouble.exit
        }
    };
    printer.finish(exit, LAST_WORDS).await
}

async fn fetch(node: &mut Node, args: &GetArgs, printer: &Printer) -> Result<JobInfo, Trouble> {
    join(node, args).await?;
    let tasks = node.tasks();
    let service = Service::new(node.app().clone(), tasks.cancelled().clone(), tasks.clone());
    let door = service.door();
    let offered = Offered::of(&door, &args.name).await?;
    let id = args.id.as_deref().map(str::to_lowercase);
    let wanted = offered.choose(&args.from, id.as_deref())?;
    // This node shares nothing, so it does not know what the folder holds.
    let (volume, asked) = (node.volume().clone(), wanted.clone());
    if spawn_blocking(move || is_here(&volume, &asked)).await.unwrap_or(false) {
        return Err(Trouble::refused(format!("you have this file: `{}`", escape(&args.name))));
    }
    let watch = door.watch().await?;
    let job = door.download(wanted).await?;
    let progress = follow(watch, |news| show(printer.clone(), news));
    let over = door.wait(job.job);
    tokio::select! {
        over = over => Ok(over?),
        _ = progress => Err(Trouble::refused("the node ended")),
    }
}

/// Whether the folder has this very content under this name. What can't be read
/// is not it.
fn is_here(volume: &Volume, wanted: &Wanted) -> bool {
    let What::File(wanted) = &wanted.what else { return false };
    let read = || {
        let file = volume.open_shared(&wanted.name)?;
        if file.metadata()?.len() != wanted.size {
            return Ok(false);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok::<_, io::Error>(FileId::from_bytes(*hasher.finalize().as_bytes()) == wanted.file)
    };
    read().unwrap_or(false)
}

async fn join(node: &mut Node, args: &GetArgs) -> Result<(), Trouble> {
    let failed = |message: String| Trouble { exit: Exit::Failed, message, help: Vec::new() };
    let tracker = escape(&args.network.tracker);
    let first = node.first_answer();
    let refusal = async {
        match first {
            Some(first) => first.await.ok().and_then(Result::err),
            None => None,
        }
    };
    match timeout(JOIN_PATIENCE, refusal).await {
        Ok(None) => Ok(()),
        Ok(Some(refusal)) => {
            Err(failed(format!("the tracker at `{tracker}` refuses this node: {refusal}")))
        }
        Err(_) => Err(failed(format!("the tracker at `{tracker}` does not answer"))),
    }
}

/// On a terminal: one line that is written over and over.
async fn show(printer: Printer, news: News) {
    let look = printer.look_err();
    match news {
        News::Progress(jobs) if look.width.is_some() => {
            if let Some(job) = jobs.iter().find(|job| !job.state.is_over()) {
                printer.raw_err(format!("\r\x1b[K{}", status::line(job, look))).await;
            }
        }
        News::Notice(line) => {
            clear_progress(&printer).await;
            printer.note(line).await;
        }
        _ => {}
    }
}

async fn clear_progress(printer: &Printer) {
    if printer.look_err().width.is_some() {
        printer.raw_err("\r\x1b[K".to_owned()).await;
    }
}
