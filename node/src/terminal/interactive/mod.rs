//! A terminal where a person sits: lines are edited, what happens appears
//! above the prompt, and the downloads under way are shown at the bottom.

pub mod area;
pub mod complete;
pub mod editor;
mod screen;

use std::sync::Arc;
use std::time::Duration;

use shoal_common::process::Exit;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::control::client::Door;
use crate::terminal::answer::Answer;
use crate::terminal::command::{Command, DownloadArgs, From, parse_line};
use crate::terminal::jobs;
use crate::terminal::news::{News, follow};
use crate::terminal::plain::complain;
use crate::terminal::printer::Printer;
use crate::terminal::render;
use crate::terminal::verbs::{Trouble, Wish, execute, wish};
use crate::terminal::{Ending, Leaving, Place};
use crate::transfer::job::{JobInfo, JobState, Wanted};
use complete::{Words, wants_search};
use editor::{Editor, Options, Prompt, Typed};
pub(crate) use screen::Screen;

/// How long the Tab key waits for a search: a little more than silent peers
/// are waited for. For everything together twice that.
const TAB_PATIENCE: Duration = Duration::from_millis(1200);

/// How long the last news of a node may take that does not answer any more.
const LAST_NEWS: Duration = Duration::from_secs(2);

/// How long results may wait for a person who stopped the terminal (Ctrl-S).
const FLUSH_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A terminal with its line editor, not at work yet.
#[derive(Debug)]
pub(super) struct Session {
    door: Door,
    place: Place,
    printer: Printer,
    editor: Editor,
}

/// Whether the person goes on typing.
enum After {
    Next,
    /// The node is leaving; what it still says is shown.
    NodeLeaves,
    /// The node does not answer; its last news tell whether it left.
    NodeGone,
    /// The person leaves.
    PersonLeaves,
}

impl Session {
    /// Takes the terminal over; `None` where it can't edit lines.
    pub(super) fn open(door: Door, place: Place, printer: Printer) -> Option<Self> {
        let options = Options {
            history: place.history.clone(),
            words: words_of(door.clone()),
            color: printer.look().color,
        };
        let editor = Editor::open(options)?;
        Some(Self { door, place, printer, editor })
    }

    /// Serves the person until one of them leaves.
    pub(super) async fn run(mut self, screen: Screen) -> Ending {
        let Ok(watch) = self.door.watch().await else {
            return Ending::NodeGone;
        };
        let above = self.editor.above();
        let look = self.printer.look();
        let news = follow(watch, |news| {
            let (above, screen) = (above.clone(), screen.clone());
            async move {
                match news {
                    News::Notice(line) => said(&above, line).await,
                    News::Over(job) => {
                        let well = job.state == JobState::Done && job.failures.is_empty();
                        for line in jobs::end(&job) {
                            let line = if well { look.good(&line) } else { look.bad(&line) };
                            said(&above, line).await;
                        }
                    }
                    News::Progress(jobs) => screen.show(jobs),
                }
            }
        });
        let printer = self.printer.clone();
        let talk = async {
            match self.prompts().await {
                // The news end when the node is gone.
                After::NodeLeaves => std::future::pending().await,
                After::NodeGone => {
                    sleep(LAST_NEWS).await;
                    Ending::NodeGone
                }
                After::Next | After::PersonLeaves => Ending::InOrder,
            }
        };
        tokio::select! {
            ending = news => ending,
            ending = talk => ending,
            () = screen.keep_up(&printer) => Ending::InOrder,
        }
    }

    async fn prompts(&mut self) -> After {
        loop {
            let name = match self.door.identity().await {
                Ok(identity) => identity.name.to_string(),
                Err(_) => return After::NodeGone,
            };
            let prompt = Prompt { text: format!("{name}> "), is_command: true };
            let after = match self.editor.ask(prompt).await {
                Typed::Line(line) => self.line(&line).await,
                Typed::Interrupt { had_text: true } => After::Next,
                Typed::Interrupt { had_text: false } | Typed::End => self.leave().await,
            };
            self.printer.flush(FLUSH_PATIENCE).await;
            if !matches!(after, After::Next) {
                return after;
            }
        }
    }

