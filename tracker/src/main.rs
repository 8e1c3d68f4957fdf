//! The program `shoal-tracker`; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoal_tracker::cli::main().into()
}
