//! What the Tab key offers. Pure.

use crate::terminal::text::escape;
use crate::terminal::words::{Argument, LIMITED, REFRESH, VERBS, Verb};

/// What can be named at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Files.
    pub names: Vec<String>,
    /// Nodes.
    pub nodes: Vec<String>,
    /// Downloads that are not over.
    pub jobs: Vec<String>,
    /// Those that are.
    pub over: Vec<String>,
}

/// A word that is being typed.
#[derive(Debug, PartialEq, Eq)]
struct Partial {
    /// Where it begins, its quote included.
    start: usize,
    /// What it means so far, without quotes.
    text: String,
    /// The quote that is open.
    quote: Option<char>,
}

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// How it is listed.
    pub shown: String,
    /// What replaces the word.
    pub replacement: String,
}

/// The beginning of the name of a file that others have, if that is what is
/// being typed: worth a search.
pub fn wants_search(line: &str) -> Option<String> {
    let (before, partial) = split(line);
    let (verb, rest) = before.split_first()?;
    let verb = VERBS.iter().find(|known| known.name == verb.to_lowercase())?;
    let for_others = verb.argument == Argument::File && verb.name != "show";
    let is_name = !partial.text.is_empty() && !partial.text.starts_with('-');
    let is_value = matches!(rest.last().map(String::as_str), Some("--from" | "--id" | "--order"));
    (for_others && is_name && !is_value && !has_argument(verb, rest)).then_some(partial.text)
}

/// Where the word under the cursor begins, and how it could go on. `line` ends
/// at the cursor.
pub fn complete(line: &str, words: &Words) -> (usize, Vec<Candidate>) {
    let (before, partial) = split(line);
    let offered = offered(&before, &partial.text, words);
    let mut fitting: Vec<&str> = offered
        .iter()
        .map(String::as_str)
        // Nobody could type what does not show as it is.
        .filter(|word| word.starts_with(&partial.text) && escape(word) == **word)
        .collect();
    fitting.sort_unstable();
    fitting.dedup();
    // All of them quoted or none, so that they have a beginning in common.
    let quote =
        partial.quote.or_else(|| fitting.iter().any(|word| needs_quote(word)).then_some('\''));
    let end = if fitting.len() == 1 { " " } else { "" };
    let candidates = fitting
        .into_iter()
        .map(|word| Candidate { shown: word.to_owned(), replacement: quoted(word, quote) + end })
        .collect();
    (partial.start, candidates)
}

/// The words before the cursor, and the one at it.
fn split(line: &str) -> (Vec<String>, Partial) {
    let mut before = Vec::new();
    let mut partial = Partial { start: 0, text: String::new(), quote: None };
    let mut in_word = false;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if !in_word && !c.is_whitespace() {
            in_word = true;
            partial.start = at;
        }
        match (partial.quote, c) {
            (Some(open), c) if c == open => partial.quote = None,
            (None, '\'' | '"') => partial.quote = Some(c),
            (None | Some('"'), '\\') => partial.text.extend(chars.next().map(|(_, c)| c)),
            (None, c) if c.is_whitespace() => {
                if in_word {
                    before.push(std::mem::take(&mut partial.text));
                }
                in_word = false;
                partial.start = at + c.len_utf8();
            }
            (_, c) => partial.text.push(c),
        }
    }
    (before, partial)
}

