//! The neighbours file: one address a line. Pure.
//!
//! White space at both ends is ignored, so is what follows a `#`, and so are
//! empty lines. What is no address is told with the number of its line, and the
//! rest of the file is used.

use crate::config::host_port;

/// Most addresses that are read: enough for a list of everyone in a large place,
/// of whom any one suffices.
pub const MAX_NEIGHBORS: usize = 1024;

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 60;

/// A line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: `{text}`: {problem}")]
pub struct BadLine {
    number: usize,
    text: String,
    problem: String,
}

/// What stands in a neighbours file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// The addresses, `"host:port"` each.
    pub addresses: Vec<String>,
    /// What is wrong with other lines.
    pub bad: Vec<BadLine>,
    /// The first line that is not read, where there are more than [`MAX_NEIGHBORS`].
    pub unread: Option<usize>,
}

/// Reads a neighbours file.
pub fn parse(text: &str) -> Listed {
    let mut listed = Listed::default();
    let Listed { addresses, bad, unread } = &mut listed;
    // Editors of some systems put this in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1_usize..) {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let wrong = |problem: String| BadLine {
            number,
            text: word.chars().take(SHOWN).collect::<String>().escape_debug().to_string(),
            problem,
        };
        match host_port(word) {
            Err(problem) => bad.push(wrong(problem)),
            Ok(_) if word.contains(char::is_whitespace) => {
                bad.push(wrong("one address goes on a line".to_owned()));
            }
            Ok(address) if addresses.contains(&address) => {}
            Ok(_) if addresses.len() >= MAX_NEIGHBORS => {
                *unread = Some(number);
                break;
            }
            Ok(address) => addresses.push(address),
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_comments_and_bad_lines() {
        let text = "\u{feff}# the neighbours\n\nnode1:4000\n  10.0.0.2:4000  # the one upstairs\r\n\
                    node1:4000\n[::1]:5\nnode3\nnode4:0\n10.0.0.5:4000 10.0.0.6:4000\n\
                    bad\u{1b}[2J:x\n::1:5\n:9\na\u{1b}c:1\n#\n";
        let Listed { addresses, bad, unread } = parse(text);
        assert_eq!(unread, None);
        assert_eq!(addresses, ["node1:4000", "10.0.0.2:4000", "[::1]:5"]);
        let bad: Vec<String> = bad.iter().map(BadLine::to_string).collect();
        assert_eq!(bad[0], "line 7: `node3`: it is HOST:PORT; the port is missing");
        assert_eq!(bad[1], "line 8: `node4:0`: it is HOST:PORT; `0` is no port (1 to 65535)");
        assert!(bad[2].starts_with("line 9: `10.0.0.5:4000 10.0.0.6:4000`: "), "{}", bad[2]);
        assert!(bad[3].starts_with("line 10: ") && !bad[3].contains('\u{1b}'), "{}", bad[3]);
        let [.., host] = &bad[..] else { panic!("{bad:?}") };
        assert!(host.starts_with("line 13: ") && host.ends_with(" is no host"), "{host}");
        assert!(!host.contains('\u{1b}'), "{host}");
        assert_eq!(bad.len(), 7);
        assert_eq!(parse(""), Listed::default());
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let many: String = (0..5000).map(|n| format!("node{n}:1\n")).collect();
        let Listed { addresses, bad, unread } = parse(&many);
        assert_eq!((addresses.len(), bad.len(), unread), (MAX_NEIGHBORS, 0, Some(1025)));
        let long = "x".repeat(100_000);
        assert!(parse(&long).bad[0].to_string().len() < 200);
    }
}
