//! The screen of a person: the status area kept up to date, and everything
//! given back at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::area::{Area, RESET, Size};
use crate::terminal::printer::{Printer, dump, size_of};
use crate::terminal::status;
use crate::transfer::job::JobInfo;

/// Whether an unforeseen end of a thread has put the screen back.
static WAS_RESET: AtomicBool = AtomicBool::new(false);

/// What is shown at the bottom of the screen. Clones are the same screen.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    jobs: watch::Sender<Vec<JobInfo>>,
    /// Dropped last, it gives the terminal back.
    _modes: Arc<Modes>,
}

impl Screen {
    /// Takes the screen; it is given back when the last clone is dropped.
    pub(crate) fn take() -> Self {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            WAS_RESET.store(true, Ordering::Relaxed);
            dump(RESET.as_bytes()).ok();
            before(panic);
        }));
        let modes = Modes(tcgetattr(io::stdin()).ok());
        Self { jobs: watch::Sender::new(Vec::new()), _modes: Arc::new(modes) }
    }

    /// From now on shows these downloads.
    pub(super) fn show(&self, jobs: Vec<JobInfo>) {
        self.jobs.send_replace(jobs);
    }

    /// Paints whenever the downloads or the size of the terminal change.
    pub(super) async fn keep_up(&self, printer: &Printer) {
        let mut jobs = self.jobs.subscribe();
        let mut resized = signal(SignalKind::window_change()).ok();
        let mut area = Area::default();
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
                _ = size_changes => {}
            }
            if WAS_RESET.swap(false, Ordering::Relaxed) {
                area.forget();
            }
            let Some(size) = size_of(&io::stdout()) else {
                continue;
            };
            let size = Size { rows: size.ws_row.into(), columns: size.ws_col.into() };
            let lines = status::lines(&jobs.borrow_and_update(), printer.look(), size.rows);
            let text = area.paint(lines, size);
            if !text.is_empty() {
                printer.raw(text).await;
            }
        }
    }
}

/// The modes of the terminal before the line editor changed them. Its thread
/// waits for a key when the node ends and can't put them back.
#[derive(Debug)]
struct Modes(Option<Termios>);

impl Drop for Modes {
    fn drop(&mut self) {
        // The rest of the screen below the cursor was the status area.
        dump(format!("{RESET}\x1b7\x1b[E\x1b[J\x1b8").as_bytes()).ok();
        if let Some(modes) = &self.0
            && tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes != modes.local_modes)
        {
            tcsetattr(io::stdin(), OptionalActions::Now, modes).ok();
            // The cursor stands on the line that was being edited.
            dump(b"\r\n").ok();
        }
    }
}
