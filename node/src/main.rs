//! `shoal-node`: shares a folder, searches, fetches.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoal_node::cli::run(std::env::args_os()).into()
}
