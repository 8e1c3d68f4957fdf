//! The one door to the terminal.

use std::fmt;
use std::io::{self, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Most lines that wait for a terminal that takes none (stopped by Ctrl-S,
/// say). Further ones are lost on the screen; the log has them.
const MAX_WAITING_LINES: usize = 1000;

/// Where the lines for people go: a thread writes them, so that a terminal
/// that stands still holds up nobody. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Screen(Option<NonBlocking>);

impl Screen {
    /// Standard output, until the guard is dropped. That it is closed is no
    /// error: nobody wants to read then.
    pub fn stdout() -> (Self, WorkerGuard) {
        Self::to(io::stdout())
    }

    /// Another place, until the guard is dropped.
    pub fn to<W: Write + Send + 'static>(place: W) -> (Self, WorkerGuard) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_WAITING_LINES)
            .lossy(true)
            .thread_name("screen")
            .finish(place);
        (Self(Some(writer)), guard)
    }

    /// Nowhere.
    pub fn none() -> Self {
        Self(None)
    }

    /// Shows a line, with the time (UTC) before it.
    pub fn show(&self, line: impl fmt::Display) {
        if let Some(mut writer) = self.0.clone() {
            // A line must reach the writer in one piece. It never fails: what
            // does not fit is dropped.
            writer.write_all(format!("{} {line}\n", time()).as_bytes()).ok();
        }
    }
}

/// Says on standard error why something failed.
pub fn complain(line: impl fmt::Display) {
    writeln!(io::stderr(), "shoal-tracker: {line}").ok();
}

/// The time as in the log, to the second.
fn time() -> String {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time)).ok();
    time.chars().take("2026-01-01T00:00:00".len()).chain(['Z']).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes nothing until it is released, then only errors.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_stands_still_or_is_closed_holds_up_nobody() {
        let (release, released) = mpsc::channel();
        let (screen, guard) = Screen::to(Stuck(released));
        for number in 0..MAX_WAITING_LINES * 3 {
            screen.show(number);
        }
        drop(release);
        drop(guard);
    }

    #[test]
    fn lines_have_their_time() {
        let time = time();
        assert_eq!(time.len(), 20, "{time}");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}