/// Everything that may stand at this place.
fn offered(before: &[String], text: &str, words: &Words) -> Vec<String> {
    let verbs = || VERBS.iter().map(|verb| verb.name.to_owned()).collect();
    let Some((verb, rest)) = before.split_first() else {
        return verbs();
    };
    let Some(verb) = VERBS.iter().find(|known| known.name == verb.to_lowercase()) else {
        return Vec::new();
    };
    match rest.last().map(String::as_str) {
        Some("--from") if verb.options.contains(&"--from") => {
            return std::iter::once("all".to_owned()).chain(words.nodes.iter().cloned()).collect();
        }
        Some("--order") if verb.options.contains(&"--order") => {
            return owned(&["any", "sequential"]);
        }
        Some("--id") if verb.options.contains(&"--id") => return Vec::new(),
        _ => {}
    }
    if text.starts_with('-') && !verb.options.is_empty() {
        let unused = |option: &&&str| !rest.iter().any(|word| word == **option);
        return verb.options.iter().filter(unused).map(|option| (*option).to_owned()).collect();
    }
    if has_argument(verb, rest) {
        let is_second = rest.len() == 1;
        return if is_second { owned(verb.second) } else { Vec::new() };
    }
    match verb.argument {
        Argument::Nothing | Argument::Text => Vec::new(),
        Argument::File => words.names.clone(),
        Argument::Job => words.jobs.clone(),
        Argument::PastJob => words.over.clone(),
        Argument::AnyJob => [words.jobs.as_slice(), &words.over].concat(),
        Argument::Node => words.nodes.clone(),
        Argument::Refresh => owned(&[REFRESH]),
        Argument::Limited => [owned(LIMITED), words.jobs.clone()].concat(),
        Argument::Verb => verbs(),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Whether the argument of the command is there already.
fn has_argument(verb: &Verb, rest: &[String]) -> bool {
    let mut value_follows = false;
    rest.iter().any(|word| {
        if std::mem::take(&mut value_follows) {
            return false;
        }
        let is_option = verb.options.contains(&word.as_str());
        value_follows = is_option && word != "--detach";
        !is_option
    })
}

fn needs_quote(word: &str) -> bool {
    word.chars().any(|c| c.is_whitespace() || matches!(c, '\'' | '"' | '\\' | '#'))
}

fn quoted(word: &str, quote: Option<char>) -> String {
    match quote {
        None => word.to_owned(),
        Some('"') => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
        Some(_) => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> Words {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Words {
            names: list(&["file.deb", "old photo.png", "old notes.txt", "it's.txt", "x\u{1b}[2J"]),
            nodes: list(&["node1", "node2"]),
            jobs: list(&["1", "12"]),
            over: list(&["7"]),
        }
    }

    /// The line after Tab, or what is listed.
    fn tab(line: &str) -> Vec<String> {
        let (start, candidates) = complete(line, &words());
        candidates.into_iter().map(|c| format!("{}{}", &line[..start], c.replacement)).collect()
    }

    #[test]
    fn commands() {
        assert_eq!(tab("dow"), ["download "]);
        assert_eq!(tab("  dow"), ["  download "]);
        assert_eq!(tab("").len(), VERBS.len());
        assert_eq!(tab("help ex"), ["help exit "]);
        assert!(tab("frob x").is_empty());
        assert!(tab("peers x").is_empty());
    }

    #[test]
    fn names_with_their_quotes() {
        assert_eq!(tab("download f"), ["download file.deb "]);
        assert_eq!(tab("download old"), ["download 'old notes.txt'", "download 'old photo.png'"]);
        assert_eq!(tab("download 'old p"), ["download 'old photo.png' "]);
        assert_eq!(tab("download \"old p"), ["download \"old photo.png\" "]);
        assert_eq!(tab("download old\\ p"), ["download 'old photo.png' "]);
        assert_eq!(tab("download it"), ["download 'it'\\''s.txt' "]);
        assert!(tab("download x").is_empty(), "what can't be typed is not offered");
        assert!(tab("download file.deb f").is_empty(), "one name is enough");
    }

    #[test]
    fn only_names_of_others_are_worth_a_search() {
        let search = |line| wants_search(line);
        assert_eq!(search("download 'old n"), Some("old n".to_owned()));
        assert_eq!(search("search fi"), Some("fi".to_owned()));
        for line in ["", "dow", "download ", "show fi", "download a --fr", "download --from n"] {
            assert_eq!(search(line), None, "{line}");
        }
    }

    #[test]
    fn options_and_their_values() {
        assert_eq!(tab("download a --f"), ["download a --from "]);
        assert_eq!(tab("download a --from ").len(), 3);
        assert_eq!(tab("download a --from a"), ["download a --from all "]);
        assert_eq!(tab("download --from node1 f"), ["download --from node1 file.deb "]);
        assert_eq!(tab("download a --from all --").len(), 3);
        assert_eq!(tab("download a --order s"), ["download a --order sequential "]);
        assert_eq!(tab("cancel 12"), ["cancel 12 "]);
        assert_eq!(tab("retry "), ["retry 7 "]);
        assert_eq!(tab("retry 7 --"), ["retry 7 --detach "]);
        assert_eq!(tab("jobs ").len(), 3);
        assert_eq!(tab("priority 1 h"), ["priority 1 high "]);
        assert_eq!(tab("priority 1 high h"), [""; 0]);
        assert_eq!(tab("limit u"), ["limit up", "limit uploads"]);
        assert_eq!(tab("limit 12 o"), ["limit 12 off "]);
    }

    proptest! {
        #[test]
        fn what_is_completed_is_understood(name in "[a-z '\"\\\\#é]{1,12}", typed in 0_usize..3, quote in "['\"]?") {
            prop_assume!(!name.trim().is_empty());
            let beginning: String = name.chars().take(typed).filter(|c| c.is_alphabetic()).collect();
            prop_assume!(name.starts_with(&beginning));
            let words = Words { names: vec![name.clone()], ..Words::default() };
            let line = format!("show {quote}{beginning}");
            let (start, candidates) = complete(&line, &words);
            prop_assert_eq!(candidates.len(), 1);
            let whole = format!("{}{}", &line[..start], candidates[0].replacement);
            prop_assert_eq!(shell_words::split(&whole).unwrap(), ["show".to_owned(), name]);
        }

        #[test]
        fn no_line_is_a_panic(line in "\\PC{0,40}") {
            complete(&line, &words());
        }
    }
}
