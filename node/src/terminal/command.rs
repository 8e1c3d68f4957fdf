//! How a typed line is understood. Pure.

use std::fmt::Display;

use shoal_common::ident::NodeName;

use crate::amount::{Limit, RequestSize};
use crate::app::limits::Setting;
use crate::chat::verbs::Ask;
use crate::terminal::text::escape;
use crate::terminal::words::{LIMITED, REFRESH, VERBS, Verb, nearest};
use crate::transfer::job::{JobId, Order, Priority};

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What can be typed.
    Help(Option<&'static Verb>),
    /// Who this node is.
    GetIp,
    /// What its clock shows.
    Clock,
    /// Who is tracker.
    Tracker,
    /// Its own files.
    Show {
        /// Only names that contain this.
        part: Option<String>,
    },
    /// The other nodes.
    Peers {
        /// Whether to ask everyone before.
        refresh: bool,
    },
    /// Say hello to another node.
    Hello {
        /// Its name, or its search address.
        whom: String,
    },
    /// What the others have.
    Search {
        /// Part of a name, or a glob.
        pattern: String,
    },
    /// Something of the chat.
    Chat(Ask),
    /// Fetch a file.
    Download(DownloadArgs),
    /// All downloads.
    Jobs,
    /// All about one.
    Job {
        /// Which.
        job: JobId,
    },
    /// End a download.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Stop a download for a while.
    Pause {
        /// Which.
        job: JobId,
    },
    /// Let it go on.
    Resume {
        /// Which.
        job: JobId,
    },
    /// Which downloads come first.
    Priority {
        /// Which.
        job: JobId,
        /// Its place.
        priority: Priority,
    },
    /// Do once more what a download was to do.
    Retry {
        /// Which.
        job: JobId,
        /// Whether not to wait for its end.
        detach: bool,
    },
    /// The limits in force.
    Limits,
    /// Change one of them.
    Set(Setting),
    /// Limit one download.
    Limit {
        /// Which.
        job: JobId,
        /// To what.
        limit: Limit,
    },
    /// How long past downloads took.
    Stats,
    /// Leave the network and end.
    Exit,
}

/// How a file is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadArgs {
    /// Its name at its owners.
    pub name: String,
    /// From whom; without it, the person is asked.
    pub from: Option<From>,
    /// The first digits of its id, where several contents have the name.
    pub id: Option<String>,
    /// In which order its bytes come.
    pub order: Order,
    /// Whether not to wait for its end.
    pub detach: bool,
}

/// From whom to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// From nobody: changed their mind (`-1`).
    Nobody,
    /// In chunks from all owners (`all`, `-2`).
    All,
    /// From the owner at this position of the list.
    Position(usize),
    /// From the owner with this name.
    Node(NodeName),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text {
            "-1" => Ok(Self::Nobody),
            "-2" => Ok(Self::All),
            _ if text.eq_ignore_ascii_case("all") => Ok(Self::All),
            _ => {
                text.parse().map(Self::Position).or_else(|_| text.parse().map(Self::Node)).map_err(
                    |_| format!("`{text}` is no position, no name of a node and not `all`"),
                )
            }
        }
    }
}

/// Why a line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("there is no command `{typed}`{}; `help` lists them all", did_you_mean(.nearest))]
    Unknown {
        /// What was typed.
        typed: String,
        /// The nearest command, if one is near.
        nearest: Option<&'static str>,
    },
    /// A quote that does not end.
    #[error("a quote is open; close it, or put `\\` before a quote that is part of a name")]
    OpenQuote,
    /// The command exists but what follows does not fit.
    #[error("{problem}; usage: {usage}")]
    Usage {
        /// What does not fit.
        problem: String,
        /// How it is used.
        usage: &'static str,
    },
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The command in a line; none in an empty line.
///
/// # Errors
/// See [`CommandError`].
pub fn parse_line(line: &str) -> Result<Option<Command>, CommandError> {
    // What is said is said as it is typed, quotes and all.
    if let Some(command) = chat::spoken(line) {
        return command.map(Some);
    }
    let words = shell_words::split(line).map_err(|_| CommandError::OpenQuote)?;
    if words.is_empty() { Ok(None) } else { parse_words(words).map(Some) }
}

