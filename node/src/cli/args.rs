//! The words of the command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use shoal_common::ident::NodeName;
use shoal_common::limits::{EXCHANGES, GRACE, MAX_DOWNLOADS, MAX_UPLOADS};
use shoal_common::logs::LogFormat;
use shoal_common::protocol::greeting::DEFAULT_NETWORK;

use crate::amount::{Limit, RequestSize};
use crate::config::{Config, DEFAULT_FILES, DEFAULT_LOGS, DEFAULT_TRACKER, Io, Limits, host_port};
use crate::terminal::command::{DownloadArgs, From};
use crate::transfer::job::Order;

/// Longest time to wait for running transfers, in seconds: a day.
const MAX_GRACE: u64 = 24 * 60 * 60;

/// Shares a folder with a network of nodes, searches it, fetches from it.
///
/// Without a subcommand a node runs until `exit` is typed or a signal comes.
#[derive(Debug, Parser)]
#[command(name = "shoal-node", version)]
pub struct Cli {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// How the node runs.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// How a node finds its network.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Where the tracker is [default: 172.20.0.2:12345, or none with --peer or
    /// --neighbors].
    #[arg(long, env = "SHOAL_TRACKER", value_name = "HOST:PORT", value_parser = host_port)]
    pub tracker: Option<String>,
    /// The search address of a node that is in the network already; may be given
    /// several times.
    #[arg(long = "peer", env = "SHOAL_PEER", value_name = "HOST:PORT", value_parser = host_port,
          value_delimiter = ',')]
    pub peers: Vec<String>,
    /// A file of such addresses, one a line; `#` begins a comment. An empty one
    /// starts a network.
    #[arg(long, env = "SHOAL_NEIGHBORS", value_name = "FILE")]
    pub neighbors: Option<PathBuf>,
    /// How often another node is asked for the peers that it knows.
    #[arg(long, env = "SHOAL_EXCHANGE", value_name = "SECONDS", default_value = "5",
          value_parser = exchange)]
    pub exchange: Duration,
    /// The local address on which others are served.
    #[arg(long, env = "SHOAL_LISTEN", value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// The address told to the others [default: the local address of the
    /// connection to the tracker].
    #[arg(long, env = "SHOAL_ADVERTISE", value_name = "IP", value_parser = reachable)]
    pub advertise: Option<IpAddr>,
    /// Which network, where several share a tracker's address over time.
    #[arg(long, env = "SHOAL_NETWORK", value_name = "NAME", default_value = DEFAULT_NETWORK)]
    pub network: String,
}

/// An interval of exchange, in seconds.
fn exchange(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = EXCHANGES;
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|interval| (shortest..=longest).contains(interval)).ok_or_else(|| {
        format!("it is a number from {} to {}", shortest.as_secs_f64(), longest.as_secs())
    })
}

/// An address at which one machine can be reached.
fn reachable(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "it is no IP address".to_owned())?;
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("nobody can be reached at this address".to_owned());
    }
    Ok(ip)
}

/// The shared folder.
#[derive(Debug, Clone, Args)]
pub struct FilesArg {
    /// The folder that is shared.
    #[arg(long, env = "SHOAL_FILES", value_name = "DIR", default_value = DEFAULT_FILES, global = true)]
    pub files: PathBuf,
}

/// How fast transfers may be.
#[derive(Debug, Clone, Args)]
pub struct TransferArgs {
    /// Most bytes a second that leave, of all uploads together: `50MB`,
    /// `1.5MiB`, `off`.
    #[arg(
        long,
        env = "SHOAL_UP",
        value_name = "RATE",
        default_value = "off",
        hide_default_value = true
    )]
    pub up: Limit,
    /// Most bytes a second that arrive, of all downloads together.
    #[arg(
        long,
        env = "SHOAL_DOWN",
        value_name = "RATE",
        default_value = "off",
        hide_default_value = true
    )]
    pub down: Limit,
    /// How many bytes one request asks for: 64KiB to 16MiB.
    #[arg(long, env = "SHOAL_CHUNK_SIZE", value_name = "SIZE", default_value_t)]
    pub chunk_size: RequestSize,
}

