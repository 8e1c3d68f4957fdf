//! The only door to standard output and standard error.
//!
//! What is printed goes through a thread of its own, so that a slow or stopped
//! reader (a pager, a terminal with Ctrl-S) holds up nothing else. Results go
//! to standard output, everything else to standard error. A reader that is
//! gone is no error: the rest is not written. Any other trouble (a full disk,
//! say) is said once and makes the program fail.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::{Winsize, tcgetwinsize};
use shoal_common::process::Exit;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::text::Look;

/// Pieces that may wait for a slow reader before the next one waits itself.
const BACKLOG: usize = 64;

enum Piece {
    Out(String),
    Err(String),
    /// Of a file. Answered with how it went.
    Bytes(Vec<u8>, oneshot::Sender<io::Result<Written>>),
    /// Answered with whether results could be written.
    Flush(oneshot::Sender<bool>),
}

/// How bytes for standard output fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// They are written.
    All,
    /// Nobody reads any more.
    ReaderGone,
}

/// Where everything for the person goes. Clones are the same door.
#[derive(Debug, Clone)]
pub struct Printer {
    to_thread: mpsc::Sender<Piece>,
    color_out: bool,
    color_err: bool,
}

impl Printer {
    /// Opens the door of this process.
    pub fn new() -> Self {
        let (to_thread, pieces) = mpsc::channel(BACKLOG);
        // If there is no thread, there is no output; nothing else is harmed.
        std::thread::Builder::new().name("printer".into()).spawn(move || print_all(pieces)).ok();
        let wanted = color_wanted();
        Self {
            to_thread,
            color_out: wanted && io::stdout().is_terminal(),
            color_err: wanted && io::stderr().is_terminal(),
        }
    }

    /// How results may look, at this moment.
    pub fn look(&self) -> Look {
        Look { color: self.color_out, width: columns(&io::stdout()) }
    }

    /// How everything else may look, at this moment.
    pub fn look_err(&self) -> Look {
        Look { color: self.color_err, width: columns(&io::stderr()) }
    }

    /// A line of a result.
    pub async fn line(&self, line: impl Into<String>) {
        let mut line = line.into();
        line.push('\n');
        self.raw(line).await;
    }

    /// Lines of a result, together.
    pub async fn lines(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.line(lines.join("\n")).await;
        }
    }

    /// Text for standard output as it is.
    pub async fn raw(&self, text: String) {
        self.to_thread.send(Piece::Out(text)).await.ok();
    }

    /// Bytes for standard output. Waits until they are written: whoever reads
    /// slowly is written to slowly.
    ///
    /// # Errors
    /// They can't be written.
    pub async fn bytes(&self, bytes: Vec<u8>) -> io::Result<Written> {
        let (written, wait) = oneshot::channel();
        self.to_thread.send(Piece::Bytes(bytes, written)).await.ok();
        // Without the thread nothing is written.
        wait.await.unwrap_or(Ok(Written::ReaderGone))
    }

    /// Text for standard output as it is, without waiting; not written if too
    /// much waits already.
    pub(crate) fn raw_at_once(&self, text: String) {
        self.to_thread.try_send(Piece::Out(text)).ok();
    }

    /// A line that is no result.
    pub async fn note(&self, line: impl Into<String>) {
        let mut line = line.into();
        line.push('\n');
        self.raw_err(line).await;
    }

    /// Text for standard error as it is.
    pub async fn raw_err(&self, text: String) {
        self.to_thread.send(Piece::Err(text)).await.ok();
    }

    /// Waits until all is written that was printed before, or for so long.
    pub async fn flush(&self, patience: Duration) {
        self.is_written(patience).await;
    }

    /// As [`Self::flush`], at the end of the program: what was done is no
    /// success if its result could not be written.
    pub async fn finish(&self, exit: Exit, patience: Duration) -> Exit {
        match exit {
            Exit::Done if !self.is_written(patience).await => Exit::Failed,
            exit => {
                self.flush(patience).await;
                exit
            }
        }
    }

    /// Nothing is known to be lost while a reader is slow.
    async fn is_written(&self, patience: Duration) -> bool {
        let (written, wait) = oneshot::channel();
        let flush = async {
            self.to_thread.send(Piece::Flush(written)).await.ok();
            wait.await.unwrap_or(true)
        };
        timeout(patience, flush).await.unwrap_or(true)
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}

/// `NO_COLOR` (no-color.org): any value but none and the empty one.
fn color_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb
}

fn columns(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    size_of(stream).map(|size| usize::from(size.ws_col))
}

/// Rows and columns of the terminal behind a stream.
pub(crate) fn size_of(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<Winsize> {
    if !stream.is_terminal() {
        return None;
    }
    tcgetwinsize(stream).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)
}

fn print_all(mut pieces: mpsc::Receiver<Piece>) {
    let (mut out, mut err) = (Stream::new(io::stdout()), Stream::new(io::stderr()));
    let mut out_failed = false;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Out(text) => {
                if let Err(error) = out.write(text.as_bytes()) {
                    out_failed = true;
                    let line = format!("cannot write to standard output: {error}\n");
                    err.write(line.as_bytes()).ok();
                }
            }
            // There is no other place to say why.
            Piece::Err(text) => drop(err.write(text.as_bytes())),
            Piece::Bytes(bytes, written) => {
                let outcome = out.write(&bytes);
                let how = if out.open { Written::All } else { Written::ReaderGone };
                written.send(outcome.map(|()| how)).ok();
            }
            Piece::Flush(written) => {
                written.send(!out_failed).ok();
            }
        }
    }
}

/// A stream whose reader may go away.
struct Stream<W> {
    to: W,
    open: bool,
}

impl<W: Write> Stream<W> {
    fn new(to: W) -> Self {
        Self { to, open: true }
    }

    /// An error is told once; a reader that is gone is none.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        let written = self.to.write_all(bytes).and_then(|()| self.to.flush());
        self.open = written.is_ok();
        unless_gone(written)
    }
}

/// A line on standard error, at once: for the time before there is a printer
/// and after it.
pub fn complain(line: &str) {
    let mut line = line.to_owned();
    line.push('\n');
    io::stderr().write_all(line.as_bytes()).ok();
}

/// Text on standard output, at once; for generated text such as completions.
///
/// # Errors
/// It can't be written; a reader that is gone is no error.
pub fn dump(text: &[u8]) -> io::Result<()> {
    unless_gone(io::stdout().write_all(text).and_then(|()| io::stdout().flush()))
}

/// A reader that is gone is no error.
fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_gets_nothing_more() {
        struct Gone(usize);
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut stream = Stream::new(Gone(0));
        stream.write(b"a").unwrap();
        assert!(!stream.open);
        stream.write(b"b").unwrap();
        assert_eq!(stream.to.0, 1);
    }
}