    async fn leave(&mut self) -> After {
        match self.place.leaving {
            Leaving::LeavesTheNode => After::PersonLeaves,
            Leaving::EndsTheNode => match self.door.exit().await {
                Ok(()) => After::NodeLeaves,
                Err(_) => After::PersonLeaves,
            },
        }
    }

    async fn line(&mut self, line: &str) -> After {
        match self.command(line).await {
            Ok(after) => after,
            Err(trouble) => {
                complain(&self.printer, &trouble).await;
                After::Next
            }
        }
    }

    async fn command(&mut self, line: &str) -> Result<After, Trouble> {
        let Some(command) = parse_line(line)? else {
            return Ok(After::Next);
        };
        let answer = match command {
            Command::Download(args) if args.from.is_none() => self.download(args).await?,
            command => execute(&self.door, command).await?,
        };
        self.printer.lines(render::lines_beside_news(&answer, self.printer.look())).await;
        Ok(if answer == Answer::Leaving { After::NodeLeaves } else { After::Next })
    }

    /// Lists the owners and asks for one until the choice can be met.
    async fn download(&mut self, args: DownloadArgs) -> Result<Answer, Trouble> {
        let offered = match wish(&self.door, &args).await? {
            Wish::Tree(wanted) => {
                return Ok(Answer::Started(self.door.download(wanted).await?));
            }
            Wish::File(offered) => offered,
        };
        self.printer.lines(render::offers(&offered.findings)).await;
        loop {
            self.printer.flush(FLUSH_PATIENCE).await;
            let text = "position (-1 cancels, -2 takes chunks from all): ".to_owned();
            let typed = match self.editor.ask(Prompt { text, is_command: false }).await {
                Typed::Line(line) if line.trim().is_empty() => continue,
                Typed::Line(line) => line,
                Typed::Interrupt { .. } | Typed::End => "-1".to_owned(),
            };
            let chosen = typed
                .parse::<From>()
                .map_err(|problem| Trouble::refused(super::text::escape(&problem)))
                .and_then(|from| {
                    let cancels = from == From::Nobody;
                    offered.choose(&from, args.id.as_deref()).map_err(|trouble| Trouble {
                        // Asked again, the list is still on the screen.
                        help: Vec::new(),
                        exit: if cancels { Exit::Interrupted } else { trouble.exit },
                        ..trouble
                    })
                });
            match chosen {
                Ok(wanted) => {
                    let wanted = Wanted { order: args.order, ..wanted };
                    return Ok(Answer::Started(self.door.download(wanted).await?));
                }
                Err(trouble) if trouble.exit == Exit::Interrupted => return Err(trouble),
                Err(trouble) => complain(&self.printer, &trouble).await,
            }
        }
    }
}

async fn said(above: &mpsc::Sender<String>, line: String) {
    above.send(line).await.ok();
}

/// Asks the node for what can be named. Called on the thread of the editor.
fn words_of(door: Door) -> editor::WordSource {
    let runtime = Handle::current();
    Arc::new(move |line| {
        let words = async {
            // The node remembers the names that a search brings.
            if let Some(beginning) = wants_search(line) {
                timeout(TAB_PATIENCE, door.search(&beginning)).await.ok();
            }
            let (names, peers, jobs) = tokio::join!(door.names(), door.peers(), door.jobs());
            let (over, under_way): (Vec<_>, Vec<_>) =
                jobs.unwrap_or_default().into_iter().partition(|job| job.state.is_over());
            let numbers = |jobs: Vec<JobInfo>| jobs.iter().map(|job| job.job.to_string()).collect();
            Words {
                names: names.unwrap_or_default(),
                nodes: peers.unwrap_or_default().iter().map(|peer| peer.name.to_string()).collect(),
                jobs: numbers(under_way),
                over: numbers(over),
            }
        };
        runtime.block_on(async { timeout(2 * TAB_PATIENCE, words).await }).unwrap_or_default()
    })
}
