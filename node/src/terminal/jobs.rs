//! Downloads for people: lines of text. Pure.

use crate::terminal::text::{self, Look, Side, Table, escape};
use crate::transfer::job::{FileCounts, JobInfo, JobState, OwnerInfo, Priority, UploadInfo};

/// Most failures of a tree that are listed; the rest is counted, and told to
/// programs.
const MOST_FAILURES: usize = 10;

/// All of them, and what others fetch from here.
pub fn table(jobs: &[JobInfo], uploads: &[UploadInfo], look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    if jobs.is_empty() {
        lines.push("no downloads".to_owned());
    } else {
        let mut table = Table::new(&[
            ("JOB", Side::Right),
            ("NAME", Side::Left),
            ("STATE", Side::Left),
            ("DONE", Side::Right),
            ("SIZE", Side::Right),
            ("RATE", Side::Right),
            ("LEFT", Side::Right),
            ("OWNERS", Side::Right),
        ])
        .flexible(1);
        for job in jobs {
            table.row(row(job));
        }
        lines = table.lines(look);
        lines.extend(jobs.iter().filter_map(beside));
    }
    for upload in uploads {
        let (name, to) = (escape(upload.name.as_str()), escape(&upload.to));
        lines.push(look.dim(&format!("uploading `{name}` to {to}")));
    }
    lines
}

fn row(job: &JobInfo) -> [String; 8] {
    let moves = job.state == JobState::Running || job.state.is_over();
    let owners = if job.state.is_over() { gave(job).count() } else { active(job) };
    [
        job.job.to_string(),
        escape(&job.name),
        state(job.state).to_owned(),
        format!("{}%", percent(job)),
        text::size(job.size),
        if job.rate > 0.0 && moves { text::rate(job.rate) } else { String::new() },
        job.left.map(text::clock).unwrap_or_default(),
        owners.to_string(),
    ]
}

/// What is there to say of a download that has no column.
fn beside(job: &JobInfo) -> Option<String> {
    let files = job.files.as_ref().map(files);
    let usual = Priority::default();
    let priority = (job.priority != usual && !job.state.is_over())
        .then(|| format!("{} priority", priority(job.priority)));
    let limit = job.limit.map(|limit| format!("at most {}", limited(limit)));
    let reason = job.reason.as_deref().map(escape);
    let said: Vec<String> = [files, priority, limit, reason].into_iter().flatten().collect();
    (!said.is_empty()).then(|| format!("job {}: {}", job.job, said.join("; ")))
}

/// One of them, with all that is known of it.
pub fn one(job: &JobInfo, look: Look) -> Vec<String> {
    let some = |text: Option<String>| text.unwrap_or_default();
    let word = state(job.state);
    // Most reasons to wait begin with the word.
    let state = match job.reason.as_deref().map(escape) {
        Some(reason) if reason.starts_with(word) => reason,
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_owned(),
    };
    let resumed =
        (job.resumed > 0).then(|| format!("; {} of it were here already", text::size(job.resumed)));
    let rows = [
        ("name", escape(&job.name)),
        ("file id", some(job.id.map(|id| id.to_string()))),
        ("state", state),
        ("done", format!("{}% of {}{}", percent(job), text::bytes(job.size), some(resumed))),
        ("files", some(job.files.as_ref().map(files))),
        ("rate", if job.rate > 0.0 { text::rate(job.rate) } else { String::new() }),
        ("time", text::took(job.seconds)),
        ("left", some(job.left.map(text::clock))),
        ("priority", priority(job.priority).to_owned()),
        ("limit", some(job.limit.map(limited))),
        ("saved as", some(job.saved_as.as_ref().map(|name| escape(name.as_str())))),
    ];
    let mut lines: Vec<String> = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(what, value)| format!("{}  {value}", look.bold(&format!("{what:8}"))))
        .collect();
    if !job.owners.is_empty() {
        lines.extend(owners(job).lines(look));
    }
    lines.extend(failures(job));
    lines
}

fn owners(job: &JobInfo) -> Table {
    let mut table = Table::new(&[
        ("OWNER", Side::Left),
        ("GAVE", Side::Right),
        ("SHARE", Side::Right),
        ("NOW", Side::Left),
    ]);
    let given = given(job);
    for owner in &job.owners {
        let share = format!("{}%", text::share(owner.bytes, given));
        let now = match (&owner.trouble, owner.active) {
            (Some(trouble), _) => escape(trouble),
            (None, true) => "in use".to_owned(),
            (None, false) => String::new(),
        };
        table.row([owner.name.to_string(), text::size(owner.bytes), share, now]);
    }
    table
}

/// How many owners are in use now.
pub fn active(job: &JobInfo) -> usize {
    job.owners.iter().filter(|owner| owner.active).count()
}

fn gave(job: &JobInfo) -> impl Iterator<Item = &OwnerInfo> {
    job.owners.iter().filter(|owner| owner.bytes > 0)
}

fn given(job: &JobInfo) -> u64 {
    gave(job).map(|owner| owner.bytes).fold(0, u64::saturating_add)
}

