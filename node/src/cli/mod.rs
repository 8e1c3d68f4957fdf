//! The program: from the words of the command line to an exit code.

pub mod args;
pub mod sample;

mod cat;
mod ctl;
mod get;
mod guest;
mod neighbors;
mod node;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use shoal_common::process::Exit;
use tokio::runtime::Builder;

use crate::control::client::Door;
use crate::terminal::json;
use crate::terminal::printer::{complain, dump};
use args::{Cli, SampleArgs, Task};

/// Time for threads that still block when the program ends; a read from a
/// terminal does.
const SHUTDOWN_PATIENCE: Duration = Duration::from_millis(100);

/// Runs the program with these words; the first is its own name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let cli = match parse(words.clone()) {
        Ok(cli) => cli,
        Err(error) => return say_usage(&error, wants_json(&words)),
    };
    let files = cli.node.files.files.clone();
    match cli.task {
        Some(Task::Completions { shell }) => completions(shell),
        Some(Task::Sample(args)) => sample(&args),
        Some(Task::Ctl(args)) => block_on(ctl::run(&files, args)),
        Some(Task::Get(args)) => block_on(get::run(args)),
        Some(Task::Cat(args)) => block_on(cat::run(args)),
        Some(Task::Health) => block_on(health(&files)),
        Some(Task::Attach) => block_on(node::attach(&files)),
        None => block_on(node::run(cli.node)),
    }
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(words)?;
    if let Some(flag) = misplaced(&matches) {
        let message = format!("`--{flag}` goes behind the subcommand");
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message));
    }
    Cli::from_arg_matches(&matches)
}

/// A flag of a node in front of a subcommand, where it would have no effect.
/// The environment may well hold them.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    matches.subcommand()?;
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    Cli::command()
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && given(arg.get_id().as_str()))
        .find_map(|arg| arg.get_long().map(str::to_owned))
}

/// Whether these words, which were not understood, ask `ctl` for JSON.
fn wants_json(words: &[OsString]) -> bool {
    let mut words = words.iter().take_while(|word| *word != "--");
    words.any(|word| word == "ctl") && words.any(|word| word == "--json")
}

/// Help and version are results; everything else is bad usage.
fn say_usage(error: &clap::Error, as_json: bool) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        if as_json {
            let text = text.to_string();
            let what = text.split("\n\n").next().unwrap_or_default();
            let what = what.trim_start_matches("error: ").split_whitespace();
            let what = what.collect::<Vec<_>>().join(" ");
            let value = json::stamped(json::error(&what), 0);
            if let Err(error) = dump(format!("{value}\n").as_bytes()) {
                complain(&format!("cannot write: {error}"));
            }
        }
        complain(text.to_string().trim_end());
        Exit::Usage
    } else {
        printed(dump(text.to_string().as_bytes()))
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shoal-node", &mut script);
    printed(dump(&script))
}

fn printed(written: std::io::Result<()>) -> Exit {
    match written {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("cannot write: {error}"));
            Exit::Failed
        }
    }
}

fn sample(args: &SampleArgs) -> Exit {
    match sample::write(&args.path, args.size, &args.seed) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("cannot write `{}`: {error}", args.path.display()));
            Exit::Failed
        }
    }
}

async fn health(files: &Path) -> Exit {
    match Door::of(files).identity().await {
        Ok(_) => Exit::Done,
        Err(error) => {
            complain(&error.to_string());
            Exit::Refused
        }
    }
}

