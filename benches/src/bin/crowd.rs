//! `crowd`: as many connections as a network has nodes; see the module of the
//! same name.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use shoal_bench::crowd::load::Load;
use shoal_bench::crowd::peak::Server;
use shoal_bench::crowd::presence::Plan;
use shoal_bench::crowd::{peak, presence, told};
use shoal_bench::failure::Outcome;
use shoal_bench::say;
use shoal_common::process::raise_descriptor_limit;

/// Connections that do what nodes do, to measure who serves them.
#[derive(Debug, Parser)]
#[command(name = "crowd")]
struct Cli {
    /// Who serves them.
    #[arg(long, value_name = "IP:PORT")]
    to: SocketAddr,
    /// Its process.
    #[arg(long, value_name = "PID")]
    process: u32,
    /// Connections.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Nodes register, say heartbeats, come and go.
    Presence {
        /// Between two heartbeats of a node.
        #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
        beat: f64,
        /// Comings and goings a second, in all.
        #[arg(long, value_name = "RATE", default_value_t = 50.0)]
        changes: f64,
        /// Nodes that come and go.
        #[arg(long, value_name = "COUNT", default_value_t = 250)]
        passing: usize,
        /// Registrations a second at the beginning.
        #[arg(long, value_name = "RATE", default_value_t = 1000.0)]
        ramp: f64,
        /// How long to run before measuring.
        #[arg(long, value_name = "SECONDS", default_value_t = 5)]
        settle: u64,
        /// Each node has its connection to the chat, too. Somebody else must hold its
        /// log.
        #[arg(long)]
        chat: bool,
    },
    /// Heartbeats, the next when the last is answered.
    Peak,
    /// The same with `SET … EX` and Redis.
    Redis,
    /// Only listens.
    Told,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_descriptor_limit();
    match run(&cli) {
        Ok(outcome) => {
            say::result(outcome);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say::note(format_args!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome<Value> {
    let (nodes, time) = (usize::try_from(cli.nodes)?, Duration::from_secs(cli.seconds));
    match cli.task {
        Task::Presence { beat, changes, passing, ramp, settle, chat } => {
            let plan = Plan {
                to: cli.to,
                process: cli.process,
                nodes,
                passing,
                beat: Duration::try_from_secs_f64(beat)?,
                changes,
                ramp,
                settle: Duration::from_secs(settle),
                time,
                chat,
            };
            let seen = presence::run(plan, |line| say::note(line))?;
            Ok(json!({
                "load": load(&seen.load),
                "own": load(&seen.own),
                "memory_kib": seen.memory,
                "came": { "bytes": seen.came.0, "messages": seen.came.1 },
                "joins_ms": seen.joins,
                "missed": seen.missed,
                "receiving": seen.receiving,
            }))
        }
        Task::Peak => peaked(cli, Server::Tracker, nodes, time),
        Task::Redis => peaked(cli, Server::Redis, nodes, time),
        Task::Told => {
            let told = told::run(cli.to, cli.process, nodes, time)?;
            Ok(json!({
                "load": load(&told.load),
                "own": load(&told.own),
                "came": { "bytes": told.bytes },
                "receiving": told.receiving,
            }))
        }
    }
}

fn peaked(cli: &Cli, server: Server, nodes: usize, time: Duration) -> Outcome<Value> {
    let peak = peak::run(server, cli.to, cli.process, nodes, time)?;
    Ok(json!({ "answers": peak.answers, "load": load(&peak.load), "own": load(&peak.own) }))
}

fn load(load: &Load) -> Value {
    json!({
        "seconds": load.time.as_secs_f64(),
        "user": load.user,
        "system": load.system,
        "cores": load.cores(),
    })
}
