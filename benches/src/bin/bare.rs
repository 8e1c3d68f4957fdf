//! `bare`: the reference program; see the module of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use shoal_bench::bare::fetch::Manner;
use shoal_bench::bare::hashes::{CHUNK, Hashes};
use shoal_bench::bare::{fetch, serve, tell};
use shoal_bench::failure::{Attempt, Failure, Outcome};
use shoal_bench::{say, size};

/// Does as little as a verified download needs, or a tracker of many nodes.
#[derive(Debug, Parser)]
#[command(name = "bare")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Writes the list of hashes that a receiver verifies against.
    Hashes {
        /// The file.
        file: PathBuf,
        /// Where the list goes.
        list: PathBuf,
    },
    /// An owner: sends ranges of the file. Prints its address, runs until it
    /// is ended.
    Serve {
        /// The file.
        file: PathBuf,
        /// Where to listen; port 0 for a random one.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The congestion control of the sender; `default` is the system's.
        #[arg(long, value_name = "NAME", default_value = "reno")]
        congestion: String,
    },
    /// The receiver. Prints the seconds it took.
    Fetch {
        /// Where the file goes.
        to: PathBuf,
        /// The list of hashes.
        #[arg(long, value_name = "FILE")]
        hashes: PathBuf,
        /// An owner; can be repeated.
        #[arg(long, value_name = "IP:PORT", required = true)]
        from: Vec<SocketAddr>,
        /// Connections to each owner.
        #[arg(long, value_name = "COUNT", default_value_t = 1,
              value_parser = clap::value_parser!(u64).range(1..=64))]
        connections: u64,
        /// Bytes of the buffer of each connection: a power of two up to 1 MiB.
        #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = buffer)]
        buffer: u64,
        /// Waits until the file is on the disk.
        #[arg(long)]
        sync: bool,
    },
    /// Tells each that connects as much as a tracker of many does, and nothing else.
    /// Prints its address, runs until it is ended.
    Tell {
        /// Where to listen; port 0 for a random one.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Bytes at once.
        #[arg(long, value_name = "COUNT",
              value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        bytes: u32,
        /// Between two times on the same connection.
        #[arg(long, value_name = "MILLISECONDS",
              value_parser = clap::value_parser!(u64).range(16..=60_000))]
        pause: u64,
    },
    /// Runs a program and prints behind its output how many seconds it took:
    /// where a shell is missing.
    Time {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn buffer(text: &str) -> Result<u64, String> {
    let size = size::parse(text)?;
    if size.is_power_of_two() && (1024..=CHUNK).contains(&size) {
        Ok(size)
    } else {
        Err("it is a power of two from 1KiB to 1MiB".to_owned())
    }
}

fn main() -> ExitCode {
    let start = Instant::now();
    match run(Cli::parse().task, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::note(format_args!("error: {failure}"));
            ExitCode::from(2)
        }
    }
}

fn run(task: Task, start: Instant) -> Outcome<()> {
    match task {
        Task::Hashes { file, list } => Hashes::of(&file)?.save(&list),
        Task::Serve { file, listen, congestion } => {
            let congestion = (congestion != "default").then_some(congestion.as_str());
            serve::run(&file, listen, congestion)
        }
        Task::Fetch { to, hashes, from, connections, buffer, sync } => {
            let manner = Manner { connections, buffer: usize::try_from(buffer)?, sync };
            fetch::run(&to, &Hashes::load(&hashes)?, &from, manner)?;
            say::result(format_args!("{:.6}", start.elapsed().as_secs_f64()));
            Ok(())
        }
        Task::Tell { listen, bytes, pause } => {
            tell::run(listen, usize::try_from(bytes)?, Duration::from_millis(pause))
        }
        Task::Time { words } => {
            let (program, arguments) = words.split_first().ok_or(Failure::new("no program"))?;
            let status = Command::new(program).args(arguments).status().attempt(program)?;
            say::result(format_args!("{:.6}", start.elapsed().as_secs_f64()));
            if status.success() { Ok(()) } else { Err(Failure::new(status.to_string())) }
        }
    }
}