impl TransferArgs {
    fn limits(&self) -> Limits {
        let Self { up, down, chunk_size } = *self;
        Limits { up, down, chunk_size, ..Limits::default() }
    }
}

/// How a node runs.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Its network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Port for searches; 0 for a random one.
    #[arg(long, env = "SHOAL_SEARCH_PORT", value_name = "PORT", default_value_t = 0)]
    pub search_port: u16,
    /// Port for content; 0 for a random one.
    #[arg(long, env = "SHOAL_DOWNLOAD_PORT", value_name = "PORT", default_value_t = 0)]
    pub download_port: u16,
    /// Its folder.
    #[command(flatten)]
    pub files: FilesArg,
    /// The folder for logs.
    #[arg(long, env = "SHOAL_LOGS", value_name = "DIR", default_value = DEFAULT_LOGS)]
    pub logs: PathBuf,
    /// How a line of the log looks: `text` or `json`.
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// The name of the node [default: the host name].
    #[arg(long, env = "SHOAL_NAME", value_name = "NAME")]
    pub name: Option<NodeName>,
    /// How long running transfers are waited for on leaving.
    #[arg(long, env = "SHOAL_GRACE", value_name = "SECONDS", default_value_t = GRACE.as_secs(),
          value_parser = clap::value_parser!(u64).range(0..=MAX_GRACE))]
    pub grace: u64,
    /// How fast transfers may be.
    #[command(flatten)]
    pub transfers: TransferArgs,
    /// Most uploads at once; beyond it peers are told to come again.
    #[arg(long, env = "SHOAL_MAX_UPLOADS", value_name = "N", default_value_t = MAX_UPLOADS,
          value_parser = number_up_to(MAX_UPLOADS))]
    pub max_uploads: usize,
    /// Most downloads that run at once; the others are queued.
    #[arg(long, env = "SHOAL_MAX_DOWNLOADS", value_name = "N", default_value_t = MAX_DOWNLOADS,
          value_parser = number_up_to(MAX_DOWNLOADS))]
    pub max_downloads: usize,
    /// How bytes leave a shared file: `mmap` is faster within a machine, `sendfile`
    /// takes less of the owner's processor.
    #[arg(long, env = "SHOAL_IO", value_name = "HOW", default_value_t = Io::default())]
    pub io: Io,
}

fn number_up_to(most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most as u64)
}

impl NodeArgs {
    /// What the node is told.
    pub fn config(&self) -> Config {
        Config {
            search_port: self.search_port,
            download_port: self.download_port,
            files: self.files.files.clone(),
            name: self.name.clone(),
            grace: Duration::from_secs(self.grace),
            limits: Limits {
                max_uploads: self.max_uploads,
                max_downloads: self.max_downloads,
                ..self.transfers.limits()
            },
            io: self.io,
            transcripts: Some(self.logs.clone()),
            ..self.network.config()
        }
    }
}

impl NetworkArgs {
    /// The tracker: the one that was named, or the usual one unless others are
    /// named to begin with.
    fn tracker(&self) -> Option<String> {
        let alone = self.neighbors.is_some() || !self.peers.is_empty();
        self.tracker.clone().or_else(|| (!alone).then(|| DEFAULT_TRACKER.to_owned()))
    }

    /// What a node is told of its network; the rest is as usual.
    pub fn config(&self) -> Config {
        Config {
            tracker: self.tracker(),
            peers: self.peers.clone(),
            exchange: self.exchange,
            listen: self.listen,
            advertise: self.advertise,
            network: self.network.clone(),
            ..Config::default()
        }
    }
}

