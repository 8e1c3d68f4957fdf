//! What was said, in files for people: one line an entry, written as it comes.
//!
//! `chat_log_<name>_<start>_to_<end>.log`; while it is written, `now` stands for
//! its end. After a kill it is completed at the next start. Each line has the
//! place of its entry in the log, so that transcripts can be compared, and so
//! that a restarted node knows what is written already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shoal_common::chat::entry::Position;
use shoal_common::ident::NodeId;
use shoal_common::limits::MIB;
use shoal_common::name::is_harmful;

use super::line::Line;
use super::when;

/// Size at which the next file is begun, in bytes.
const MAX_SIZE: u64 = 64 * MIB;

/// Most bytes of lines that wait until the transcript can be written; what comes
/// beyond them is not in it.
const MAX_UNWRITTEN: usize = 1024 * 1024;

/// Stands in the header and the name for an end that has not come.
const NOW: &str = "now";

/// Beginning of the line in the header that has the end.
const TO: &str = "# to:      ";

/// What stands at the head of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) node: NodeId,
    pub(super) network: String,
    /// What the node is in the network.
    pub(super) role: &'static str,
    /// Where its tracker is.
    pub(super) tracker: String,
    /// Which log the places are of.
    pub(super) log: String,
}

/// A file that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// Its name up to the end.
    stem: String,
    size: u64,
    /// Where the end goes in the header.
    to_at: u64,
}

/// The transcripts of a node in one folder.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Without it there are none.
    folder: Option<PathBuf>,
    head: Head,
    open: Option<Open>,
    /// Lines that could not be written yet.
    unwritten: String,
}

/// How far transcripts of earlier lives go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Of which log.
    pub(super) log: String,
    pub(super) position: Position,
}

impl Transcript {
    /// None is written before the first line.
    pub(super) fn new(folder: Option<PathBuf>, head: Head) -> Self {
        Self { folder, head, open: None, unwritten: String::new() }
    }

    /// What it says at the head. A change begins another file.
    ///
    /// # Errors
    /// The present one can't be completed.
    pub(super) fn set_head(&mut self, head: Head, now_ms: u64) -> io::Result<()> {
        let is_other = (&head.name, &head.log) != (&self.head.name, &self.head.log);
        if !is_other {
            self.head = head;
            return Ok(());
        }
        let written = self.close(now_ms);
        if head.log != self.head.log {
            // Their places would be taken for places of the other log.
            self.unwritten.clear();
        }
        self.head = head;
        written
    }

    /// The places are of this log from now on.
    ///
    /// # Errors
    /// The present file can't be completed.
    pub(super) fn set_log(&mut self, log: String, now_ms: u64) -> io::Result<()> {
        self.set_head(Head { log, ..self.head.clone() }, now_ms)
    }

    /// Adds lines.
    ///
    /// # Errors
    /// They can't be written; it is tried again with the next ones.
    pub(super) fn add<'a>(&mut self, lines: impl Iterator<Item = &'a Line>) -> io::Result<()> {
        let lines: Vec<String> = lines.map(written).collect();
        self.write(&lines.concat())
    }

    /// Adds a line that is about this node alone.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub(super) fn remark(&mut self, remark: &str, now_ms: u64) -> io::Result<()> {
        self.write(&format!("{} - SYSTEM * {remark}\n", when::moment(now_ms)))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.folder.is_some() && self.unwritten.len() + text.len() <= MAX_UNWRITTEN {
            self.unwritten.push_str(text);
        }
        self.write_out()
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(folder) = self.folder.clone().filter(|_| !self.unwritten.is_empty()) else {
            return Ok(());
        };
        if self.open.as_ref().is_some_and(|open| open.size > MAX_SIZE) {
            self.complete(when::now_ms())?;
        }
        if self.open.is_none() {
            self.open = Some(begin(&folder, &self.head, when::now_ms())?);
        }
        if let Some(open) = &mut self.open {
            if let Err(error) = open.file.write_all(self.unwritten.as_bytes()) {
                // Half a line would be doubled by the next attempt.
                open.file.set_len(open.size).ok();
                return Err(error);
            }
            open.size += self.unwritten.len() as u64;
            self.unwritten.clear();
        }
        Ok(())
    }

    /// Completes the present file.
    ///
    /// # Errors
    /// It can't be written or renamed.
    pub(super) fn close(&mut self, now_ms: u64) -> io::Result<()> {
        let written = self.write_out();
        self.complete(now_ms).and(written)
    }

    fn complete(&mut self, now_ms: u64) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        complete(&open.path, open.to_at, &open.stem, now_ms)
    }
}

