//! The line editor, on a thread of its own: it waits for keys, which nothing
//! else may do.

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ColorMode, CompletionType, Config, Context, ExternalPrinter, Helper, KeyEvent,
};
use tokio::sync::mpsc;
use tracing::warn;

use super::complete::{Words, complete};

/// Most lines that are remembered.
const MAX_HISTORY: usize = 1000;

/// What is asked of a person.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The words in front of what is typed.
    pub text: String,
    /// Whether it is a command: remembered, and completed.
    pub is_command: bool,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C; whether something was typed before it.
    Interrupt {
        /// Whether the line had text.
        had_text: bool,
    },
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// Where the words for completion come from, asked when Tab is pressed, with
/// the line up to the cursor.
pub type WordSource = Arc<dyn Fn(&str) -> Words + Send + Sync>;

/// How the line editor works.
pub struct Options {
    /// Where what was typed is kept.
    pub history: PathBuf,
    /// What can be completed.
    pub words: WordSource,
    /// Whether it may use colours.
    pub color: bool,
}

/// The other end of the line editor.
#[derive(Debug)]
pub struct Editor {
    prompts: std_mpsc::Sender<Prompt>,
    typed: mpsc::Receiver<Typed>,
    above: mpsc::Sender<String>,
}

type LineEditor = rustyline::Editor<Person, FileHistory>;

impl Editor {
    /// Opens the line editor; `None` where the terminal can't do it.
    pub fn open(options: Options) -> Option<Self> {
        let mut editor = line_editor(&options).ok()?;
        let printer = editor.create_external_printer().ok()?;
        // A line that is not there yet is no reason not to edit lines.
        editor.load_history(&options.history).ok();

        let (prompts, asked) = std_mpsc::channel();
        let (answers, typed) = mpsc::channel(1);
        let (above, lines) = mpsc::channel(64);
        let edit = move || {
            let history = options.history;
            edit_lines(&mut editor, &history, &asked, &answers);
        };
        std::thread::Builder::new().name("line-editor".into()).spawn(edit).ok()?;
        // Printing waits for the editor, so it has a thread too.
        let print = move || print_above(printer, lines);
        std::thread::Builder::new().name("above-prompt".into()).spawn(print).ok()?;
        Some(Self { prompts, typed, above })
    }

    /// Asks, and waits for what the person does.
    pub async fn ask(&mut self, prompt: Prompt) -> Typed {
        if self.prompts.send(prompt).is_err() {
            return Typed::End;
        }
        self.typed.recv().await.unwrap_or(Typed::End)
    }

    /// Where lines go that shall appear above the prompt.
    pub fn above(&self) -> mpsc::Sender<String> {
        self.above.clone()
    }
}

fn line_editor(options: &Options) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(MAX_HISTORY)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .color_mode(if options.color { ColorMode::Enabled } else { ColorMode::Disabled })
        .build();
    let mut editor = LineEditor::with_config(config)?;
    // A node that is stopped falls silent, and the others take it for dead.
    editor.bind_sequence(KeyEvent::ctrl('Z'), Cmd::Noop);
    let words = Arc::clone(&options.words);
    editor.set_helper(Some(Person {
        words,
        is_command: Cell::new(true),
        has_text: Cell::new(false),
    }));
    Ok(editor)
}

fn print_above(mut printer: impl ExternalPrinter, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.blocking_recv() {
        // While no line is edited, the terminal may have echoed keys.
        if let Err(error) = printer.print(format!("\r\x1b[K{line}\n")) {
            warn!("cannot print above the prompt: {error}");
        }
    }
}

fn edit_lines(
    editor: &mut LineEditor,
    history: &std::path::Path,
    prompts: &std_mpsc::Receiver<Prompt>,
    answers: &mpsc::Sender<Typed>,
) {
    let mut low = LowDescriptors::reserve();
    while let Ok(prompt) = prompts.recv() {
        low.release();
        let typed = edit_line(editor, &prompt);
        low = LowDescriptors::reserve();
        if let Typed::Line(line) = &typed
            && prompt.is_command
            && editor.add_history_entry(line).is_ok_and(|added| added)
        {
            // A history that can't be kept is no reason to bother anyone.
            editor.append_history(history).ok();
        }
        if answers.blocking_send(typed).is_err() {
            return;
        }
    }
}

fn edit_line(editor: &mut LineEditor, prompt: &Prompt) -> Typed {
    if let Some(person) = editor.helper() {
        person.is_command.set(prompt.is_command);
        person.has_text.set(false);
    }
    let edited = catch_unwind(AssertUnwindSafe(|| editor.readline(&prompt.text)));
    match edited {
        Ok(Ok(line)) => Typed::Line(line),
        Ok(Err(ReadlineError::Interrupted)) => {
            let had_text = editor.helper().is_some_and(|person| person.has_text.get());
            Typed::Interrupt { had_text }
        }
        Ok(Err(ReadlineError::Eof)) => Typed::End,
        Ok(Err(error)) => {
            warn!("the terminal is gone: {error}");
            Typed::End
        }
        Err(_) => {
            warn!("the line editor failed; the line is lost");
            Typed::Line(String::new())
        }
    }
}

/// The line editor waits with `select`, which knows only descriptors below
/// 1024, and opens a pair of them for each line. A node may have thousands
/// open; so low ones are held for it.
struct LowDescriptors(Vec<OwnedFd>);

impl LowDescriptors {
    const NEEDED: usize = 2;

    fn reserve() -> Self {
        let spare = || rustix::io::dup(std::io::stdin()).ok();
        Self((0..Self::NEEDED).filter_map(|_| spare()).collect())
    }

    fn release(&mut self) {
        self.0.clear();
    }
}

/// What the line editor knows of the person.
struct Person {
    words: WordSource,
    is_command: Cell<bool>,
    has_text: Cell<bool>,
}

impl Helper for Person {}

impl Validator for Person {}

impl Highlighter for Person {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }
}

/// There are no hints; but the editor asks for one whenever the line changes,
/// and so tells what is on it.
impl Hinter for Person {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.has_text.set(!line.is_empty());
        None
    }
}

impl Completer for Person {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(line) = line.get(..at).filter(|_| self.is_command.get()) else {
            return Ok((at, Vec::new()));
        };
        let (start, candidates) = complete(line, &(self.words)(line));
        let pairs = candidates
            .into_iter()
            .map(|found| Pair { display: found.shown, replacement: found.replacement })
            .collect();
        Ok((start, pairs))
    }
}
