//! The screen of a person: the status area kept up to date, and everything
//! given back at the end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::area::{Area, RESET, Size};
use crate::terminal::printer::{Printer, size_of};
use crate::terminal::status;
use crate::transfer::job::JobInfo;

/// Whether an unforeseen end of a thread has put the screen back.
static WAS_RESET: AtomicBool = AtomicBool::new(false);

/// What is shown at the bottom of the screen. Clones are the same screen.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    jobs: watch::Sender<Vec<JobInfo>>,
    /// Dropped last, it gives the terminal back.
    taken: Arc<Taken>,
}

impl Screen {
    /// Takes the screen; it is given back when the last clone is dropped.
    pub(crate) fn take() -> Self {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            WAS_RESET.store(true, Ordering::Relaxed);
            // Past the lock, which somebody may hold who is stopped.
            rustix::io::write(io::stdout(), RESET.as_bytes()).ok();
            before(panic);
        }));
        // From here on Ctrl-Z does not stop the program, whatever the modes of
        // the terminal are: a node that is stopped falls silent, and the
        // margins of a terminal would stay with the shell.
        signal(SignalKind::from_raw(Signal::TSTP.as_raw())).ok();
        let taken = Taken { modes: tcgetattr(io::stdin()).ok(), painter: OnceLock::new() };
        Self { jobs: watch::Sender::new(Vec::new()), taken: Arc::new(taken) }
    }

    /// From now on shows these downloads.
    pub(super) fn show(&self, jobs: Vec<JobInfo>) {
        self.jobs.send_replace(jobs);
    }

    /// Paints whenever the downloads or the size of the terminal change.
    pub(super) async fn keep_up(&self, printer: &Printer) {
        let mut jobs = self.jobs.subscribe();
        let mut resized = signal(SignalKind::window_change()).ok();
        let new = || Painter { printer: printer.clone(), area: Mutex::default() };
        let painter = self.taken.painter.get_or_init(new);
        loop {
            let size_changes = async {
                match &mut resized {
                    Some(signals) => signals.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = jobs.changed() => if changed.is_err() {
                    return;
                },
                // Even one that came back to what it was has lost the margins.
                _ = size_changes => painter.with_area(Area::distrust),
            }
            if WAS_RESET.swap(false, Ordering::Relaxed) {
                painter.with_area(Area::forget);
            }
            let Some(size) = size() else {
                continue;
            };
            let lines = status::lines(&jobs.borrow_and_update(), printer.look(), size.rows);
            let text = painter.with_area(|area| area.paint(lines, size));
            if !text.is_empty() {
                printer.raw(text).await;
            }
        }
    }
}

/// The size of the terminal at this moment.
fn size() -> Option<Size> {
    let size = size_of(&io::stdout())?;
    Some(Size { rows: size.ws_row.into(), columns: size.ws_col.into() })
}

/// What paints the screen.
#[derive(Debug)]
struct Painter {
    printer: Printer,
    area: Mutex<Area>,
}

impl Painter {
    fn with_area<T>(&self, use_it: impl FnOnce(&mut Area) -> T) -> T {
        use_it(&mut self.area.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is to be given back.
#[derive(Debug)]
struct Taken {
    /// The modes of the terminal before the line editor changed them. Its
    /// thread waits for a key when the node ends and can't put them back.
    modes: Option<Termios>,
    /// There once something may have been painted.
    painter: OnceLock<Painter>,
}

impl Drop for Taken {
    /// Waits for nothing: nobody may be reading what is written.
    fn drop(&mut self) {
        let edits = self.modes.as_ref().filter(|modes| {
            tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes != modes.local_modes)
        });
        if let Some(painter) = self.painter.get() {
            let size = size().unwrap_or_default();
            let mut text = painter.with_area(|area| area.paint(Vec::new(), size));
            text.push_str(RESET);
            if edits.is_some() {
                // The cursor stands on the line that was being edited.
                text.push_str("\r\n");
            }
            painter.printer.raw_at_once(text);
        }
        if let Some(modes) = edits {
            tcsetattr(io::stdin(), OptionalActions::Now, modes).ok();
        }
    }
}
