//! Lists of pieces with their SHA-1, as BitTorrent and Metalink have them.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use crate::failure::{Attempt, Failure, Outcome};
use crate::process::program;
use crate::size::{BIG, MIB};

/// Bytes of a piece: 1 MiB, as Shoal's chunks; 4 MiB for large files, as usual.
pub fn piece_size(size: u64) -> u64 {
    if size > 2 * BIG { 4 * MIB } else { MIB }
}

/// The SHA-1 of each piece of the files, one behind the other, in hexadecimal.
///
/// # Errors
/// The files can't be read, or `split` and `sha1sum` not be run.
pub fn sha1(files: &[PathBuf], piece: u64) -> Outcome<Vec<String>> {
    let mut split = program("split");
    split.args(["--bytes", &piece.to_string(), "--filter", "sha1sum", "-"]);
    split.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = split.spawn().attempt("`split`")?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("`split` reads nothing"))?;
    let output = thread::scope(|scope| {
        let feed = scope.spawn(move || {
            files
                .iter()
                .try_for_each(|path| io::copy(&mut File::open(path)?, &mut stdin).map(|_| ()))
        });
        let output = child.wait_with_output();
        feed.join().map_err(|_| Failure::new("a thread panicked"))?.attempt("`split`")?;
        Ok::<_, Failure>(output?)
    })?;
    let said = String::from_utf8(output.stdout)?;
    Ok(said.lines().filter_map(|line| line.get(..40).map(str::to_owned)).collect())
}

/// A torrent of one file or, by paths relative to `folder`, of all its files.
///
/// # Errors
/// The files can't be read.
pub fn torrent(path: &Path) -> Outcome<Vec<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = path
            .read_dir()?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
    }
    let sizes =
        files.iter().map(|file| Ok(file.metadata()?.len())).collect::<io::Result<Vec<_>>>()?;
    let piece = piece_size(sizes.iter().sum());
    let hashes = sha1(&files, piece)?;
    let mut out = b"d4:infod".to_vec();
    if path.is_dir() {
        out.extend(b"5:filesl");
        for (file, size) in files.iter().zip(&sizes) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            out.extend(format!("d6:lengthi{size}e4:pathl{}:{name}ee", name.len()).bytes());
        }
        out.push(b'e');
    } else {
        out.extend(format!("6:lengthi{}e", sizes.iter().sum::<u64>()).bytes());
    }
    out.extend(format!("4:name{}:{name}12:piece lengthi{piece}e", name.len()).bytes());
    out.extend(format!("6:pieces{}:", hashes.len() * 20).bytes());
    for hash in &hashes {
        out.extend(from_hex(hash)?);
    }
    out.extend(b"ee");
    Ok(out)
}

/// A Metalink of one file with its pieces and its mirrors.
///
/// # Errors
/// The file can't be read.
pub fn metalink(file: &Path, urls: &[String]) -> Outcome<String> {
    let size = file.metadata()?.len();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let piece = piece_size(size);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\n\
         <file name=\"{name}\"><size>{size}</size>\n<pieces length=\"{piece}\" type=\"sha-1\">\n"
    );
    for hash in sha1(&[file.to_owned()], piece)? {
        writeln!(text, "<hash>{hash}</hash>")?;
    }
    text.push_str("</pieces>\n");
    for url in urls {
        writeln!(text, "<url>{url}</url>")?;
    }
    text.push_str("</file>\n</metalink>\n");
    Ok(text)
}

fn from_hex(text: &str) -> Outcome<Vec<u8>> {
    let digits = |at: usize| text.get(at..at + 2).unwrap_or_default();
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at), 16)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn pieces_of_known_content() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("some");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a"), "ab").unwrap();
        fs::write(folder.join("b"), "c").unwrap();
        // SHA-1 of "abc", of "a", of "".
        let files = [folder.join("a"), folder.join("b")];
        assert_eq!(sha1(&files, 3).unwrap(), ["a9993e364706816aba3e25717850c26c9cd0d89d"]);
        assert_eq!(sha1(&files, 1).unwrap()[0], "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        let torrent = torrent(&folder).unwrap();
        let start = b"d4:infod5:filesld6:lengthi2e4:pathl1:aeed6:lengthi1e4:pathl1:beee4:name4:some12:piece lengthi1048576e6:pieces20:\xa9\x99\x3e";
        assert_eq!(&torrent[..start.len()], start);
        let metalink = metalink(&folder.join("b"), &["http://x/b".to_owned()]).unwrap();
        assert!(metalink.contains("<size>1</size>") && metalink.contains("<url>http://x/b</url>"));
    }
}
