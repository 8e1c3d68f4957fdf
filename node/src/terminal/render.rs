//! Answers for people: lines of text. Pure.

use shoal_common::ident::NodeName;
use shoal_common::protocol::peers::State;

use crate::amount::{Limit, RequestSize};
use crate::app::{Identity, PeerInfo};
use crate::catalog::found::{FileInfo, Findings};
use crate::config::Limits;
use crate::membership::Link;
use crate::terminal::answer::Answer;
use crate::terminal::chat;
use crate::terminal::choose;
use crate::terminal::jobs;
use crate::terminal::text::{self, Look, Side, Table, escape};
use crate::terminal::words::{VERBS, Verb};
use crate::transfer::stats::StatRow;

/// The lines of an answer where the news of the node are shown beside it: what
/// they tell is left out.
pub fn lines_beside_news(answer: &Answer, look: Look) -> Vec<String> {
    if matches!(answer, Answer::Cancelled(_)) { Vec::new() } else { lines(answer, look) }
}

/// The lines of an answer.
pub fn lines(answer: &Answer, look: Look) -> Vec<String> {
    match answer {
        Answer::Help(None) => help(look),
        Answer::Help(Some(verb)) => help_for(verb, look),
        Answer::Identity(identity) => self::identity(identity, look),
        Answer::Clock(stamp) => vec![format!("Lamport time {stamp}")],
        Answer::Tracker(tracker) => super::office::lines(tracker.as_ref(), look),
        Answer::Files(files) => self::files(files, look),
        Answer::Peers(peers) => self::peers(peers, look),
        Answer::Chat(told) => chat::lines(told, look),
        Answer::Greeted(peer) => vec![format!("`{}` at {} is here", peer.name, peer.search)],
        Answer::Found(findings) => found(findings, look),
        Answer::Jobs(jobs, uploads) => jobs::table(jobs, uploads, look),
        Answer::Started(job) => vec![jobs::started(job)],
        Answer::Over(job) | Answer::Cancelled(job) => jobs::end(job),
        Answer::Job(job) => jobs::one(job, look),
        Answer::Changed(job) => vec![jobs::changed(job)],
        Answer::Limits(limits) => self::limits(limits, look),
        Answer::Stats(rows) => stats(rows, look),
        // What is waited for is said by the node.
        Answer::Leaving => Vec::new(),
        Answer::Left => vec!["the node has left".to_owned()],
    }
}

fn help(look: Look) -> Vec<String> {
    // The options of a long command stand in its own help.
    let short = |verb: &Verb| verb.usage.split(" [--").next().unwrap_or(verb.usage).to_owned();
    let width = VERBS.iter().map(|verb| short(verb).len()).max().unwrap_or(0);
    let mut lines: Vec<String> = VERBS
        .iter()
        .map(|verb| {
            let usage = format!("{:width$}", short(verb));
            format!("  {}  {}", look.bold(&usage), verb.summary)
        })
        .collect();
    lines.push(look.dim("`help COMMAND` says more; Tab completes, names with spaces go in quotes"));
    lines
}

fn help_for(verb: &Verb, look: Look) -> Vec<String> {
    let mut lines = vec![look.bold(verb.usage), format!("  {}", verb.summary)];
    lines.extend(verb.details.lines().map(|line| format!("  {line}")));
    lines
}

fn identity(identity: &Identity, look: Look) -> Vec<String> {
    let rows = [
        ("name", identity.name.to_string()),
        ("network", escape(&identity.network)),
        ("search", identity.search.to_string()),
        ("download", identity.download.to_string()),
        ("tracker", tracker(identity)),
        ("node id", identity.id.to_string()),
    ];
    rows.iter()
        .map(|(what, value)| format!("{}  {value}", look.bold(&format!("{what:8}"))))
        .collect()
}

fn tracker(identity: &Identity) -> String {
    match &identity.tracker {
        Some(tracker) => escape(&format!("{tracker} ({})", link(identity.link))),
        None => link(Link::None).to_owned(),
    }
}

fn link(link: Link) -> &'static str {
    match link {
        Link::None => "none; nodes find each other",
        Link::Searching => "does not answer; trying again",
        Link::Registered => "registered",
        Link::Left => "left",
    }
}

fn files(files: &[FileInfo], look: Look) -> Vec<String> {
    if files.is_empty() {
        return vec!["no files".to_owned()];
    }
    let mut table =
        Table::new(&[("NAME", Side::Left), ("SIZE", Side::Right), ("FILE ID", Side::Left)]);
    for file in files {
        table.row([escape(file.name.as_str()), text::size(file.size), file.id.to_string()]);
    }
    let mut lines = if look.width.is_none_or(|columns| table.width() <= columns) {
        table.lines(look)
    } else {
        files.iter().flat_map(|file| in_two_lines(file, look)).collect()
    };
    let total = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let count = text::count(files.len(), "file", "files");
    lines.push(look.dim(&format!("{count}, {}", text::size(total))));
    lines
}

/// A file whose row is too long for the terminal: the id stays whole, since it
/// is there to be compared.
fn in_two_lines(file: &FileInfo, look: Look) -> [String; 2] {
    let columns = look.width.unwrap_or(usize::MAX);
    let size = text::size(file.size);
    let name = text::clip(&escape(file.name.as_str()), columns.saturating_sub(size.len() + 2));
    let space = " ".repeat(66_usize.saturating_sub(text::width(&name) + size.len()).max(2));
    [format!("{name}{space}{size}"), look.dim(&format!("  {}", file.id))]
}

