//! Commands line by line, plain output: for scripts and for a node without a
//! terminal.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::control::client::Door;
use crate::terminal::command::parse_line;
use crate::terminal::jobs;
use crate::terminal::news::{News, follow};
use crate::terminal::printer::Printer;
use crate::terminal::render;
use crate::terminal::text::{clip, escape};
use crate::terminal::verbs::{Trouble, execute};
use crate::terminal::{Ending, Leaving};

/// Longest line that is read, in bytes; one that is longer is refused.
const MAX_LINE: usize = 64 * 1024;

/// How long a line that waits already may take to be read.
const WAITING_LINE: Duration = Duration::from_millis(200);

/// A line of standard input; none where it is longer than [`MAX_LINE`].
type Line = Option<String>;

/// Does what comes in on standard input. At its end a terminal on a node elsewhere is
/// done; that of the node itself shows what happens until the node is gone.
pub async fn run(door: Door, printer: Printer, leaving: Leaving) -> Ending {
    let mut lines = stdin_lines();
    let mut doing = None;
    let ending = serve(&door, &printer, leaving, &mut lines, &mut doing).await;
    if ending == Ending::NodeGone {
        if doing.is_none() {
            doing = timeout(WAITING_LINE, lines.recv()).await.ok().flatten().flatten();
        }
        if let Some(line) = doing.filter(|line| !line.trim().is_empty()) {
            let line = clip(&escape(line.trim()), 80);
            printer.note(format!("not done: `{line}`, and what follows it")).await;
        }
    }
    ending
}

/// `doing` is the line that is being done.
async fn serve(
    door: &Door,
    printer: &Printer,
    leaving: Leaving,
    lines: &mut mpsc::Receiver<Line>,
    doing: &mut Line,
) -> Ending {
    let Ok(watch) = door.watch().await else {
        return Ending::NodeGone;
    };
    let typed = async {
        commands(door, printer, lines, doing).await;
        match leaving {
            // At the end of standard input the node goes on.
            Leaving::EndsTheNode => std::future::pending().await,
            Leaving::LeavesTheNode => Ending::InOrder,
        }
    };
    let news = follow(watch, |news| {
        let printer = printer.clone();
        async move {
            match news {
                News::Notice(line) => printer.note(line).await,
                News::Over(job) => printer.lines(jobs::end(&job)).await,
                News::Progress(_) => {}
            }
        }
    });
    tokio::select! {
        // A command that fails because the node is gone is reported as not done.
        biased;
        ending = news => ending,
        ending = typed => ending,
    }
}

async fn commands(
    door: &Door,
    printer: &Printer,
    lines: &mut mpsc::Receiver<Line>,
    doing: &mut Line,
) {
    while let Some(line) = lines.recv().await {
        *doing = line;
        let done = match doing {
            Some(line) => command(door, printer, line).await,
            None => Err(Trouble::refused(format!(
                "a line of more than {MAX_LINE} bytes; nothing of it is done"
            ))),
        };
        if let Err(trouble) = done {
            complain(printer, &trouble).await;
        }
        *doing = None;
    }
}

async fn command(door: &Door, printer: &Printer, line: &str) -> Result<(), Trouble> {
    if let Some(command) = parse_line(line)? {
        let answer = execute(door, command).await?;
        printer.lines(render::lines_beside_news(&answer, printer.look())).await;
    }
    Ok(())
}

/// Says what went wrong.
pub async fn complain(printer: &Printer, trouble: &Trouble) {
    for line in &trouble.help {
        printer.note(line.clone()).await;
    }
    printer.note(printer.look_err().bad(&trouble.message)).await;
}

/// The lines of standard input. They are read on a thread of its own, which
/// nobody waits for: a read from a terminal can't be cancelled.
fn stdin_lines() -> mpsc::Receiver<Line> {
    let (lines, received) = mpsc::channel(1);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        while let Ok(Some(line)) = next_line(&mut stdin) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    };
    // Without the thread, standard input is as good as at its end.
    std::thread::Builder::new().name("stdin".into()).spawn(read).ok();
    received
}

/// The next line; none at the end. One that is too long is read to its end, so
/// that its rest is not taken for a line.
fn next_line(from: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX).saturating_add(1);
    if from.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_LINE && !line.ends_with(b"\n") {
        from.skip_until(b'\n')?;
        return Ok(Some(None));
    }
    Ok(Some(Some(String::from_utf8_lossy(&line).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_that_is_too_long_nothing_is_taken_for_a_command() {
        let longest = "x".repeat(MAX_LINE);
        let text = format!("{longest}\n{longest}y exit\npeers\n{longest}");
        let mut text = text.as_bytes();
        let mut next = || next_line(&mut text).unwrap();
        assert_eq!(next(), Some(Some(format!("{longest}\n"))));
        assert_eq!(next(), Some(None));
        assert_eq!(next(), Some(Some("peers\n".to_owned())));
        assert_eq!(next(), Some(Some(longest)));
        assert_eq!(next(), None);
    }
}