fn block_on(task: impl Future<Output = Exit>) -> Exit {
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start threads: {error}"));
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(task);
    runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    exit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_LOGS;

    fn cli(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_usual_values() {
        let config = cli("shoal-node").unwrap().node.config();
        // Two nodes have two clocks.
        let usual = crate::config::Config {
            clock: config.clock.clone(),
            transcripts: Some(DEFAULT_LOGS.into()),
            ..Default::default()
        };
        assert_eq!(config, usual);
    }

    #[test]
    fn files_may_stand_before_or_behind_a_subcommand() {
        for line in ["shoal-node --files x ctl peers", "shoal-node ctl --files x peers"] {
            assert_eq!(cli(line).unwrap().node.files.files, Path::new("x"), "{line}");
        }
        let error = cli("shoal-node --name a ctl peers").unwrap_err().to_string();
        assert!(error.contains("`--name` goes behind the subcommand"), "{error}");
    }

    #[test]
    fn what_ctl_is_told_is_left_to_it() {
        let Some(Task::Ctl(args)) =
            cli("shoal-node ctl --json download a --from -2 --detach").unwrap().task
        else {
            panic!("no ctl");
        };
        assert!(args.json);
        assert_eq!(args.words.join(" "), "download a --from -2 --detach");
    }

    #[test]
    fn a_tracker_is_a_host_with_a_port() {
        for tracker in ["tracker:12345", "127.0.0.1:1", "[::1]:12345"] {
            let cli = cli(&format!("shoal-node --tracker {tracker}")).unwrap();
            assert_eq!(cli.node.config().tracker.as_deref(), Some(tracker));
        }
        let error = cli("shoal-node --tracker foo").unwrap_err().to_string();
        assert!(error.contains("--tracker <HOST:PORT>"), "{error}");
        let error = cli("shoal-node --advertise ::").unwrap_err().to_string();
        assert!(error.contains("--advertise <IP>"), "{error}");
    }

    #[test]
    fn whoever_is_told_of_others_needs_no_tracker() {
        let config = |line: &str| cli(line).unwrap().node.config();
        let alone = config("shoal-node --peer a:1 --peer [::1]:2 --exchange 0.5");
        assert_eq!((alone.tracker, alone.peers), (None, vec!["a:1".into(), "[::1]:2".into()]));
        assert_eq!(alone.exchange, Duration::from_millis(500));
        assert_eq!(config("shoal-node --neighbors x").tracker, None);
        let both = config("shoal-node --peer a:1 --tracker b:2");
        assert_eq!((both.tracker, both.peers), (Some("b:2".into()), vec!["a:1".into()]));
        let Some(Task::Get(args)) = cli("shoal-node get a --peer b:1,c:2").unwrap().task else {
            panic!("no get");
        };
        assert_eq!(args.config().peers, ["b:1", "c:2"]);
        let help = cli("shoal-node --help").unwrap_err().to_string();
        assert!(help.contains(crate::config::DEFAULT_TRACKER), "{help}");
    }

    #[test]
    fn how_fast_transfers_may_be() {
        let line = "shoal-node --up 50MB --down 1.5MiB --max-uploads 4 --max-downloads 2 \
                    --chunk-size 64KiB";
        let limits = cli(&line.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap()
            .node
            .config()
            .limits;
        assert_eq!((limits.up.0, limits.down.0), (Some(50_000_000), Some(3 << 19)));
        assert_eq!((limits.max_uploads, limits.max_downloads), (4, 2));
        assert_eq!(limits.chunk_size.0, 64 << 10);
        let Some(Task::Get(args)) =
            cli("shoal-node get a/ --down 1MB --order sequential").unwrap().task
        else {
            panic!("no get");
        };
        assert_eq!(args.config().limits.down.0, Some(1_000_000));
        assert_eq!(args.order, crate::transfer::job::Order::Sequential);
    }

    #[test]
    fn the_help_of_get_tells_what_get_uses() {
        let help = cli("shoal-node get --help").unwrap_err().to_string();
        assert!(help.contains("--output") && !help.contains("--files"), "{help}");
    }

    #[test]
    fn bad_usage() {
        for line in [
            "shoal-node --name all",
            "shoal-node --search-port 99999",
            "shoal-node --grace 18446744073709551615",
            "shoal-node frobnicate",
            "shoal-node ctl",
            "shoal-node --log-format xml",
            "shoal-node sample x",
            "shoal-node get a --from ../x",
            "shoal-node get a --order fast",
            "shoal-node get a --down 5",
            "shoal-node cat",
            "shoal-node cat a --down fast",
            "shoal-node --up 5kB",
            "shoal-node --max-uploads 0",
            "shoal-node --max-uploads 65",
            "shoal-node --max-downloads x",
            "shoal-node --chunk-size 32KiB",
            "shoal-node --tracker foo",
            "shoal-node --tracker foo:99999",
            "shoal-node --tracker foo:0",
            "shoal-node --tracker :12345",
            "shoal-node --tracker ::1:12345",
            "shoal-node get a --tracker [foo]:12345",
            "shoal-node --peer a",
            "shoal-node --peer a:1,b",
            "shoal-node --exchange 0",
            "shoal-node --exchange 3601",
            "shoal-node --exchange often",
            "shoal-node --advertise 0.0.0.0",
            "shoal-node --advertise ::",
            "shoal-node --advertise 224.0.0.1",
            "shoal-node --advertise 255.255.255.255",
        ] {
            assert!(cli(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}
