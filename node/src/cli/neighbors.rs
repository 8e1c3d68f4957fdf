//! The file of neighbours, read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use shoal_common::limits::MIB;
use tracing::warn;

use crate::config::Config;
use crate::membership::neighbors::{self, Listed, MAX_NEIGHBORS};
use crate::terminal::printer::complain;
use crate::terminal::text::escape;

/// Most bytes that are read of the file: far more than the addresses that are used
/// can have.
const MAX_FILE: u64 = MIB;

/// Lines that are not understood and are told one by one; a file with more of them is
/// another kind of file.
const MOST_TOLD: usize = 8;

/// How long what is no file may take to its end: a command that writes the addresses
/// may have to ask another machine.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// Adds what the file says to the addresses to begin with. Lines that are not
/// understood are told, with their numbers.
///
/// # Errors
/// The file can't be read.
pub(super) fn with_neighbors(config: Config, file: Option<&Path>) -> Result<Config, String> {
    let Some(path) = file else { return Ok(config) };
    let (addresses, told) = read(path)?;
    for line in told {
        warn!("{line}");
        complain(&line);
    }
    let mut config = config;
    for address in addresses {
        if !config.peers.contains(&address) {
            config.peers.push(address);
        }
    }
    Ok(config)
}

/// The addresses in the file, and what is to be told of it.
fn read(path: &Path) -> Result<(Vec<String>, Vec<String>), String> {
    let shown = escape(&path.display().to_string());
    let (text, is_cut) = front(path, PIPE_PATIENCE)
        .map_err(|error| format!("cannot read the neighbours file `{shown}`: {error}"))?;
    let Listed { addresses, bad, unread } = neighbors::parse(&text);
    let mut told: Vec<String> =
        bad.iter().take(MOST_TOLD).map(|line| format!("`{shown}`, {line}")).collect();
    match bad.len().saturating_sub(MOST_TOLD) {
        0 => {}
        1 => told.push(format!("`{shown}`: 1 more line is not understood")),
        more => told.push(format!("`{shown}`: {more} more lines are not understood")),
    }
    if let Some(line) = unread {
        told.push(format!(
            "`{shown}`: from line {line} on it is not read: at most {MAX_NEIGHBORS} addresses are"
        ));
    }
    if is_cut {
        told.push(format!("`{shown}`: what is beyond the first {MAX_FILE} bytes is not read"));
    }
    Ok((addresses, told))
}

/// The whole lines within [`MAX_FILE`], and whether there is more.
fn front(path: &Path, patience: Duration) -> io::Result<(String, bool)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = content(file, patience)?;
    let is_cut = bytes.len() as u64 > MAX_FILE;
    if is_cut {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), is_cut))
}

/// What a file has, up to a byte more than is used. A pipe may be one that a command
/// fills, or one that nobody ever writes to; it has ended when whoever wrote to it is gone.
fn content(file: File, patience: Duration) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes) = (file.take(MAX_FILE + 1), Vec::new());
    let deadline = Instant::now() + patience;
    loop {
        if !has_more(file.get_ref(), deadline)? {
            let seconds = patience.as_secs_f32();
            let trouble = match bytes.is_empty() {
                true => format!("nothing has come from it for {seconds} s"),
                false => format!("it has not ended after {seconds} s"),
            };
            return Err(io::Error::other(format!(
                "{trouble}, and it is a pipe or a device; write the addresses to a file first"
            )));
        }
        match file.read_to_end(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until there is something to read, or the end. Files are always ready.
fn has_more(file: &File, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_that_is_none_of_addresses_is_told_in_a_few_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "a\x1b[2J:\x1b]0;x\n".repeat(5000)).unwrap();
        let (addresses, told) = read(&path).unwrap();
        assert_eq!((addresses.len(), told.len()), (0, MOST_TOLD + 1));
        assert!(told.iter().all(|line| !line.contains(char::is_control)), "{told:?}");
        assert!(told[MOST_TOLD].ends_with("4992 more lines are not understood"), "{told:?}");
    }

    #[test]
    fn of_a_file_that_is_too_long_no_half_line_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let most = usize::try_from(MAX_FILE).unwrap();
        let comment = "#\n".repeat(most / 2 - 1);
        std::fs::write(&path, format!("a:1\n{comment}b:234\n")).unwrap();
        let (addresses, told) = read(&path).unwrap();
        assert_eq!(addresses, ["a:1"]);
        assert!(told.len() == 1 && told[0].contains("is not read"), "{told:?}");
        std::fs::write(&path, "#\n".repeat(most / 2)).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![], vec![]));
    }

    #[test]
    fn that_there_are_too_many_is_told_beside_bad_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let many: String = (0..2000).map(|n| format!("node{n}:1\n")).collect();
        std::fs::write(&path, format!("{}{many}", "x\n".repeat(MOST_TOLD + 1))).unwrap();
        let (addresses, told) = read(&path).unwrap();
        assert_eq!(addresses.len(), MAX_NEIGHBORS);
        let [.., more, too_many] = &told[..] else { panic!("{told:?}") };
        assert!(more.ends_with(": 1 more line is not understood"), "{more}");
        assert!(too_many.contains("from line 1034 on it is not read"), "{too_many}");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_but_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writes = |script: &str| {
            Command::new("sh").args(["-c", script]).current_dir(dir.path()).spawn().unwrap()
        };
        let patience = Duration::from_millis(200);
        let refused = front(&path, patience).unwrap_err().to_string();
        assert!(refused.starts_with("nothing has come from it for 0.2 s"), "{refused}");
        let mut slow = writes("exec > x; echo a:1; sleep 0.5; echo b:1");
        assert_eq!(read(&path).unwrap().0, ["a:1", "b:1"]);
        slow.wait().unwrap();
        // One that has nothing to say says so by its end.
        let mut silent = writes(": > x");
        assert_eq!(read(&path).unwrap(), (vec![], vec![]));
        silent.wait().unwrap();
        let mut endless = File::options().read(true).write(true).open(&path).unwrap();
        endless.write_all(b"a:1\n").unwrap();
        let refused = front(&path, patience).unwrap_err().to_string();
        assert!(refused.starts_with("it has not ended after 0.2 s"), "{refused}");
        assert_eq!(read(Path::new("/dev/null")).unwrap(), (vec![], vec![]));
    }
}
