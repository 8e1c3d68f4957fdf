//! What a command does: requests to the node.

use shoal_common::process::Exit;

use crate::catalog::found::{FileInfo, Findings};
use crate::control::client::{ControlError, Door};
use crate::terminal::answer::Answer;
use crate::terminal::choose::{self, ChoiceError, Named};
use crate::terminal::command::{Command, DownloadArgs, From};
use crate::terminal::render;
use crate::terminal::text::escape;
use crate::transfer::job::Wanted;

/// Why a command brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For the exit code of a program.
    pub exit: Exit,
    /// What went wrong, in a line.
    pub message: String,
    /// What helps to go on.
    pub help: Vec<String>,
}

impl Trouble {
    /// Refused, or not found.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, message: message.into(), help: Vec::new() }
    }

    fn of(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string(), help: Vec::new() }
    }
}

impl std::convert::From<ControlError> for Trouble {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(reason) => Self::refused(reason),
            error => Self::of(Exit::Failed, error),
        }
    }
}

impl std::convert::From<super::command::CommandError> for Trouble {
    fn from(error: super::command::CommandError) -> Self {
        Self::of(Exit::Usage, error)
    }
}

/// Does what a command says. A download is only started here; whoever wants
/// its end waits for it.
///
/// # Errors
/// See [`Trouble`].
pub async fn execute(door: &Door, command: Command) -> Result<Answer, Trouble> {
    Ok(match command {
        Command::Help(verb) => Answer::Help(verb),
        Command::GetIp => Answer::Identity(door.identity().await?),
        Command::Clock => Answer::Clock(door.clock().await?),
        Command::Tracker => Answer::Tracker(door.tracker().await?),
        Command::Show { part } => Answer::Files(door.show(part).await?),
        Command::Peers { refresh } => Answer::Peers(door.standings(refresh).await?),
        Command::Hello { whom } => Answer::Greeted(door.hello(whom).await?),
        Command::Search { pattern } => Answer::Found(door.search(&pattern).await?),
        Command::Chat(ask) => Answer::Chat(door.chat(ask).await?),
        Command::Download(args) => download(door, args).await?,
        Command::Jobs => Answer::Jobs(door.jobs().await?, door.uploads().await?),
        Command::Job { job } => Answer::Job(door.job_info(job).await?),
        Command::Pause { job } => Answer::Changed(door.pause(job).await?),
        Command::Resume { job } => Answer::Changed(door.resume(job).await?),
        Command::Priority { job, priority } => {
            Answer::Changed(door.prioritize(job, priority).await?)
        }
        Command::Retry { job, .. } => Answer::Started(door.retry(job).await?),
        Command::Limit { job, limit } => Answer::Changed(door.limit(job, limit).await?),
        Command::Limits => Answer::Limits(door.limits().await?),
        Command::Set(setting) => Answer::Limits(door.set(setting).await?),
        Command::Stats => Answer::Stats(door.stats().await?),
        Command::Cancel { job } => Answer::Cancelled(door.cancel(job).await?),
        Command::Exit => {
            door.exit().await?;
            Answer::Leaving
        }
    })
}

async fn download(door: &Door, args: DownloadArgs) -> Result<Answer, Trouble> {
    let wanted = chosen(door, &args).await?;
    Ok(Answer::Started(door.download(wanted).await?))
}

/// What to fetch, where nobody is asked.
///
/// # Errors
/// It is not said from whom; or see [`wish`].
pub async fn chosen(door: &Door, args: &DownloadArgs) -> Result<Wanted, Trouble> {
    match (wish(door, args).await?, &args.from) {
        (Wish::Tree(wanted), _) => Ok(wanted),
        (Wish::File(offered), Some(from)) => {
            Ok(Wanted { order: args.order, ..offered.choose(from, args.id.as_deref())? })
        }
        (Wish::File(offered), None) => Err(Trouble {
            help: render::offers(&offered.findings),
            ..Trouble::refused(format!(
                "`{}` has owners to choose from; add --from POSITION, --from NODE or --from all",
                escape(&args.name)
            ))
        }),
    }
}

/// What a person wants, as far as it is known.
#[derive(Debug, Clone)]
pub enum Wish {
    /// A folder or a glob.
    Tree(Wanted),
    /// A file, of which an owner is still to be chosen.
    File(Offered),
}