fn peers(peers: &[PeerInfo], look: Look) -> Vec<String> {
    if peers.is_empty() {
        return vec!["nobody else is here".to_owned()];
    }
    let mut table = Table::new(&[
        ("NAME", Side::Left),
        ("STATE", Side::Left),
        ("SEARCH", Side::Left),
        ("DOWNLOAD", Side::Left),
        ("ID", Side::Left),
        ("CONTACT", Side::Right),
        ("CLOCK", Side::Right),
    ]);
    for peer in peers {
        table.row([
            peer.name.to_string(),
            state(peer.state).to_owned(),
            peer.search.to_string(),
            peer.download.to_string(),
            peer.id.short(),
            peer.contact.map_or_else(|| "-".to_owned(), text::took),
            peer.clock.map_or_else(|| "-".to_owned(), |clock| clock.to_string()),
        ]);
    }
    table.lines(look)
}

fn state(state: State) -> &'static str {
    match state {
        State::Online => "online",
        State::Offline => "offline",
    }
}

fn limits(limits: &Limits, look: Look) -> Vec<String> {
    let rate = |limit: Limit| limit.0.map_or_else(|| "off".to_owned(), jobs::limited);
    let rows = [
        ("up", rate(limits.up)),
        ("down", rate(limits.down)),
        ("uploads", limits.max_uploads.to_string()),
        ("downloads", limits.max_downloads.to_string()),
        ("chunk-size", limits.chunk_size.to_string()),
    ];
    rows.iter()
        .map(|(what, value)| format!("{}  {value}", look.bold(&format!("{what:10}"))))
        .collect()
}

fn stats(rows: &[StatRow], look: Look) -> Vec<String> {
    if rows.is_empty() {
        return vec!["no download has been measured yet".to_owned()];
    }
    let mut table = Table::new(&[
        ("FILE", Side::Left),
        ("SIZE", Side::Right),
        ("REQUEST", Side::Right),
        ("OWNERS", Side::Right),
        ("RUNS", Side::Right),
        ("TIME", Side::Right),
        ("RATE", Side::Right),
        ("STD DEV", Side::Right),
    ])
    .flexible(0);
    for row in rows {
        table.row([
            escape(&row.name),
            text::size(row.size),
            RequestSize(row.request_size).to_string(),
            row.owners.to_string(),
            row.runs.to_string(),
            text::measured(row.seconds),
            text::rate(row.rate),
            row.deviation.map(text::measured).unwrap_or_default(),
        ]);
    }
    table.lines(look)
}

fn found(findings: &Findings, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    if findings.found.is_empty() {
        lines.push("nothing found".to_owned());
    } else {
        let mut table = Table::new(&[
            ("NAME", Side::Left),
            ("SIZE", Side::Right),
            ("ID", Side::Left),
            ("OWNERS", Side::Left),
        ]);
        for found in &findings.found {
            let owners: Vec<_> = found.owners.iter().map(|owner| owner.name.as_str()).collect();
            let name = escape(found.name.as_str());
            table.row([name, text::size(found.size), found.id.short(), owners.join(", ")]);
        }
        lines = table.lines(look);
    }
    if findings.more {
        lines.push(look.dim("there are more; a longer pattern finds fewer"));
    }
    lines.extend(silent(findings).map(|line| look.dim(&line)));
    lines
}

/// Who did not answer, or how many, if there are such.
pub fn silent(findings: &Findings) -> Option<String> {
    let names: Vec<_> = findings.silent.iter().take(8).map(NodeName::as_str).collect();
    let missing = findings.missing.max(findings.silent.len() as u64);
    match (missing.saturating_sub(names.len() as u64), names.as_slice()) {
        (0, []) => None,
        (more, []) => {
            Some(format!("no answer from {more} {}", if more == 1 { "node" } else { "nodes" }))
        }
        (0, names) => Some(format!("no answer from {}", names.join(", "))),
        (more, names) => Some(format!("no answer from {} and {more} more", names.join(", "))),
    }
}

/// The owners of a file with their positions, contents apart.
pub fn offers(findings: &Findings) -> Vec<String> {
    let mut lines = Vec::new();
    let digits = choose::offers(findings).count().to_string().len().max(3);
    let name_width =
        choose::offers(findings).map(|offer| offer.owner.name.as_str().len()).max().unwrap_or(0);
    let mut content = None;
    for offer in choose::offers(findings) {
        if content.replace(offer.content.id) != Some(offer.content.id) {
            let bytes = offer.content.size;
            // Below a thousand the size is the number of bytes.
            let size = if bytes < 1000 { String::new() } else { text::size(bytes) + "  " };
            lines.push(format!("id {}  {size}{}", offer.content.id.short(), text::bytes(bytes)));
        }
        lines.push(format!(
            "{:>digits$}  {:name_width$}  {}",
            offer.position,
            offer.owner.name.as_str(),
            offer.owner.download
        ));
    }
    if findings.found.len() > 1 {
        lines.push("these contents differ: choose by position, or with --id".to_owned());
    }
    lines.extend(silent(findings));
    lines
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
