//! The file of neighbours, read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use shoal_common::limits::MIB;
use tracing::warn;

use crate::config::Config;
use crate::membership::neighbors;
use crate::terminal::printer::complain;

/// Most bytes that are read of the file: far more than the addresses that are used
/// can have.
const MAX_FILE: u64 = MIB;

/// Adds what the file says to the addresses to begin with. Lines that are not
/// understood are told, with their numbers.
///
/// # Errors
/// The file can't be read.
pub(super) fn with_neighbors(config: Config, file: Option<&Path>) -> Result<Config, String> {
    let Some(path) = file else { return Ok(config) };
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read the neighbours file `{shown}`: {error}"))?;
    let (addresses, bad) = neighbors::parse(&String::from_utf8_lossy(&bytes));
    for line in bad {
        warn!("`{shown}`, {line}");
        complain(&format!("`{shown}`, {line}"));
    }
    let mut config = config;
    for address in addresses {
        if !config.peers.contains(&address) {
            config.peers.push(address);
        }
    }
    Ok(config)
}
