//! Joins the network, prints a file while it arrives, and leaves.

use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_common::process::{Exit, raise_descriptor_limit};
use tokio::sync::broadcast::error::RecvError;

use crate::app::node::{Node, Sharing};
use crate::cli::args::CatArgs;
use crate::cli::guest::{LAST_WORDS, failed, join, unless_stopped};
use crate::cli::neighbors::with_neighbors;
use crate::config::Config;
use crate::control::serve::Service;
use crate::terminal::choose::{Named, named};
use crate::terminal::plain::complain;
use crate::terminal::printer::{Printer, Written};
use crate::terminal::text::escape;
use crate::terminal::verbs::{Trouble, chosen};
use crate::transfer::job::{Order, Wanted, What};

/// Prints the file.
pub(super) async fn run(args: CatArgs) -> Exit {
    raise_descriptor_limit();
    let printer = Printer::new();
    let exit = match print(&args, &printer).await {
        Ok(()) => Exit::Done,
        Err(trouble) => {
            complain(&printer, &trouble).await;
            trouble.exit
        }
    };
    printer.finish(exit, LAST_WORDS).await
}

async fn print(args: &CatArgs, printer: &Printer) -> Result<(), Trouble> {
    if io::stdout().is_terminal() && !args.force {
        return Err(Trouble {
            exit: Exit::Usage,
            message:
                "standard output is a terminal; send it to a file or a program, or add --force"
                    .to_owned(),
            help: Vec::new(),
        });
    }
    if named(&args.choice.name) == Named::Folder {
        return Err(Trouble::refused("a folder can't be printed; `get` fetches it"));
    }
    let folder = Scratch::new()
        .map_err(|error| failed(format!("cannot make a folder for this time: {error}")))?;
    let config = args.config(folder.0.clone());
    let config = with_neighbors(config, args.network.neighbors.as_deref()).map_err(failed)?;
    let mut node =
        Node::start(&config, Sharing::Nothing).map_err(|error| failed(error.to_string()))?;
    let printed = unless_stopped(copy(&mut node, &config, args, printer), "interrupted").await;
    node.stop(Duration::ZERO, std::future::pending()).await;
    printed
}

async fn copy(
    node: &mut Node,
    config: &Config,
    args: &CatArgs,
    printer: &Printer,
) -> Result<(), Trouble> {
    join(node, config).await?;
    let tasks = node.tasks();
    let service = Service::new(node.app().clone(), tasks.cancelled().clone(), tasks.clone());
    let door = service.door();
    let wanted = chosen(&door, &args.choice.download(Order::Sequential)).await?;
    if let What::Tree(glob) = &wanted.what {
        let glob = escape(glob);
        return Err(Trouble::refused(format!("nobody has a file that is called `{glob}`")));
    }
    let mut notices = node.app().notices();
    // That it has joined goes without saying.
    while notices.try_recv().is_ok() {}
    let tell = async {
        loop {
            match notices.recv().await {
                Ok(line) => printer.note(escape(&line)).await,
                Err(RecvError::Lagged(_)) => {}
                // Nothing more to tell.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        done = pour(node, wanted, printer) => done,
        () = tell => Ok(()),
    }
}

/// From the owners to standard output, until one of them ends.
async fn pour(node: &Node, wanted: Wanted, printer: &Printer) -> Result<(), Trouble> {
    let title = escape(wanted.title());
    let mut reader = node.app().read(wanted);
    loop {
        let read = reader.next().await;
        let Some(bytes) = read.map_err(|reason| failed(format!("`{title}`: {reason}")))? else {
            return Ok(());
        };
        match printer.bytes(bytes).await {
            Ok(Written::All) => {}
            // It has what it wanted, as `head` does.
            Ok(Written::ReaderGone) => return Ok(()),
            Err(error) => {
                return Err(failed(format!("cannot write to standard output: {error}")));
            }
        }
    }
}

/// A folder for the node, which is of no use afterwards.
struct Scratch(PathBuf);

impl Scratch {
    /// Somewhere in the folder for such things, or here where there is none, as
    /// in a container with nothing but the program.
    fn new() -> io::Result<Self> {
        let name = format!("shoal-cat-{:016x}", rand::random::<u64>());
        let make = |folder: &Path| {
            let path = folder.join(&name);
            // Not through a link that somebody laid there.
            DirBuilder::new().mode(0o700).create(&path).map(|()| Self(path))
        };
        make(&std::env::temp_dir()).or_else(|_| make(Path::new(".")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_it() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.0.clone();
        fs::create_dir(path.join(".shoal")).unwrap();
        fs::write(path.join(".shoal/x"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