/// Finds out what a person wants.
///
/// # Errors
/// Nobody has it, or there is nothing to choose because it is here; a folder or
/// a glob can't be asked for in this way.
pub async fn wish(door: &Door, args: &DownloadArgs) -> Result<Wish, Trouble> {
    let meant = match choose::named(&args.name) {
        Named::File => Named::File,
        Named::Folder => Named::Folder,
        // It may be the very name of a file.
        Named::Glob => match door.find(&args.name).await {
            Ok(findings) if !findings.found.is_empty() => Named::File,
            _ => Named::Glob,
        },
    };
    if meant == Named::File {
        return Ok(Wish::File(Offered::of(door, &args.name).await?));
    }
    let peers = door.peers().await?;
    let tree = choose::choose_tree(&args.name, args.from.as_ref(), args.id.as_deref(), &peers);
    let wanted = tree.map_err(|error| refusal(&args.name, &error))?;
    // A download waits for what is not here yet; a typing error would for ever.
    let findings = door.search(&choose::below(&args.name)).await?;
    if findings.found.is_empty() {
        return Err(nobody(door, &args.name, &findings).await);
    }
    Ok(Wish::Tree(Wanted { order: args.order, ..wanted }))
}

/// Who has a file, before the choice.
#[derive(Debug, Clone)]
pub struct Offered {
    name: String,
    /// Its contents and their owners.
    pub findings: Findings,
    own: Vec<FileInfo>,
}

impl Offered {
    /// Asks who has a file.
    ///
    /// # Errors
    /// Nobody has it, or there is nothing to choose because it is here.
    pub async fn of(door: &Door, name: &str) -> Result<Self, Trouble> {
        let own = door.show(Some(name.to_owned())).await?;
        let findings = door.find(name).await?;
        if choose::all_here(&findings, name, &own) {
            return Err(refusal(name, &ChoiceError::Here));
        }
        if findings.found.is_empty() {
            return Err(nobody(door, name, &findings).await);
        }
        Ok(Self { name: name.to_owned(), findings, own })
    }

    /// What to fetch, by a person's choice.
    ///
    /// # Errors
    /// The choice can't be met.
    pub fn choose(&self, from: &From, id: Option<&str>) -> Result<Wanted, Trouble> {
        choose::choose(&self.findings, from, id, &self.own).map_err(|error| {
            let mut trouble = refusal(&self.name, &error);
            if matches!(
                error,
                ChoiceError::Several(_)
                    | ChoiceError::NoPosition { .. }
                    | ChoiceError::NotAnOwner(_)
            ) {
                trouble.help = render::offers(&self.findings);
            }
            trouble
        })
    }
}

fn refusal(name: &str, error: &ChoiceError) -> Trouble {
    Trouble::refused(match error {
        ChoiceError::Cancelled | ChoiceError::NoSuchNode(_) => error.to_string(),
        ChoiceError::Here => format!("you have this file: `{}`", escape(name)),
        ChoiceError::Nobody => format!("nobody has `{}`", escape(name)),
        error => format!("`{}`: {error}", escape(name)),
    })
}

/// Nobody has this name: who did not answer, and what is called similarly.
async fn nobody(door: &Door, name: &str, findings: &Findings) -> Trouble {
    let mut trouble = refusal(name, &ChoiceError::Nobody);
    trouble.help.extend(render::silent(findings));
    let folder = format!("{name}/");
    let (names, similar) = similar(door, name).await;
    if names.iter().any(|other| other.starts_with(&folder)) {
        trouble.help.push(format!("it is a folder: fetch `{}`", escape(&folder)));
        return trouble;
    }
    if !similar.is_empty() {
        trouble.help.push(format!("similar names: {}", similar.join(", ")));
    }
    trouble
}

/// Most similar names that are suggested.
const MAX_SIMILAR: usize = 5;

/// Names that others have, and those of them that are like this one.
async fn similar(door: &Door, name: &str) -> (Vec<String>, Vec<String>) {
    // The longest word of a name is most likely to be right.
    let Some(part) = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3)
        .max_by_key(|word| word.len())
    else {
        return Default::default();
    };
    let mut names: Vec<String> = match door.search(part).await {
        Ok(findings) => findings.found.into_iter().map(|f| f.name.as_str().to_owned()).collect(),
        Err(_) => Vec::new(),
    };
    // What was seen in earlier searches helps where the longest word is wrong.
    names.extend(door.names().await.unwrap_or_default());
    let near = nearest_names(name, &names);
    (names, near)
}

fn nearest_names(name: &str, names: &[String]) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut near: Vec<(f64, &String)> = names
        .iter()
        .filter(|other| *other != name)
        .map(|other| (strsim::jaro_winkler(&lower, &other.to_lowercase()), other))
        .filter(|(nearness, _)| *nearness > 0.75)
        .collect();
    near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
    near.dedup_by(|(_, a), (_, b)| a == b);
    near.into_iter().take(MAX_SIMILAR).map(|(_, name)| format!("`{}`", escape(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_nearest_first_and_once() {
        let names = ["file.deb", "file2.deb", "file.deb", "fiel.deb", "photo.png"];
        let names = names.map(str::to_owned).to_vec();
        assert_eq!(nearest_names("File.dev", &names)[0], "`file.deb`");
        let names = vec!["file.deb".to_owned(); 3];
        assert_eq!(nearest_names("flie.deb", &names), ["`file.deb`"]);
        assert!(nearest_names("x", &["photo.png".to_owned()]).is_empty());
    }
}