/// The command in words that are split already.
///
/// # Errors
/// See [`CommandError`].
pub fn parse_words(words: Vec<String>) -> Result<Command, CommandError> {
    let mut words = words.into_iter();
    let typed = words.next().unwrap_or_default();
    let verb = verb(&typed)?;
    let mut args = Args { verb, words: words.collect::<Vec<_>>().into_iter() };
    let command = match verb.name {
        "help" => Command::Help(match args.optional() {
            Some(typed) => Some(self::verb(&typed)?),
            None => None,
        }),
        "getip" => Command::GetIp,
        "clock" => Command::Clock,
        "tracker" => Command::Tracker,
        "show" => Command::Show { part: args.optional() },
        "peers" => Command::Peers { refresh: args.refresh()? },
        "hello" => Command::Hello { whom: args.required("a NAME or an ADDRESS")? },
        "search" => Command::Search { pattern: args.required("a PATTERN")? },
        "download" => Command::Download(args.download()?),
        "jobs" => match args.optional() {
            Some(word) => Command::Job { job: args.number(&word)? },
            None => Command::Jobs,
        },
        "cancel" => Command::Cancel { job: args.job()? },
        "pause" => Command::Pause { job: args.job()? },
        "resume" => Command::Resume { job: args.job()? },
        "priority" => Command::Priority { job: args.job()?, priority: args.value("how high")? },
        "retry" => {
            let detach = args.flag("--detach");
            Command::Retry { job: args.job()?, detach }
        }
        "limit" => args.limit()?,
        "chunk-size" => match args.optional() {
            Some(word) => Command::Set(Setting::ChunkSize(args.parsed::<RequestSize>(&word)?)),
            None => Command::Limits,
        },
        "stats" => Command::Stats,
        name if chat::is_verb(name) => Command::Chat(args.chat()?),
        _ => Command::Exit,
    };
    args.end()?;
    if let Command::Set(setting) = &command {
        setting.check().map_err(|problem| args.wrong(problem.to_string()))?;
    }
    Ok(command)
}

/// The row of a command.
fn verb(typed: &str) -> Result<&'static Verb, CommandError> {
    let lower = typed.to_lowercase();
    VERBS.iter().find(|verb| verb.name == lower).ok_or_else(|| CommandError::Unknown {
        typed: escape(&typed.chars().take(40).collect::<String>()),
        nearest: nearest(&lower),
    })
}

/// What follows a command.
struct Args {
    verb: &'static Verb,
    words: std::vec::IntoIter<String>,
}

impl Args {
    fn wrong(&self, problem: impl Into<String>) -> CommandError {
        CommandError::Usage { problem: problem.into(), usage: self.verb.usage }
    }

    fn optional(&mut self) -> Option<String> {
        self.words.next()
    }

    fn required(&mut self, what: &str) -> Result<String, CommandError> {
        match self.words.next() {
            Some(word) if !word.is_empty() => Ok(word),
            _ => Err(self.wrong(format!("{what} is missing"))),
        }
    }

    fn end(&mut self) -> Result<(), CommandError> {
        match self.words.next() {
            Some(word) => Err(self.wrong(format!(
                "`{}` is too much (a name with spaces goes in quotes)",
                escape(&word)
            ))),
            None => Ok(()),
        }
    }

    fn refresh(&mut self) -> Result<bool, CommandError> {
        match self.optional() {
            None => Ok(false),
            Some(word) if word.eq_ignore_ascii_case(REFRESH) => Ok(true),
            Some(word) => Err(self.wrong(format!("`{}` is not `{REFRESH}`", escape(&word)))),
        }
    }

    fn job(&mut self) -> Result<JobId, CommandError> {
        let word = self.required("the number of a JOB")?;
        self.number(&word)
    }

