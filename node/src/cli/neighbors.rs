//! The file of neighbours, read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use shoal_common::limits::MIB;
use tracing::warn;

use crate::config::Config;
use crate::membership::neighbors;
use crate::terminal::printer::complain;
use crate::terminal::text::escape;

/// Most bytes that are read of the file: far more than the addresses that are used
/// can have.
const MAX_FILE: u64 = MIB;

/// Lines that are not understood and are told one by one; a file with more of them is
/// another kind of file.
const MOST_TOLD: usize = 8;

/// How long what is no file may take to have something to read, and to its end.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);

/// Pause before it is looked again.
const PIPE_PAUSE: Duration = Duration::from_millis(20);

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
    let (text, is_cut) = front(path)
        .map_err(|error| format!("cannot read the neighbours file `{shown}`: {error}"))?;
    let (addresses, bad) = neighbors::parse(&text);
    let mut told: Vec<String> =
        bad.iter().take(MOST_TOLD).map(|line| format!("`{shown}`, {line}")).collect();
    let more = bad.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        told.push(format!("`{shown}`: {more} more lines are not understood"));
    }
    if is_cut {
        told.push(format!("`{shown}`: what is beyond the first {MAX_FILE} bytes is not read"));
    }
    Ok((addresses, told))
}

/// The whole lines within [`MAX_FILE`], and whether there is more.
fn front(path: &Path) -> io::Result<(String, bool)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = content(file)?;
    let is_cut = bytes.len() as u64 > MAX_FILE;
    if is_cut {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), is_cut))
}

/// What a file has, up to a byte more than is used. A pipe may be one that a shell
/// fills, or one that nobody ever writes to.
fn content(file: File) -> io::Result<Vec<u8>> {
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let (mut file, mut bytes) = (file.take(MAX_FILE + 1), Vec::new());
    let deadline = Instant::now() + PIPE_PATIENCE;
    loop {
        match file.read_to_end(&mut bytes) {
            Ok(_) if !is_pipe || !bytes.is_empty() => return Ok(bytes),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ if Instant::now() > deadline => {
                return Err(io::Error::other("not a regular file, and nothing comes from it"));
            }
            _ => sleep(PIPE_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_pipe_is_read_but_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let refused = read(&path).unwrap_err();
        assert!(refused.ends_with("not a regular file, and nothing comes from it"), "{refused}");
        let mut writer = Command::new("sh")
            .arg("-c")
            .arg("echo a:1 > x")
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        assert_eq!(read(&path).unwrap().0, ["a:1"]);
        writer.wait().unwrap();
        assert_eq!(read(Path::new("/dev/null")).unwrap(), (vec![], vec![]));
    }
}
