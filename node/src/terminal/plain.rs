//! Commands line by line, plain output: for scripts and for a node without a
//! terminal.

use std::io::{BufRead, Read};

use tokio::sync::mpsc;

use crate::control::client::Door;
use crate::terminal::command::parse_line;
use crate::terminal::news::{News, follow};
use crate::terminal::printer::Printer;
use crate::terminal::render;
use crate::terminal::verbs::{Trouble, execute};

/// Longest line that is read, in bytes; one that is longer is cut and will not
/// be understood.
const MAX_LINE: u64 = 64 * 1024;

/// Does what comes in on standard input, then shows what happens until the
/// node is gone.
pub async fn run(door: Door, printer: Printer) {
    let Ok(watch) = door.watch().await else {
        return;
    };
    let typed = async {
        commands(door, printer.clone()).await;
        // At the end of standard input the node goes on.
        std::future::pending::<()>().await;
    };
    let news = follow(watch, |news| {
        let printer = printer.clone();
        async move {
            match news {
                News::Notice(line) => printer.note(line).await,
                News::Over(job) => printer.line(render::over(&job)).await,
                News::Progress(_) => {}
            }
        }
    });
    tokio::select! {
        () = typed => {}
        () = news => {}
    }
}

async fn commands(door: Door, printer: Printer) {
    let mut lines = stdin_lines();
    while let Some(line) = lines.recv().await {
        if let Err(trouble) = command(&door, &printer, &line).await {
            complain(&printer, &trouble).await;
        }
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
fn stdin_lines() -> mpsc::Receiver<String> {
    let (lines, received) = mpsc::channel(1);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut stdin).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if lines.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    };
    // Without the thread, standard input is as good as at its end.
    std::thread::Builder::new().name("stdin".into()).spawn(read).ok();
    received
}
