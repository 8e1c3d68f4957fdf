//! The commands of the chat.

use super::{Args, Command, CommandError, escape, verb};
use crate::chat::verbs::Ask;

/// Commands whose text is taken as it is typed.
const SPOKEN: &[&str] = &["say", "msg", "topic"];

const VERBS: &[&str] = &[
    "say", "msg", "join", "leave", "rooms", "who", "history", "topic", "private", "invite", "kick",
    "ban", "revive",
];

/// Whether the text of this command is taken as it is typed.
pub fn is_spoken(typed: &str) -> bool {
    SPOKEN.contains(&typed.to_lowercase().as_str())
}

pub(super) fn is_verb(name: &str) -> bool {
    VERBS.contains(&name)
}

/// A line whose text is taken as it is typed; `None` if it is another one.
pub(super) fn spoken(line: &str) -> Option<Result<Command, CommandError>> {
    let (typed, rest) = first_word(line);
    if !is_spoken(typed) {
        return None;
    }
    let name = typed.to_lowercase();
    let mut words = Vec::new();
    let mut rest = rest;
    if name == "msg" {
        let (to, text) = first_word(rest);
        words.extend((!to.is_empty()).then(|| to.to_owned()));
        rest = text;
    }
    words.extend((!rest.is_empty()).then(|| rest.to_owned()));
    let parsed = verb(&name).and_then(|verb| {
        let mut args = Args { verb, words: words.into_iter() };
        args.chat().map(Command::Chat)
    });
    Some(parsed)
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

impl Args {
    /// What is asked of the chat.
    pub(super) fn chat(&mut self) -> Result<Ask, CommandError> {
        Ok(match self.verb.name {
            "say" => Ask::Say { text: self.text("a TEXT")? },
            "msg" => {
                let name = self.required("a NAME")?;
                Ask::Msg { name, text: self.text("a TEXT")? }
            }
            "join" => Ask::Join { room: self.required("a ROOM")? },
            "leave" => Ask::Leave { room: self.optional() },
            "who" => Ask::Who { room: self.optional() },
            "history" => {
                let lines = match self.optional() {
                    Some(word) => Some(self.number(&word)?),
                    None => None,
                };
                Ask::History { lines }
            }
            "topic" => Ask::Topic { text: self.rest() },
            "private" => Ask::Private { on: self.switch()? },
            "invite" => Ask::Invite { name: self.required("a NAME")? },
            "kick" => Ask::Kick { name: self.required("a NAME")? },
            "ban" => {
                let name = self.required("a NAME")?;
                Ask::Ban { name, on: self.switch()? }
            }
            "revive" => Ask::Revive,
            _ => Ask::Rooms,
        })
    }

    fn rest(&mut self) -> String {
        self.words.by_ref().collect::<Vec<_>>().join(" ")
    }

    fn text(&mut self, what: &str) -> Result<String, CommandError> {
        let text = self.rest();
        if text.trim().is_empty() {
            Err(self.wrong(format!("{what} is missing")))
        } else {
            Ok(text)
        }
    }

    fn switch(&mut self) -> Result<bool, CommandError> {
        match self.optional().as_deref() {
            None | Some("on") => Ok(true),
            Some("off") => Ok(false),
            Some(word) => Err(self.wrong(format!("`{}` is not `on` or `off`", escape(word)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_line;
    use super::*;

    fn asked(line: &str) -> Ask {
        match parse_line(line) {
            Ok(Some(Command::Chat(ask))) => ask,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_said_is_said_as_it_is_typed() {
        let say = |text: &str| Ask::Say { text: text.to_owned() };
        assert_eq!(asked("say don't \"quote\"  me\\"), say("don't \"quote\"  me\\"));
        assert_eq!(asked("  SAY   x "), say("x"));
        let msg = Ask::Msg { name: "bob".into(), text: "it's me".into() };
        assert_eq!(asked("msg bob  it's me"), msg);
        assert_eq!(asked("topic cats' pictures"), Ask::Topic { text: "cats' pictures".into() });
        assert_eq!(asked("topic"), Ask::Topic { text: String::new() });
    }

    #[test]
    fn the_other_commands() {
        assert_eq!(asked("join pets"), Ask::Join { room: "pets".into() });
        assert_eq!(asked("leave"), Ask::Leave { room: None });
        assert_eq!(asked("rooms"), Ask::Rooms);
        assert_eq!(asked("who pets"), Ask::Who { room: Some("pets".into()) });
        assert_eq!(asked("history 5"), Ask::History { lines: Some(5) });
        assert_eq!(asked("private"), Ask::Private { on: true });
        assert_eq!(asked("private off"), Ask::Private { on: false });
        assert_eq!(asked("ban bob"), Ask::Ban { name: "bob".into(), on: true });
        assert_eq!(asked("ban bob off"), Ask::Ban { name: "bob".into(), on: false });
        assert_eq!(asked("revive"), Ask::Revive);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        // Words of `ctl` are not trimmed.
        let blank = super::super::parse_words(vec!["say".into(), " \t ".into()]).unwrap_err();
        assert!(blank.to_string().contains("a TEXT is missing"), "{blank}");
        for (line, problem) in [
            ("say", "a TEXT is missing"),
            ("msg bob", "a TEXT is missing"),
            ("msg", "a NAME is missing"),
            ("join", "a ROOM is missing"),
            ("history many", "`many` is no number"),
            ("private maybe", "`maybe` is not `on` or `off`"),
            ("rooms all", "`all` is too much"),
        ] {
            let error = parse_line(line).unwrap_err().to_string();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