/// What to do instead of running a node.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Gives one command to the running node of a folder.
    ///
    /// `ctl help` lists the commands. `ctl download NAME --from all` waits for
    /// the end of the download unless --detach is given. With --json, exactly
    /// one JSON value goes to standard output; what went wrong is
    /// `{"error": …}` there, and a line on standard error. Exit codes: 0 done,
    /// 1 refused or not found, 2 failed, 64 bad usage, 130 interrupted.
    Ctl(CtlArgs),
    /// Opens a terminal on the running node of a folder; leaving it leaves the
    /// node running.
    Attach,
    /// Joins the network, fetches a file, a folder (`NAME/`) or what matches a
    /// glob, and leaves.
    Get(GetArgs),
    /// Joins the network, prints a file to standard output while it arrives, and
    /// leaves.
    ///
    /// The bytes come in order, each verified before it is printed, and no
    /// faster than they are read. Nothing is kept on the disk.
    Cat(CatArgs),
    /// Tells by its exit code whether the node of a folder runs and answers
    /// (0) or not (1).
    Health,
    /// Prints a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Writes a file of pseudo-random bytes, the same everywhere: for trials
    /// and measurements.
    Sample(SampleArgs),
}

/// A command for a running node.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// Prints one JSON value. May also stand behind the command, but for `say`, `msg`
    /// and `topic`, whose text is taken as it is.
    #[arg(long)]
    pub json: bool,
    /// The command, as it would be typed.
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

/// Which file, and from whom.
#[derive(Debug, Clone, Args)]
pub struct ChoiceArgs {
    /// The name of the file at its owners.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// From whom: a position, the name of a node, or `all`.
    #[arg(
        long,
        value_name = "POSITION|NODE|all",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub from: From,
    /// The first digits of its id, where several contents have the name.
    #[arg(long, value_name = "PREFIX")]
    pub id: Option<String>,
}

impl ChoiceArgs {
    /// The same for a running node.
    pub fn download(&self, order: Order) -> DownloadArgs {
        DownloadArgs {
            name: self.name.clone(),
            from: Some(self.from.clone()),
            id: self.id.as_deref().map(str::to_lowercase),
            order,
            detach: false,
        }
    }
}

/// What to fetch without a running node.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// In which order the bytes come: `any`, or `sequential` from front to back.
    #[arg(long, value_name = "ORDER", default_value = "any")]
    pub order: Order,
    /// How fast.
    #[command(flatten)]
    pub transfers: TransferArgs,
    /// Where to put it.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Understood as everywhere, but of no use here: it shares nothing.
    #[arg(id = "files", long = "files", env = "SHOAL_FILES", value_name = "DIR",
          default_value = DEFAULT_FILES, hide = true)]
    pub unused: PathBuf,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
}

impl GetArgs {
    /// What the node is told.
    pub fn config(&self) -> Config {
        let limits = self.transfers.limits();
        Config { files: self.output.clone(), limits, ..self.network.config() }
    }
}

/// What to print.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// What.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Prints also where standard output is a terminal.
    #[arg(short, long)]
    pub force: bool,
    /// How fast.
    #[command(flatten)]
    pub transfers: TransferArgs,
    /// Understood as everywhere, but of no use here: it shares nothing.
    #[arg(id = "files", long = "files", env = "SHOAL_FILES", value_name = "DIR",
          default_value = DEFAULT_FILES, hide = true)]
    pub unused: PathBuf,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
}

impl CatArgs {
    /// What the node is told, whose folder is `files`.
    pub fn config(&self, files: PathBuf) -> Config {
        let limits = self.transfers.limits();
        Config { files, limits, ..self.network.config() }
    }
}

/// A file to make.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Where to write it.
    pub path: PathBuf,
    /// Its size.
    #[arg(long, value_name = "BYTES")]
    pub size: u64,
    /// Another text, other bytes.
    #[arg(long, value_name = "TEXT", default_value = "shoal")]
    pub seed: String,
}