    fn number<T: std::str::FromStr>(&self, word: &str) -> Result<T, CommandError> {
        word.parse().map_err(|_| self.wrong(format!("`{}` is no number", escape(word))))
    }

    /// A word that says itself what is wrong with it.
    fn parsed<T: std::str::FromStr<Err: Display>>(&self, word: &str) -> Result<T, CommandError> {
        word.parse().map_err(|problem: T::Err| self.wrong(escape(&problem.to_string())))
    }

    fn value<T: std::str::FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, CommandError> {
        let word = self.required(what)?;
        self.parsed(&word)
    }

    /// Whether this word is among those that are left; it is not any more then.
    fn flag(&mut self, flag: &str) -> bool {
        let words: Vec<String> = self.words.by_ref().collect();
        let is_there = words.iter().any(|word| word == flag);
        self.words = words.into_iter().filter(|word| word != flag).collect::<Vec<_>>().into_iter();
        is_there
    }

    fn limit(&mut self) -> Result<Command, CommandError> {
        let Some(what) = self.optional() else {
            return Ok(Command::Limits);
        };
        Ok(match what.to_lowercase().as_str() {
            "up" => Command::Set(Setting::Up(self.value("a RATE")?)),
            "down" => Command::Set(Setting::Down(self.value("a RATE")?)),
            "uploads" => Command::Set(Setting::MaxUploads(self.count()?)),
            "downloads" => Command::Set(Setting::MaxDownloads(self.count()?)),
            word => {
                let job = word.parse().map_err(|_| {
                    let known = LIMITED.join("`, `");
                    self.wrong(format!("`{}` is no JOB and not `{known}`", escape(word)))
                })?;
                Command::Limit { job, limit: self.value("a RATE")? }
            }
        })
    }

    fn count(&mut self) -> Result<usize, CommandError> {
        let word = self.required("a NUMBER")?;
        self.number(&word)
    }

    fn download(&mut self) -> Result<DownloadArgs, CommandError> {
        let (mut name, mut from, mut id) = (None, None, None);
        let (mut order, mut detach) = (Order::default(), false);
        while let Some(word) = self.words.next() {
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => {
                    (option.to_owned(), Some(value.to_owned()))
                }
                _ => (word.clone(), None),
            };
            match option.as_str() {
                "--from" => from = Some(self.from(inline)?),
                "--id" => id = Some(self.id(inline)?),
                "--order" => {
                    let word = self.inline_or_next(inline, "the order")?;
                    order = self.parsed(&word)?;
                }
                "--detach" if inline.is_none() => detach = true,
                // A name may begin with a dash, after `--` or on its own.
                "--" if name.is_none() => name = Some(self.required("a NAME")?),
                _ if name.is_none() => name = Some(word),
                _ => {
                    let word = escape(&word);
                    return Err(self.wrong(format!(
                        "`{word}` is too much (a name with spaces goes in quotes)"
                    )));
                }
            }
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(DownloadArgs { name, from, id, order, detach }),
            None => Err(self.wrong("a NAME is missing")),
        }
    }

    fn inline_or_next(
        &mut self,
        inline: Option<String>,
        what: &str,
    ) -> Result<String, CommandError> {
        match inline {
            Some(value) => Ok(value),
            None => self.required(what),
        }
    }

    fn from(&mut self, inline: Option<String>) -> Result<From, CommandError> {
        let value = self.inline_or_next(inline, "what --from means")?;
        self.parsed(&value)
    }

    fn id(&mut self, inline: Option<String>) -> Result<String, CommandError> {
        let value = self.inline_or_next(inline, "the id")?.to_lowercase();
        if value.chars().all(|c| c.is_ascii_hexdigit()) && value.len() <= 64 {
            Ok(value)
        } else {
            let value = escape(&value);
            Err(self.wrong(format!("`{value}` is no beginning of an id (hexadecimal digits)")))
        }
    }
}

mod chat;

pub use chat::is_spoken;

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