fn begin(folder: &Path, head: &Head, now_ms: u64) -> io::Result<Open> {
    fs::create_dir_all(folder)?;
    let Head { name, node, network, role, tracker, log } = head;
    let from = when::moment(now_ms);
    let space = " ".repeat(from.len() - NOW.len());
    let upper = format!(
        "# chat of node `{name}` in network `{}`\n# node:    {node}\n# role:    {role}\n\
         # tracker: {}\n# log:     {log}\n# from:    {from}\n",
        harmless(network),
        harmless(tracker)
    );
    let to_at = (upper.len() + TO.len()) as u64;
    let text = format!("{upper}{TO}{NOW}{space}\n");
    let mut number = 1;
    loop {
        // Two of one second have a number.
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let stem = format!("chat_log_{name}_{}{again}", when::stamp(now_ms));
        let path = folder.join(format!("{stem}_to_{NOW}.log"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                number += 1;
            }
            file => {
                let mut file = file?;
                if let Err(error) = file.write_all(text.as_bytes()) {
                    // Else each attempt on a full disk would leave a file.
                    fs::remove_file(&path).ok();
                    return Err(error);
                }
                return Ok(Open { file, path, stem, size: text.len() as u64, to_at });
            }
        }
    }
}

fn complete(path: &Path, to_at: u64, stem: &str, end_ms: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(when::moment(end_ms).as_bytes(), to_at)?;
    fs::rename(path, path.with_file_name(format!("{stem}_to_{}.log", when::stamp(end_ms))))
}

/// Completes what an earlier life of this node has left, and tells how far its
/// transcripts go. What is half a line is cut off.
pub(super) fn recover(folder: &Path, node: NodeId) -> Vec<Written> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let ours = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.strip_suffix(&format!("_to_{NOW}.log"))?;
        stem.starts_with("chat_log_").then(|| (entry.path(), stem.to_owned()))
    });
    ours.filter_map(|(path, stem)| match recover_one(&path, &stem, node) {
        Ok(written) => written,
        Err(error) => {
            tracing::warn!("the transcript `{}` can't be completed: {error}", path.display());
            None
        }
    })
    .collect()
}

fn recover_one(path: &Path, stem: &str, node: NodeId) -> io::Result<Option<Written>> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default()).into_owned();
    if field(&text, "# node:").as_deref() != Some(node.to_string().as_str()) {
        return Ok(None);
    }
    OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    let last = text.lines().rev().find_map(position_in);
    let log = field(&text, "# log:");
    let end = fs::metadata(path)?.modified()?;
    let end = end.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Some(at) = text.find(TO) {
        let end_ms = u64::try_from(end.as_millis()).unwrap_or(u64::MAX);
        complete(path, (at + TO.len()) as u64, stem, end_ms)?;
    }
    Ok(log.zip(last).map(|(log, position)| Written { log, position }))
}

/// How far the transcripts of this node go of the log of the last one in which there is
/// anything. That is the one that says so: a copied file is as new as its copy. Of one
/// log it is not the last that counts, but the furthest, wherever the clock stood.
pub(super) fn last(folder: &Path, node: NodeId, network: &str) -> Option<Written> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("chat_log_"));
    let mut ours: Vec<_> =
        ours.filter_map(|entry| beginning_and_end(&entry.path(), node, network)).collect();
    ours.sort_by(|(one, _), (other, _)| one.cmp(other));
    let log = ours.last()?.1.log.clone();
    let of_log = ours.into_iter().map(|(_, written)| written).filter(|written| written.log == log);
    of_log.max_by_key(|written| written.position)
}

/// When a transcript of this node begins and how far it goes; none of a transcript of
/// another one, or without anything in it.
fn beginning_and_end(path: &Path, node: NodeId, network: &str) -> Option<(String, Written)> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let is_ours = field(&text, "# node:")? == node.to_string()
        && text.lines().next()?.ends_with(&format!("in network `{}`", harmless(network)));
    let position = text.lines().rev().find_map(position_in).filter(|_| is_ours)?;
    Some((field(&text, "# from:")?, Written { log: field(&text, "# log:")?, position }))
}

/// What stands behind a name in the header.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().to_owned())
}

/// The place in a line of a transcript.
fn position_in(line: &str) -> Option<Position> {
    let place = line.split(' ').nth(3)?;
    place.strip_prefix('#')?.parse().ok().filter(|_| !line.starts_with('#'))
}

fn written(line: &Line) -> String {
    let (time, kind) = (when::moment(line.time_ms), line.kind.word());
    format!("{time} #{} {kind} {}\n", line.position, harmless(&line.said()))
}

