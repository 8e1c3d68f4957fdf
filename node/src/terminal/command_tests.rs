//! Tests of the table of commands.

use proptest::prelude::*;

use super::*;
use crate::terminal::words::Argument;

fn download(name: &str, from: Option<From>, id: Option<&str>, detach: bool) -> Command {
    let (name, id) = (name.to_owned(), id.map(str::to_owned));
    Command::Download(DownloadArgs { name, from, id, order: Order::Any, detach })
}

fn sequential(command: Command) -> Command {
    match command {
        Command::Download(args) => {
            Command::Download(DownloadArgs { order: Order::Sequential, ..args })
        }
        other => other,
    }
}

#[test]
fn what_is_understood() {
    let node = |name: &str| Some(From::Node(name.parse().unwrap()));
    for (line, command) in [
        ("help", Command::Help(None)),
        ("getip", Command::GetIp),
        ("clock", Command::Clock),
        ("tracker", Command::Tracker),
        ("  GETIP  ", Command::GetIp),
        ("show", Command::Show { part: None }),
        ("show 'a b'", Command::Show { part: Some("a b".into()) }),
        ("peers", Command::Peers { refresh: false }),
        ("peers Refresh", Command::Peers { refresh: true }),
        ("hello node1", Command::Hello { whom: "node1".into() }),
        ("hello [::1]:5", Command::Hello { whom: "[::1]:5".into() }),
        ("search *.txt", Command::Search { pattern: "*.txt".into() }),
        ("download a", download("a", None, None, false)),
        ("download \"été à.txt\"", download("été à.txt", None, None, false)),
        ("download a\\ b", download("a b", None, None, false)),
        ("download a --from 0", download("a", Some(From::Position(0)), None, false)),
        ("download a --from all", download("a", Some(From::All), None, false)),
        ("download a --from -2", download("a", Some(From::All), None, false)),
        ("download a --from=-1", download("a", Some(From::Nobody), None, false)),
        ("download --from node1 a", download("a", node("node1"), None, false)),
        ("download a --id AB12 --detach", download("a", None, Some("ab12"), true)),
        ("download -- --from", download("--from", None, None, false)),
        ("download -x", download("-x", None, None, false)),
        ("download photos/", download("photos/", None, None, false)),
        ("download a --order sequential", sequential(download("a", None, None, false))),
        ("download a --order=ANY", download("a", None, None, false)),
        ("jobs", Command::Jobs),
        ("jobs 3", Command::Job { job: 3 }),
        ("cancel 3", Command::Cancel { job: 3 }),
        ("pause 3", Command::Pause { job: 3 }),
        ("resume 3", Command::Resume { job: 3 }),
        ("priority 3 High", Command::Priority { job: 3, priority: Priority::High }),
        ("retry 3", Command::Retry { job: 3, detach: false }),
        ("retry --detach 3", Command::Retry { job: 3, detach: true }),
        ("limit", Command::Limits),
        ("limit up 50MB", Command::Set(Setting::Up(Limit(Some(50_000_000))))),
        ("limit DOWN off", Command::Set(Setting::Down(Limit(None)))),
        ("limit uploads 4", Command::Set(Setting::MaxUploads(4))),
        ("limit downloads 2", Command::Set(Setting::MaxDownloads(2))),
        ("limit 3 800kB/s", Command::Limit { job: 3, limit: Limit(Some(800_000)) }),
        ("chunk-size", Command::Limits),
        ("chunk-size 256KiB", Command::Set(Setting::ChunkSize(RequestSize(1 << 18)))),
        ("stats", Command::Stats),
        ("exit", Command::Exit),
    ] {
        assert_eq!(parse_line(line), Ok(Some(command)), "{line}");
    }
    assert_eq!(parse_line("  "), Ok(None));
    assert_eq!(parse_line("# nothing"), Ok(None));
    let Ok(Some(Command::Help(Some(verb)))) = parse_line("help download") else {
        panic!("no help for download");
    };
    assert_eq!(verb.name, "download");
}

