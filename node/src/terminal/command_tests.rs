//! Tests of the table of commands.

use proptest::prelude::*;

use super::*;

fn download(name: &str, from: Option<From>, id: Option<&str>, detach: bool) -> Command {
    let (name, id) = (name.to_owned(), id.map(str::to_owned));
    Command::Download(DownloadArgs { name, from, id, detach })
}

#[test]
fn what_is_understood() {
    let node = |name: &str| Some(From::Node(name.parse().unwrap()));
    for (line, command) in [
        ("help", Command::Help(None)),
        ("getip", Command::GetIp),
        ("  GETIP  ", Command::GetIp),
        ("show", Command::Show { part: None }),
        ("show 'a b'", Command::Show { part: Some("a b".into()) }),
        ("peers", Command::Peers),
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
        ("jobs", Command::Jobs),
        ("cancel 3", Command::Cancel { job: 3 }),
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
        ("jobs now", "`now` is too much"),
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
            Argument::File => "a",
            Argument::Job => "1",
            Argument::Verb => "help",
        };
        let line = format!("{} {argument}", verb.name);
        assert!(parse_line(&line).is_ok(), "{line}");
    }
}

proptest! {
    #[test]
    fn no_line_is_a_panic(line in "\\PC{0,60}|(download|cancel|show|help)( [-a-z='\"0-9]{0,9}){0,4}") {
        let _ = parse_line(&line);
    }
}
