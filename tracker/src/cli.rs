//! The program around a tracker: flags, logs, signals, exit codes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shoal_common::call::call;
use shoal_common::clock::Clock;
use shoal_common::ident::NodeId;
use shoal_common::limits::{HEARTBEATS, MAX_TRACKER_CONNECTIONS};
use shoal_common::logs::{self, LogError, LogFormat};
use shoal_common::party::Party;
use shoal_common::process::{Exit, StopSignals, connections};
use shoal_common::protocol::greeting::{DEFAULT_NETWORK, Talk};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::run::{Config, RunError, run};
use crate::screen::{Screen, complain};

/// The tracker of Shoal: knows who is here and tells everyone.
///
/// Ctrl-C, SIGTERM and SIGHUP stop it; a second one ends it at once.
#[derive(Debug, Parser)]
#[command(name = "shoal-tracker", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where nodes connect
    #[arg(
        long,
        env = "SHOAL_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:12345",
        global = true
    )]
    listen: SocketAddr,

    /// How often each node is to be heard (0.1 to 60)
    #[arg(
        long,
        env = "SHOAL_HEARTBEAT",
        value_name = "SECONDS",
        default_value = "10",
        value_parser = heartbeat
    )]
    heartbeat: Duration,

    /// Folder of the log files
    #[arg(long, env = "SHOAL_LOGS", value_name = "DIR", default_value = "logs")]
    logs: PathBuf,

    /// How a line of the log looks: text or json
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// Name of the network; nodes of others are refused
    #[arg(
        long,
        env = "SHOAL_NETWORK",
        value_name = "NAME",
        default_value = DEFAULT_NETWORK,
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        global = true
    )]
    network: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask whether the tracker at --listen is well: exit code 0 or 1
    Health,
}

/// Why the program fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot listen on `{address}`: {cause}; another one: --listen ADDR:PORT")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("cannot run: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs the program and returns its exit code.
pub fn main() -> Exit {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody reads it if it can't be printed.
            error.print().ok();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let outcome = match args.command {
        Some(Command::Health) => health(&args),
        None => track(args),
    };
    outcome.unwrap_or_else(|failure| {
        complain(failure);
        Exit::Failed
    })
}

fn track(args: Args) -> Result<Exit, Failure> {
    let clock = Clock::default();
    let _log = logs::start(&args.logs, "shoal-tracker", args.log_format, clock.clone())?;
    // While its guard lives; afterwards nothing more is written.
    track_logged(args, clock).inspect_err(|failure| tracing::error!("{failure}"))
}

fn track_logged(args: Args, clock: Clock) -> Result<Exit, Failure> {
    let (screen, _screen) = Screen::stdout();
    let config = Config {
        network: args.network,
        heartbeat: args.heartbeat,
        connections: connections(MAX_TRACKER_CONNECTIONS, 1, OTHER_DESCRIPTORS),
        clock,
        ..Config::default()
    };
    // One thread: all sessions share one registry, and waking another thread for a
    // message costs more than the message.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|cause| Failure::Listen { address: args.listen, cause })?;
        until_signal(listener, config, screen).await
    })
}

/// Descriptors beside the connections: log, listener, runtime.
const OTHER_DESCRIPTORS: usize = 64;

async fn until_signal(
    listener: TcpListener,
    config: Config,
    screen: Screen,
) -> Result<Exit, Failure> {
    let mut signals = StopSignals::listen()?;
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(run(listener, config, screen.clone(), stop.cancelled()));
    let signal = tokio::select! {
        ended = &mut running => return Ok(ended.map(|_| Exit::Done)?),
        signal = signals.next() => signal,
    };
    tracing::info!("{signal}: stopping");
    screen.show(format_args!("{signal}: stopping"));
    stop.cancel();
    tokio::select! {
        ended = &mut running => Ok(ended.map(|_| Exit::Done)?),
        _ = signals.next() => Ok(Exit::Interrupted),
    }
}

fn health(args: &Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let us = Party::new(args.network.as_str(), NodeId::random());
    // A talk for which a tracker has room, however many nodes there are.
    match runtime.block_on(call(nearby(args.listen), &us, Talk::Succession)) {
        Ok(_) => Ok(Exit::Done),
        Err(error) => {
            complain(error);
            Ok(Exit::Refused)
        }
    }
}

/// Where a tracker that listens on `address` is reached from its own machine.
fn nearby(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = HEARTBEATS;
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|heartbeat| (shortest..=longest).contains(heartbeat))
        .ok_or_else(|| {
            format!("seconds between {} and {}", shortest.as_secs_f32(), longest.as_secs_f32())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_make_sense() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn heartbeats_have_bounds() {
        assert_eq!(heartbeat("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(heartbeat("60"), Ok(Duration::from_secs(60)));
        for wrong in ["0", "0.05", "61", "-1", "NaN", "inf", "1e300", "ten", ""] {
            assert!(heartbeat(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_address_is_asked_nearby() {
        for (listen, asked) in [
            ("0.0.0.0:12345", "127.0.0.1:12345"),
            ("[::]:1", "[::1]:1"),
            ("172.20.0.2:5", "172.20.0.2:5"),
        ] {
            assert_eq!(nearby(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