/// A text in one line, without what would disturb a reader's terminal.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            harmless.extend(c.escape_unicode());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::line::Kind;

    fn head() -> Head {
        Head {
            name: "alice".into(),
            node: NodeId::from_bytes([7; 32]),
            network: "shoal".into(),
            role: "node",
            tracker: "127.0.0.1:12345".into(),
            log: "0-1-2".into(),
        }
    }

    fn line(position: Position, text: &str) -> Line {
        Line {
            position,
            lamport: 5,
            time_ms: 1_764_345_839_250,
            kind: Kind::User,
            room: Some("lobby".parse().unwrap()),
            from: Some("bob".into()),
            to: None,
            text: text.into(),
            refused: None,
        }
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_transcript_from_its_head_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut transcript = Transcript::new(Some(folder.path().join("deep")), head());
        transcript.add([line(4, "hello"), line(6, "a\nb\u{1b}[2J")].iter()).unwrap();
        transcript.remark("cut off", 1_764_345_839_251).unwrap();
        let [(name, _)] = files(&folder.path().join("deep")).try_into().unwrap();
        assert!(name.starts_with("chat_log_alice_2") && name.ends_with("_to_now.log"), "{name}");
        transcript.close(1_764_345_900_000).unwrap();
        let [(name, text)] = files(&folder.path().join("deep")).try_into().unwrap();
        assert!(name.ends_with("_to_20251128T160500.log"), "{name}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "# chat of node `alice` in network `shoal`");
        assert_eq!(lines[2], "# role:    node");
        assert_eq!(lines[3], "# tracker: 127.0.0.1:12345");
        assert_eq!(lines[6], "# to:      2025-11-28 16:05:00.000 UTC");
        assert_eq!(lines[7], "2025-11-28 16:03:59.250 UTC #4 USER [lobby] bob: hello");
        let escaped = "2025-11-28 16:03:59.250 UTC #6 USER [lobby] bob: a\\u{a}b\\u{1b}[2J";
        assert_eq!(lines[8], escaped);
        assert_eq!(lines[9], "2025-11-28 16:03:59.251 UTC - SYSTEM * cut off");
        assert_eq!(lines.len(), 10);
    }

    #[test]
    fn after_a_kill_it_is_completed_and_says_how_far_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut transcript = Transcript::new(Some(folder.path().to_owned()), head());
        transcript.add([line(4, "hello #9 "), line(12, "# you")].iter()).unwrap();
        let path = transcript.open.as_ref().unwrap().path.clone();
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"2025-11-28 16:04:00.000 UTC #13 USER [lobby] bo").unwrap();
        drop(transcript);
        assert_eq!(recover(folder.path(), NodeId::from_bytes([8; 32])), [], "of another node");
        let written = recover(folder.path(), NodeId::from_bytes([7; 32]));
        assert_eq!(written, [Written { log: "0-1-2".into(), position: 12 }]);
        let [(name, text)] = files(folder.path()).try_into().unwrap();
        assert!(!name.contains("now") && !text.contains("now"), "{name}: {text}");
        assert!(text.ends_with("# you\n"), "{text}");
        assert_eq!(recover(folder.path(), NodeId::from_bytes([7; 32])), []);
        // What is complete is looked at where nothing else is known.
        let [us, other] = [7, 8].map(|byte| NodeId::from_bytes([byte; 32]));
        assert_eq!(last(folder.path(), us, "shoal"), written.into_iter().next());
        assert_eq!(last(folder.path(), other, "shoal"), None, "of another node");
        assert_eq!(last(folder.path(), us, "hoal"), None, "of another network");
    }

    #[test]
    fn the_furthest_of_the_last_log_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |log: &str, position, now_ms| {
            let head = Head { log: log.into(), ..head() };
            let begun = begin(folder.path(), &head, now_ms).unwrap();
            let Open { mut file, path, stem, to_at, .. } = begun;
            file.write_all(written(&line(position, "x")).as_bytes()).unwrap();
            complete(&path, to_at, &stem, now_ms + 1000).unwrap();
        };
        // The clock was set back between the first two; by the times of the files, that of
        // the log before is the newest.
        for (log, position, now_ms) in
            [("0-1-3", 6, 9_000_000), ("0-1-3", 8, 8_000_000), ("0-1-2", 99, 1_000_000)]
        {
            write(log, position, now_ms);
        }
        let last = last(folder.path(), NodeId::from_bytes([7; 32]), "shoal");
        assert_eq!(last, Some(Written { log: "0-1-3".into(), position: 8 }));
    }

    #[test]
    fn what_can_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        // Where the folder should be, something else is.
        fs::write(&logs, "").unwrap();
        let mut transcript = Transcript::new(Some(logs.clone()), head());
        assert!(transcript.remark("first", 0).is_err());
        // Another name begins another file, and loses nothing.
        assert!(transcript.set_head(Head { name: "bob".into(), ..head() }, 0).is_err());
        fs::remove_file(&logs).unwrap();
        transcript.remark("second", 0).unwrap();
        transcript.close(0).unwrap();
        let files: Vec<_> = fs::read_dir(&logs).unwrap().collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        let text = fs::read_to_string(file.as_ref().unwrap().path()).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("SYSTEM")).collect();
        let [first, second] = lines[..] else { panic!("{text}") };
        assert!(first.ends_with("first") && second.ends_with("second"), "{text}");
    }
}
