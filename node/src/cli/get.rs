//! Joins the network, fetches a file or a tree, and leaves.

use std::io;
use std::time::Duration;

use shoal_common::content::FileId;
use shoal_common::process::{Exit, raise_descriptor_limit};
use tokio::task::spawn_blocking;

use crate::app::node::{Node, Sharing};
use crate::cli::args::GetArgs;
use crate::cli::guest::{LAST_WORDS, clear_progress, join, unless_stopped};
use crate::cli::neighbors::with_neighbors;
use crate::config::Config;
use crate::control::serve::Service;
use crate::terminal::jobs;
use crate::terminal::news::{News, follow};
use crate::terminal::plain::complain;
use crate::terminal::printer::{Printer, complain as complain_now};
use crate::terminal::status;
use crate::terminal::text::escape;
use crate::terminal::verbs::{Trouble, chosen};
use crate::transfer::job::{JobInfo, JobState, Wanted, What};
use crate::volume::Volume;

/// Fetches it.
pub(super) async fn run(args: GetArgs) -> Exit {
    raise_descriptor_limit();
    let config = match with_neighbors(args.config(), args.network.neighbors.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            complain_now(&error);
            return Exit::Failed;
        }
    };
    let mut node = match Node::start(&config, Sharing::Nothing) {
        Ok(node) => node,
        Err(error) => {
            complain_now(&error.to_string());
            return Exit::Failed;
        }
    };
    let printer = Printer::new();
    let interrupted = "interrupted; what has come is kept for the next time";
    let outcome = unless_stopped(fetch(&mut node, &config, &args, &printer), interrupted).await;
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
            let whole = job.state == JobState::Done && job.failures.is_empty();
            if whole { Exit::Done } else { Exit::Failed }
        }
        Err(trouble) => {
            complain(&printer, &trouble).await;
            trouble.exit
        }
    };
    printer.finish(exit, LAST_WORDS).await
}

async fn fetch(
    node: &mut Node,
    config: &Config,
    args: &GetArgs,
    printer: &Printer,
) -> Result<JobInfo, Trouble> {
    join(node, config).await?;
    let tasks = node.tasks();
    let service = Service::new(node.app().clone(), tasks.cancelled().clone(), tasks.clone());
    let door = service.door();
    let wanted = chosen(&door, &args.choice.download(args.order)).await?;
    // This node shares nothing, so it does not know what the folder holds.
    let (volume, asked) = (node.volume().clone(), wanted.clone());
    if spawn_blocking(move || is_here(&volume, &asked)).await.unwrap_or(false) {
        return Err(Trouble::refused(format!(
            "you have this file: `{}`",
            escape(&args.choice.name)
        )));
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
