//! How far a download is, in one line that fits. Pure.

use crate::terminal::jobs;
use crate::terminal::text::{self, Look, escape};
use crate::transfer::job::{JobInfo, JobState};

/// Widest bar, in columns.
const WIDEST_BAR: usize = 30;
/// Narrowest bar that says something.
const NARROWEST_BAR: usize = 6;
/// Columns that a name gets before the bar gets any.
const SHORT_NAME: usize = 12;

/// The line of a download, at most as wide as the terminal.
pub fn line(job: &JobInfo, look: Look) -> String {
    // One column stays free: some terminals wrap when the last one is written.
    let columns = look.width.unwrap_or(80).saturating_sub(1);
    let name = escape(job.name.as_str());
    let wanted = text::width(&name).min(SHORT_NAME);
    let fits = |facts: &String| text::width(facts) + 2 + wanted <= columns;
    let mut shorter = facts(job);
    let facts = loop {
        let least = shorter.len() <= 1;
        match shorter.pop() {
            Some(facts) if least || fits(&facts) => break facts,
            Some(_) => {}
            None => break String::new(),
        }
    };
    let room = columns.saturating_sub(text::width(&facts));
    let bar = room.saturating_sub(wanted + 3).min(WIDEST_BAR);
    if bar < NARROWEST_BAR {
        let name = text::clip(&name, room.saturating_sub(2));
        return text::clip(&format!("{name}  {facts}"), columns);
    }
    let for_name = room.saturating_sub(bar + 3);
    format!("{}  {} {facts}", text::clip(&name, for_name), self::bar(job, bar, look))
}

/// Percent, rate, time left, owners in use; or what it waits for. The last
/// says it all, those before it less and less.
fn facts(job: &JobInfo) -> Vec<String> {
    let percent = format!("{:>3}%", jobs::percent(job));
    let all = match job.state {
        JobState::Starting => format!("{percent}  {} here, starting", text::size(job.done)),
        JobState::Waiting => {
            let reason = job.reason.as_deref().unwrap_or("waiting for an owner");
            // The name stands in front already.
            let reason = reason.replacen(&format!(" of `{}`", job.name), "", 1);
            format!("{percent}  {}", text::clip(&escape(&reason), 40))
        }
        JobState::Running => return running(job, percent),
        over => format!("{percent}  {}", jobs::state(over)),
    };
    vec![percent, all]
}

fn running(job: &JobInfo, percent: String) -> Vec<String> {
    let left = job.left.map_or_else(|| "-:--".to_owned(), text::clock);
    // Of a tree, how many files are here says more.
    let last = match &job.files {
        Some(files) => jobs::files(files),
        None => text::count(jobs::active(job), "owner", "owners"),
    };
    let with_rate = format!("{percent}  {:>8}", text::rate(job.rate));
    let with_time = format!("{with_rate}  {left:>5} left");
    let all = format!("{with_time}  {last}");
    vec![percent, with_rate, with_time, all]
}

fn bar(job: &JobInfo, columns: usize, look: Look) -> String {
    let percent = usize::from(jobs::percent(job));
    let full = columns * percent / 100;
    let done = "━".repeat(full);
    let rest = "─".repeat(columns - full.min(columns));
    format!("{}{}", look.good(&done), look.dim(&rest))
}

/// Most lines of the status area.
const MOST_LINES: usize = 4;

/// The lines of all downloads under way, so few that the terminal stays a
/// terminal.
pub fn lines(jobs: &[JobInfo], look: Look, rows: usize) -> Vec<String> {
    let resting = |job: &JobInfo| matches!(job.state, JobState::Queued | JobState::Paused);
    let under_way = jobs.iter().filter(|job| !job.state.is_over());
    let (resting, running): (Vec<&JobInfo>, Vec<&JobInfo>) =
        under_way.partition(|job| resting(job));
    let most = MOST_LINES.min(rows / 4);
    let shown = if running.len() > most { most.saturating_sub(1) } else { running.len() };
    let mut lines: Vec<String> = running.iter().take(shown).map(|job| line(job, look)).collect();
    let more = running.len() - shown;
    if more > 0 && lines.len() < most {
        let rate = running.iter().skip(shown).map(|job| job.rate).sum();
        let said = text::count(more, "more download", "more downloads");
        let said = format!("{said}, {} together; `jobs` lists them", text::rate(rate));
        lines.push(look.dim(&text::clip(&said, look.width.unwrap_or(80).saturating_sub(1))));
    }
    if !resting.is_empty() && lines.len() < most {
        lines.push(look.dim(&self::resting(&resting)));
    }
    lines
}

/// Those for which nothing is done now.
fn resting(jobs: &[&JobInfo]) -> String {
    let number = |state| jobs.iter().filter(|job| job.state == state).count();
    let said = [(JobState::Queued, "queued"), (JobState::Paused, "paused")];
    let said: Vec<String> = said
        .into_iter()
        .map(|(state, word)| (number(state), word))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::jobs::tests::{job, tree};

    fn running() -> JobInfo {
        let (state, done) = (JobState::Running, 165_000_000);
        JobInfo { state, done, left: Some(7.3), rate: 3.15e8, ..job() }
    }

    fn look(width: usize) -> Look {
        Look { color: false, width: Some(width) }
    }

    #[test]
    fn a_line_says_it_all() {
        assert_eq!(
            line(&running(), look(80)),
            "file.deb  ━━━━━━━━━━━━──────────────────  41%  315 MB/s   0:07 left  3 owners"
        );
    }

    #[test]
    fn of_a_tree_the_files_are_counted() {
        let job = JobInfo { files: tree(2).files, ..running() };
        let line = line(&job, look(80));
        assert!(line.ends_with("0:07 left  998 of 1,000 files, 2 failed"), "{line}");
    }

    #[test]
    fn a_narrow_line_keeps_what_matters() {
        assert_eq!(line(&running(), look(40)), "file.deb   41%  315 MB/s   0:07 left");
        assert_eq!(line(&running(), look(30)), "file.deb   41%  315 MB/s");
        assert_eq!(line(&running(), look(20)), "file.deb   41%");
    }

    #[test]
    fn a_line_fits_everywhere() {
        let waiting = JobInfo {
            state: JobState::Waiting,
            reason: Some("waiting for an owner of `a rather long name, as they come`".into()),
            ..running()
        };
        let starting = JobInfo { state: JobState::Starting, ..running() };
        let long = JobInfo { name: "名前".repeat(40), ..running() };
        for job in [running(), waiting, starting, long] {
            for width in 1..200 {
                let line = line(&job, look(width));
                assert!(text::width(&line) < width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn many_downloads_take_few_lines() {
        let jobs: Vec<_> = (0..10).map(|job| JobInfo { job, ..running() }).collect();
        assert_eq!(lines(&jobs[..2], look(80), 24).len(), 2);
        let all = lines(&jobs, look(80), 24);
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], "7 more downloads, 2.21 GB/s together; `jobs` lists them");
        assert_eq!(lines(&jobs, look(80), 8).len(), 2);
        assert!(lines(&jobs, look(80), 3).is_empty());
        assert!(lines(&[job()], look(80), 24).is_empty());
        let resting = |state| JobInfo { state, ..running() };
        let jobs = [resting(JobState::Queued), running(), resting(JobState::Paused)];
        let lines = lines(&jobs, look(80), 24);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1], "1 queued, 1 paused");
    }
}
