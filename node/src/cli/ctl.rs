//! One command for the running node of a folder.

use std::path::Path;
use std::time::Duration;

use shoal_common::process::{Exit, StopSignals};

use crate::chat::verbs::Told;
use crate::cli::args::CtlArgs;
use crate::control::client::{ControlError, Door};
use crate::terminal::answer::Answer;
use crate::terminal::command::{Command, is_spoken, parse_words};
use crate::terminal::jobs;
use crate::terminal::json;
use crate::terminal::news::{News, follow};
use crate::terminal::plain::complain;
use crate::terminal::printer::Printer;
use crate::terminal::render;
use crate::terminal::verbs::{Trouble, execute};
use crate::transfer::job::{JobInfo, JobState};

/// How long a reader of our output may take for the last of it. A pager may be
/// open for hours.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Gives the command, prints the answer.
pub(super) async fn run(files: &Path, args: CtlArgs) -> Exit {
    let printer = Printer::new();
    let (words, json) = without_json(args);
    let door = Door::of(files);
    let exit = match answer(&door, words, &printer).await {
        Ok(answer) => {
            if json {
                let value = json::stamped(json::value(&answer), door.time());
                printer.line(value.to_string()).await;
                if let Answer::Found(findings) = &answer
                    && let Some(line) = render::silent(findings)
                {
                    printer.note(line).await;
                }
            } else {
                printer.lines(render::lines(&answer, printer.look())).await;
            }
            exit_of(&answer)
        }
        Err(trouble) => {
            if json {
                let value = json::stamped(json::error(&trouble.message), door.time());
                printer.line(value.to_string()).await;
            }
            complain(&printer, &trouble).await;
            trouble.exit
        }
    };
    printer.finish(exit, PATIENCE).await
}

/// `--json` may also come behind the command, where people add it; but what is said is
/// said as it is.
fn without_json(args: CtlArgs) -> (Vec<String>, bool) {
    let mut json = args.json;
    let mut verbatim = args.words.first().is_some_and(|verb| is_spoken(verb));
    let keep = |word: &String| {
        verbatim |= word == "--";
        let is_json = !verbatim && word == "--json";
        json |= is_json;
        !is_json
    };
    let words = args.words.into_iter().filter(keep).collect();
    (words, json)
}

async fn answer(door: &Door, words: Vec<String>, printer: &Printer) -> Result<Answer, Trouble> {
    match parse_words(words)? {
        Command::Exit => exit(door, printer).await,
        command => {
            let detach = match &command {
                Command::Download(args) => args.detach,
                Command::Retry { detach, .. } => *detach,
                _ => false,
            };
            match execute(door, command).await? {
                Answer::Started(job) if !detach => Ok(Answer::Over(end_of(door, &job).await?)),
                answer => Ok(answer),
            }
        }
    }
}

/// Waits for the end of a download. An interruption leaves it running: it
/// belongs to the node.
async fn end_of(door: &Door, job: &JobInfo) -> Result<JobInfo, Trouble> {
    let mut signals = StopSignals::listen().map_err(|error| Trouble {
        exit: Exit::Failed,
        message: format!("cannot listen to signals: {error}"),
        help: Vec::new(),
    })?;
    tokio::select! {
        over = door.wait(job.job) => Ok(over?),
        _ = signals.next() => Err(Trouble {
            exit: Exit::Interrupted,
            message: format!(
                "the download goes on in the node; `ctl cancel {job}` ends it, `ctl jobs` shows it",
                job = job.job
            ),
            help: Vec::new(),
        }),
    }
}

/// Asks the node to leave, and shows what it waits for until it is gone.
async fn exit(door: &Door, printer: &Printer) -> Result<Answer, Trouble> {
    let watched = door.watch().await?;
    let news = follow(watched, |news| {
        let printer = printer.clone();
        async move {
            match news {
                News::Notice(line) => printer.note(line).await,
                News::Over(job) => printer.note(jobs::end(&job).join("\n")).await,
                News::Progress(_) => {}
            }
        }
    });
    match door.exit().await {
        // Already on its way.
        Ok(()) | Err(ControlError::Gone) => {}
        Err(error) => return Err(error.into()),
    }
    news.await;
    Ok(Answer::Left)
}

fn exit_of(answer: &Answer) -> Exit {
    match answer {
        Answer::Over(job) => match job.state {
            JobState::Failed => Exit::Failed,
            JobState::Done if !job.failures.is_empty() => Exit::Failed,
            JobState::Cancelled => Exit::Refused,
            _ => Exit::Done,
        },
        // It may be accepted later; a program has to know that it is not yet.
        Answer::Chat(Told::NotYet { .. }) => Exit::Failed,
        _ => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_may_stand_behind_the_command() {
        let split = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            without_json(CtlArgs { json: false, words })
        };
        assert_eq!(split(&["peers", "--json"]), (vec!["peers".to_owned()], true));
        assert_eq!(split(&["peers"]), (vec!["peers".to_owned()], false));
        let (words, json) = split(&["download", "--", "--json"]);
        assert_eq!((words.len(), json), (3, false));
        for spoken in [&["say", "use", "--json", "please"][..], &["Topic", "--json"]] {
            let (words, json) = split(spoken);
            assert_eq!((words.len(), json), (spoken.len(), false), "{spoken:?}");
        }
    }
}