/// The percentage that is here; none of what is not known yet.
pub fn percent(job: &JobInfo) -> u8 {
    let unknown = job.size == 0 && job.state != JobState::Done;
    if unknown { 0 } else { text::percent(job.done, job.size) }
}

/// How many files of a tree are here: `123 of 1,000 files`.
pub fn files(files: &FileCounts) -> String {
    let noun = if files.total == 1 { "file" } else { "files" };
    let here = format!("{} of {} {noun}", text::grouped(files.done), text::grouped(files.total));
    match files.failed {
        0 => here,
        failed => format!("{here}, {} failed", text::grouped(failed)),
    }
}

/// A state in a word.
pub fn state(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Starting => "starting",
        JobState::Running => "running",
        JobState::Waiting => "waiting",
        JobState::Paused => "paused",
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
        JobState::Failed => "failed",
    }
}

/// A priority in a word.
pub fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

/// Bytes a second that were chosen.
#[allow(clippy::cast_precision_loss)] // to three digits it does not show
pub fn limited(bytes: u64) -> String {
    text::rate(bytes as f64)
}

/// A download begins.
pub fn started(job: &JobInfo) -> String {
    let name = escape(&job.name);
    let size = match job.size {
        // Of a tree, it is not known yet.
        0 if job.id.is_none() => String::new(),
        size => format!(", {}", text::size(size)),
    };
    let verb = if job.state == JobState::Queued { "queued" } else { "fetching" };
    format!("job {}: {verb} `{name}`{size}", job.job)
}

/// How a download stands after a change, in a line.
pub fn changed(job: &JobInfo) -> String {
    let name = escape(&job.name);
    let said = match beside(job) {
        Some(beside) => beside.replacen(&format!("job {}: ", job.job), "; ", 1),
        None => String::new(),
    };
    format!("job {}: `{name}` is {}{said}", job.job, state(job.state))
}

/// The end of a download, with its number and what of a tree failed.
pub fn end(job: &JobInfo) -> Vec<String> {
    let mut lines = vec![format!("job {}: {}", job.job, outcome(job))];
    lines.extend(failures(job));
    if lines.len() > 1 {
        lines.push(format!("`retry {}` fetches what is missing", job.job));
    }
    lines
}

/// The end of a download, in a line.
pub fn outcome(job: &JobInfo) -> String {
    let name = escape(&job.name);
    let reason = job.reason.as_ref().map(|reason| format!(": {}", escape(reason)));
    let kept = match job.done {
        0 => String::new(),
        done => format!("; {} of {} are kept", text::size(done), text::size(job.size)),
    };
    match job.state {
        JobState::Done => done(job, &name),
        JobState::Cancelled => format!("`{name}` is cancelled{kept}"),
        JobState::Failed => {
            format!("`{name}` failed{}{kept}", reason.unwrap_or_default())
        }
        other => format!("`{name}` is {}", state(other)),
    }
}

fn done(job: &JobInfo, name: &str) -> String {
    let given = given(job);
    let size = text::size(job.size);
    let counted = job.files.as_ref().map(|counts| match counts.failed {
        0 => format!("{}, ", text::count_of(counts.total, "file", "files")),
        _ => format!("{}, ", files(counts)),
    });
    let counted = counted.unwrap_or_default();
    let mut line = format!("`{name}` is here: {counted}{size} in {}", text::took(job.seconds));
    // An empty file, or one that was resumed at its end, has no rate.
    if given > 0 {
        line.push_str(&format!(" ({})", text::rate(job.rate)));
    }
    let shares: Vec<String> = gave(job)
        .map(|owner| format!("{} {}%", owner.name, text::share(owner.bytes, given)))
        .collect();
    if !shares.is_empty() {
        line.push_str(&format!("; from {}", shares.join(", ")));
    }
    if job.resumed > 0 {
        line.push_str(&format!("; {} were here already", text::size(job.resumed)));
    }
    if let Some(saved) = job.saved_as.as_ref().filter(|saved| saved.as_str() != job.name) {
        let saved = escape(saved.as_str());
        line.push_str(&format!("; saved as `{saved}`, since another file has the name"));
    }
    for owner in &job.owners {
        if let Some(trouble) = &owner.trouble {
            line.push_str(&format!("; {}: {}", owner.name, escape(trouble)));
        }
    }
    line
}

/// What of a tree can't be had: the first of it, a line each.
pub fn failures(job: &JobInfo) -> Vec<String> {
    let shown = job.failures.iter().take(MOST_FAILURES);
    let mut lines: Vec<String> = shown
        .map(|failure| {
            format!("  `{}`: {}", escape(failure.name.as_str()), escape(&failure.reason))
        })
        .collect();
    let told = u64::try_from(lines.len()).unwrap_or(u64::MAX);
    let all = job.files.as_ref().map_or(0, |files| files.failed);
    let more = all.max(u64::try_from(job.failures.len()).unwrap_or(u64::MAX)) - told;
    if more > 0 {
        lines.push(format!("  and {} more", text::grouped(more)));
    }
    lines
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
pub(crate) mod tests;
