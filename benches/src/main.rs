//! `shoal-bench`: measures Shoal beside others; see the library of this package.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shoal_bench::failure::Outcome;
use shoal_bench::report::Section;
use shoal_bench::say;
use shoal_bench::scenarios::{
    chat, faults, index, limits, memory, search, single, small, spread, start, tracker,
};
use shoal_bench::setting::Setting;

/// Measures Shoal beside a bare reference program and others of its kind.
#[derive(Debug, Parser)]
#[command(name = "shoal-bench")]
struct Cli {
    /// Where `shoal-node`, `shoal-tracker` and `bare` are.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    bin: PathBuf,
    /// A folder on a file system in memory.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
    /// A folder on a disk.
    #[arg(long, value_name = "DIR", default_value = "target")]
    disk: PathBuf,
    /// Where `rqbit` is, if not in the path.
    #[arg(long, value_name = "FILE")]
    rqbit: Option<PathBuf>,
    /// Where `run.sh` and `stop.sh` are: they start containers.
    #[arg(long, value_name = "DIR", default_value = "scripts")]
    scripts: PathBuf,
    /// The label of the containers; nothing else has it.
    #[arg(long, value_name = "NAME", default_value = "shoal-bench")]
    project: String,
    /// A `bare` that needs no libraries, for containers.
    #[arg(long, value_name = "FILE")]
    container_bare: Option<PathBuf>,
    /// The folder of `benchmarks.md`; without it, results are only printed.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
    /// Runs of each contestant.
    #[arg(long, value_name = "COUNT", default_value_t = 7)]
    rounds: usize,
    /// Less of everything: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Only contestants with this in their names; can be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One file from several owners to one node.
    Single(single::Args),
    /// A folder of many small files.
    Small(small::Args),
    /// One file from one owner to several nodes at once.
    Spread(spread::Args),
    /// From `shoal-node get` to the first byte.
    Start,
    /// Peaks of memory and descriptors.
    Memory(memory::Args),
    /// How fast a node learns what it shares.
    Index,
    /// Whether limits hold.
    Limits,
    /// Messages of a few to many, through one server.
    Chat(chat::Args),
    /// Owners that are slow or far.
    Faults,
    /// What a search costs as a network grows.
    Search(search::Args),
    /// A tracker of many nodes, and heartbeats a second.
    Tracker(tracker::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let setting = Setting {
        bin: cli.bin,
        tmpfs: cli.tmpfs,
        disk: cli.disk,
        rqbit: cli.rqbit,
        scripts: cli.scripts,
        project: cli.project,
        container_bare: cli.container_bare,
        rounds: cli.rounds,
        quick: cli.quick,
        only: cli.only,
    };
    let published = run(&setting, &cli.scenario)
        .and_then(|section| section.publish(&command(&setting), cli.docs.as_deref()));
    match published {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::note(format_args!("error: {failure}"));
            ExitCode::from(2)
        }
    }
}

fn run(setting: &Setting, scenario: &Scenario) -> Outcome<Section> {
    match scenario {
        Scenario::Single(args) => single::run(setting, args),
        Scenario::Small(args) => small::run(setting, args),
        Scenario::Spread(args) => spread::run(setting, args),
        Scenario::Start => start::run(setting),
        Scenario::Memory(args) => memory::run(setting, args),
        Scenario::Index => index::run(setting),
        Scenario::Limits => limits::run(setting),
        Scenario::Chat(args) => chat::run(setting, args),
        Scenario::Faults => faults::run(setting),
        Scenario::Search(args) => search::run(setting, args),
        Scenario::Tracker(args) => tracker::run(setting, args),
    }
}

/// How the script is told to do the same.
fn command(setting: &Setting) -> String {
    let scenarios = Scenario::augment_subcommands(clap::Command::new(""));
    let is_one = |word: &String| scenarios.get_subcommands().any(|one| one.get_name() == word);
    let quick = if setting.quick { " --quick" } else { "" };
    let words = std::env::args().skip(1).skip_while(|word| !is_one(word));
    let words = words.collect::<Vec<_>>().join(" ");
    format!("scripts/bench.sh{quick} --rounds {} {words}", setting.rounds)
}
