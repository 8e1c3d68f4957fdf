//! What a node is told at its start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shoal_common::clock::Clock;
use shoal_common::ident::NodeName;
use shoal_common::limits::{EXCHANGE, GRACE, MAX_DOWNLOADS, MAX_UPLOADS};
use shoal_common::protocol::greeting::DEFAULT_NETWORK;

use crate::amount::{Limit, RequestSize};

/// Where the tracker is unless another place is given: its fixed address on the
/// bridge network of the containers.
pub const DEFAULT_TRACKER: &str = "172.20.0.2:12345";

/// A place that can be called: a name or an address, and a port.
///
/// # Errors
/// What is wrong with it.
pub fn host_port(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("it is HOST:PORT; the port is missing")?;
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("it is HOST:PORT; `{}` is no port (1 to 65535)", shown(port)));
    }
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match in_brackets {
        Some(ip) if ip.parse::<Ipv6Addr>().is_ok() => Ok(text.to_owned()),
        None if host.contains([':', '[', ']']) => {
            Err("an IPv6 address goes in brackets, as in `[::1]:12345`".to_owned())
        }
        None if !host.trim().is_empty() && !host.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("it is HOST:PORT; `{}` is no host", shown(host))),
    }
}

/// The front of what may be anything, as it may be on a terminal.
fn shown(text: &str) -> String {
    text.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect()
}

/// Longest part of what is no address that is shown, in characters.
const MOST_SHOWN: usize = 60;

/// The folder that is shared unless another is given.
pub const DEFAULT_FILES: &str = "node_files";

/// The folder for logs unless another is given.
pub const DEFAULT_LOGS: &str = "logs";

/// How much of the machine and its network transfers may take. Can be changed
/// while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes a second that leave, of all uploads together.
    pub up: Limit,
    /// Bytes a second that arrive, of all downloads together.
    pub down: Limit,
    /// Most uploads at once: 1 to [`MAX_UPLOADS`].
    pub max_uploads: usize,
    /// Most downloads that run at once: 1 to [`MAX_DOWNLOADS`].
    pub max_downloads: usize,
    /// Bytes asked for in one request.
    pub chunk_size: RequestSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            up: Limit(None),
            down: Limit(None),
            max_uploads: MAX_UPLOADS,
            max_downloads: MAX_DOWNLOADS,
            chunk_size: RequestSize::default(),
        }
    }
}

/// How bytes leave a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// From a mapped window, which the kernel copies into the socket.
    #[default]
    Mmap,
    /// The pages of the file become those of the socket (`sendfile`).
    Sendfile,
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mmap => "mmap",
            Self::Sendfile => "sendfile",
        })
    }
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mmap" => Ok(Self::Mmap),
            "sendfile" => Ok(Self::Sendfile),
            _ => Err("it is `mmap` or `sendfile`".to_owned()),
        }
    }
}

/// What a node is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The tracker, `"host:port"`; none where nodes find each other alone.
    pub tracker: Option<String>,
    /// Search addresses of nodes to begin with, `"host:port"` each.
    pub peers: Vec<String>,
    /// How often another node is asked for the peers that it knows.
    pub exchange: Duration,
    /// The local address on which others are served.
    pub listen: IpAddr,
    /// The address told to the others; without it, the local address of the
    /// connection to the tracker.
    pub advertise: Option<IpAddr>,
    /// Port for searches; 0 for a random one.
    pub search_port: u16,
    /// Port for content; 0 for a random one.
    pub download_port: u16,
    /// The folder that is shared.
    pub files: PathBuf,
    /// The name it asks for; without it, the host name, with a number behind
    /// it where that is taken.
    pub name: Option<NodeName>,
    /// The network it belongs to.
    pub network: String,
    /// How long running transfers are waited for on leaving.
    pub grace: Duration,
    /// How much transfers may take.
    pub limits: Limits,
    /// How bytes leave a shared file.
    pub io: Io,
    /// Where transcripts of the chat go; without it there are none.
    pub transcripts: Option<PathBuf>,
    /// Its Lamport clock; the log of the process shows the same.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tracker: Some(DEFAULT_TRACKER.to_owned()),
            peers: Vec::new(),
            exchange: EXCHANGE,
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            advertise: None,
            search_port: 0,
            download_port: 0,
            files: DEFAULT_FILES.into(),
            name: None,
            network: DEFAULT_NETWORK.to_owned(),
            grace: GRACE,
            limits: Limits::default(),
            io: Io::default(),
            transcripts: None,
            clock: Clock::default(),
        }
    }
}
