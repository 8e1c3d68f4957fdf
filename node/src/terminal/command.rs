//! What can be typed, in one table, and how a line is understood. Pure.

use shoal_common::ident::NodeName;

use crate::transfer::job::JobId;

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What can be typed.
    Help(Option<&'static Verb>),
    /// Who this node is.
    GetIp,
    /// Its own files.
    Show {
        /// Only names that contain this.
        part: Option<String>,
    },
    /// The other nodes.
    Peers,
    /// What the others have.
    Search {
        /// Part of a name, or a glob.
        pattern: String,
    },
    /// Fetch a file.
    Download(DownloadArgs),
    /// All downloads.
    Jobs,
    /// End a download.
    Cancel {
        /// Which.
        job: JobId,
    },
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

/// A row of the table of commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// What is typed first.
    pub name: &'static str,
    /// What may follow.
    pub usage: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The rest that is worth knowing.
    pub details: &'static str,
    /// What its first argument is.
    pub argument: Argument,
    /// Options that may follow.
    pub options: &'static [&'static str],
}

/// What the first argument of a command is; completion asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// There is none.
    Nothing,
    /// The name of a file.
    File,
    /// The number of a download.
    Job,
    /// A command.
    Verb,
}

/// Every command, in the order in which help lists them.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "help",
        usage: "help [COMMAND]",
        summary: "what can be typed, or more about one command",
        details: "",
        argument: Argument::Verb,
        options: &[],
    },
    Verb {
        name: "getip",
        usage: "getip",
        summary: "who this node is: name, addresses, tracker",
        details: "",
        argument: Argument::Nothing,
        options: &[],
    },
    Verb {
        name: "show",
        usage: "show [PART]",
        summary: "the files this node shares: name, size, file id",
        details: "With PART, only names that contain it, whatever its case. The file id is\n\
                  what `b3sum FILE` prints.",
        argument: Argument::File,
        options: &[],
    },
    Verb {
        name: "peers",
        usage: "peers",
        summary: "the other nodes of the network",
        details: "",
        argument: Argument::Nothing,
        options: &[],
    },
    Verb {
        name: "search",
        usage: "search PATTERN",
        summary: "which files the other nodes have",
        details: "PATTERN is part of a name, whatever its case, or a glob: `*.txt`,\n\
                  `photo-20[12]?.jpg`, `*.{png,jpg}`. Put a pattern with spaces in quotes.",
        argument: Argument::File,
        options: &[],
    },
    Verb {
        name: "download",
        usage: "download NAME [--from POSITION|NODE|all] [--id PREFIX] [--detach]",
        summary: "fetch a file from one owner, or in chunks from all of them",
        details: "Lists the owners and asks for the position of one; -2 fetches chunks from\n\
                  all of them, -1 cancels. With --from it does not ask: a position of that\n\
                  list, the name of a node, or `all`. Where one name has several contents,\n\
                  --id chooses by the first digits of the id. A download runs on while you\n\
                  type; from outside, `ctl download` waits for its end unless --detach is\n\
                  given. Put a name with spaces in quotes.",
        argument: Argument::File,
        options: &["--from", "--id", "--detach"],
    },
    Verb {
        name: "jobs",
        usage: "jobs",
        summary: "the downloads: how far, how fast, from whom",
        details: "",
        argument: Argument::Nothing,
        options: &[],
    },
    Verb {
        name: "cancel",
        usage: "cancel JOB",
        summary: "end a download; what has come is kept for the next time",
        details: "JOB is the number that `jobs` shows.",
        argument: Argument::Job,
        options: &[],
    },
    Verb {
        name: "exit",
        usage: "exit",
        summary: "leave the network and end the node",
        details: "Running uploads and downloads are waited for, up to the grace period; Ctrl-C\n\
                  then leaves at once. What was under way goes on at the next start.",
        argument: Argument::Nothing,
        options: &[],
    },
];

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
        "show" => Command::Show { part: args.optional() },
        "peers" => Command::Peers,
        "search" => Command::Search { pattern: args.required("a PATTERN")? },
        "download" => Command::Download(args.download()?),
        "jobs" => Command::Jobs,
        "cancel" => Command::Cancel { job: args.job()? },
        _ => Command::Exit,
    };
    args.end()?;
    Ok(command)
}

/// The row of a command.
fn verb(typed: &str) -> Result<&'static Verb, CommandError> {
    let lower = typed.to_lowercase();
    VERBS.iter().find(|verb| verb.name == lower).ok_or_else(|| CommandError::Unknown {
        typed: super::text::escape(&typed.chars().take(40).collect::<String>()),
        nearest: nearest(&lower),
    })
}

/// Words of other programs for the same thing.
const SYNONYMS: &[(&str, &str)] = &[
    ("quit", "exit"),
    ("bye", "exit"),
    ("ls", "show"),
    ("list", "show"),
    ("get", "download"),
    ("fetch", "download"),
    ("find", "search"),
    ("whoami", "getip"),
    ("ip", "getip"),
    ("nodes", "peers"),
    ("kill", "cancel"),
    ("stop", "cancel"),
    ("?", "help"),
];

fn nearest(typed: &str) -> Option<&'static str> {
    if let Some((_, verb)) = SYNONYMS.iter().find(|(word, _)| *word == typed) {
        return Some(verb);
    }
    let near = |name: &str| {
        // A beginning is as good as a typo: `down`, `sea`.
        let beginning = typed.len() >= 2 && name.starts_with(typed);
        if beginning { 1.0 } else { strsim::jaro_winkler(typed, name) }
    };
    VERBS
        .iter()
        .map(|verb| (near(verb.name), verb.name))
        .filter(|(nearness, _)| *nearness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
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
                super::text::escape(&word)
            ))),
            None => Ok(()),
        }
    }

    fn job(&mut self) -> Result<JobId, CommandError> {
        let word = self.required("the number of a JOB")?;
        word.parse()
            .map_err(|_| self.wrong(format!("`{}` is no number", super::text::escape(&word))))
    }

    fn download(&mut self) -> Result<DownloadArgs, CommandError> {
        let (mut name, mut from, mut id, mut detach) = (None, None, None, false);
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
                "--detach" if inline.is_none() => detach = true,
                // A name may begin with a dash, after `--` or on its own.
                "--" if name.is_none() => name = Some(self.required("a NAME")?),
                _ if name.is_none() => name = Some(word),
                _ => {
                    let word = super::text::escape(&word);
                    return Err(self.wrong(format!(
                        "`{word}` is too much (a name with spaces goes in quotes)"
                    )));
                }
            }
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(DownloadArgs { name, from, id, detach }),
            None => Err(self.wrong("a NAME is missing")),
        }
    }

    fn value(&mut self, inline: Option<String>, what: &str) -> Result<String, CommandError> {
        match inline {
            Some(value) => Ok(value),
            None => self.required(what),
        }
    }

    fn from(&mut self, inline: Option<String>) -> Result<From, CommandError> {
        let value = self.value(inline, "what --from means")?;
        value.parse().map_err(|problem: String| self.wrong(super::text::escape(&problem)))
    }

    fn id(&mut self, inline: Option<String>) -> Result<String, CommandError> {
        let value = self.value(inline, "the id")?.to_lowercase();
        if value.chars().all(|c| c.is_ascii_hexdigit()) && value.len() <= 64 {
            Ok(value)
        } else {
            let value = super::text::escape(&value);
            Err(self.wrong(format!("`{value}` is no beginning of an id (hexadecimal digits)")))
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