#[test]
fn what_is_not_understood_says_how_it_is_used() {
    for (line, words) in [
        ("search", "a PATTERN is missing; usage: search PATTERN"),
        ("search ''", "a PATTERN is missing"),
        ("search old photos", "goes in quotes"),
        ("download", "a NAME is missing"),
        ("download a b", "goes in quotes"),
        ("download a --from", "what --from means is missing"),
        ("download a --from ../x", "`../x` is no position"),
        ("download a --id xyz", "no beginning of an id"),
        ("download --detach", "a NAME is missing"),
        ("cancel", "number of a JOB is missing"),
        ("cancel x", "`x` is no number"),
        ("cancel 99999999999", "is no number"),
        ("jobs now", "`now` is no number"),
        ("jobs 1 2", "`2` is too much"),
        ("pause", "number of a JOB is missing"),
        ("priority 1", "how high is missing"),
        ("priority 1 urgent", "`urgent` is none of `high`, `normal`, `low`; usage: priority"),
        ("download a --order fast", "`fast` is none of `any`, `sequential`"),
        ("download a --order", "the order is missing"),
        ("limit up", "a RATE is missing"),
        ("limit up 5", "a limit of 5 bytes a second is too low"),
        ("limit up fast", "`fast` is no number of bytes"),
        ("limit sideways 5MB", "`sideways` is no JOB and not `up`, `down`"),
        ("limit uploads 0", "`0` at once is not possible: 1 to 64 are"),
        ("limit uploads many", "`many` is no number"),
        ("limit 1 x\u{1b}", "\\u{1b}"),
        ("chunk-size 1GB", "a request size of 1000000000 bytes is not possible"),
        ("retry", "number of a JOB is missing"),
        ("help frobnicate", "there is no command `frobnicate`"),
        ("download 'a", "a quote is open"),
        ("x\u{1b}[2J", "\\u{1b}"),
    ] {
        let error = parse_line(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn a_typing_error_gets_the_nearest_command() {
    for (typed, meant) in [
        ("donwload", "download"),
        ("dowload", "download"),
        ("down", "download"),
        ("serach", "search"),
        ("peer", "peers"),
        ("exti", "exit"),
        ("quit", "exit"),
        ("hlep", "help"),
        ("prio", "priority"),
        ("continue", "resume"),
        ("limits", "limit"),
        ("chunksize", "chunk-size"),
        ("pasue", "pause"),
        ("shwo", "show"),
    ] {
        assert_eq!(nearest(typed), Some(meant), "{typed}");
    }
    assert_eq!(nearest("xyzzy"), None);
    let error = parse_line("donwload a").unwrap_err().to_string();
    assert!(error.contains("did you mean `download`?"), "{error}");
}

#[test]
fn every_row_of_the_table_is_a_command() {
    for verb in VERBS {
        assert!(verb.usage.starts_with(verb.name));
        assert!(verb.usage.lines().chain(verb.details.lines()).all(|line| line.len() <= 80));
        assert!(verb.options.iter().all(|option| verb.usage.contains(option)));
        let argument = match verb.argument {
            Argument::Nothing => "",
            Argument::File | Argument::Node => "a",
            Argument::Refresh => "refresh",
            Argument::Job | Argument::PastJob | Argument::AnyJob => "1",
            Argument::Limited => "up",
            Argument::Verb => "help",
            Argument::Text => match verb.name {
                "history" => "5",
                "private" => "on",
                _ => "pets",
            },
        };
        let second = match verb.name {
            "limit" => "off",
            "msg" => "hello",
            _ => verb.second.first().copied().unwrap_or_default(),
        };
        let line = format!("{} {argument} {second}", verb.name);
        assert!(parse_line(&line).is_ok(), "{line}");
    }
}

proptest! {
    #[test]
    fn no_line_is_a_panic(line in "\\PC{0,60}|(download|cancel|show|help|limit|priority|retry|chunk-size|jobs)( [-a-z='\"0-9]{0,9}){0,4}") {
        let _ = parse_line(&line);
    }
}
