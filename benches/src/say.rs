//! The one door to the terminal: results to standard output, the rest to
//! standard error. Nobody listening is no reason to stop measuring.

use std::fmt::Display;
use std::io::{self, Write};

/// A line of a result.
pub fn result(line: impl Display) {
    let mut to = io::stdout().lock();
    writeln!(to, "{line}").and_then(|()| to.flush()).ok();
}

/// A line that says what happens now.
pub fn note(line: impl Display) {
    writeln!(io::stderr().lock(), "{line}").ok();
}
