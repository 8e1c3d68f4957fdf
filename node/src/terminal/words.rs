//! The words that can be typed: one row a command. Pure.

/// A row of the table of commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// What is typed first.
    pub name: &'static str,
    /// What may follow.
    pub usage: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The rest that is worth knowing.
    pub details: &'static str,
    /// What its first argument is.
    pub argument: Argument,
    /// What its second argument can be, where that is a word of a few.
    pub second: &'static [&'static str],
    /// Options that may follow.
    pub options: &'static [&'static str],
}

/// What the first argument of a command is; completion asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// There is none.
    Nothing,
    /// The name of a file.
    File,
    /// The number of a download that is not over.
    Job,
    /// The number of a download that is over.
    PastJob,
    /// The number of any download.
    AnyJob,
    /// What is limited: a direction, a number of transfers, a download.
    Limited,
    /// The name of a node.
    Node,
    /// Nothing, or [`REFRESH`].
    Refresh,
    /// A command.
    Verb,
    /// Text, or what can't be offered.
    Text,
}

/// What makes `peers` ask everyone.
pub const REFRESH: &str = "refresh";

/// What can be limited besides single downloads.
pub const LIMITED: &[&str] = &["up", "down", "uploads", "downloads"];

/// A row with a name and a summary alone.
const PLAIN: Verb = Verb {
    name: "",
    usage: "",
    summary: "",
    details: "",
    argument: Argument::Nothing,
    second: &[],
    options: &[],
};

/// Every command, in the order in which help lists them.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "help",
        usage: "help [COMMAND]",
        summary: "what can be typed, or more about one command",
        argument: Argument::Verb,
        ..PLAIN
    },
    Verb {
        name: "getip",
        usage: "getip",
        summary: "who this node is: name, addresses, tracker",
        ..PLAIN
    },
    Verb {
        name: "clock",
        usage: "clock",
        summary: "the Lamport time of this node",
        details: "Every message carries it: what was caused by something has a later time. The\n\
                  log and `--json` show it too. At equal times the node id decides the order.",
        ..PLAIN
    },
    Verb {
        name: "tracker",
        usage: "tracker",
        summary: "who is tracker, since when, and who would succeed it",
        details: "A node takes over when the tracker is lost, the one longest in the network\n\
                  first, with the next epoch; the home tracker gets the office back when it\n\
                  returns. A caretaker serves without a majority of the council, as when a\n\
                  network is cut in two.",
        ..PLAIN
    },
    Verb {
        name: "show",
        usage: "show [PART]",
        summary: "the files this node shares: name, size, file id",
        details: "With PART, only names that contain it, whatever its case. The file id is\n\
                  what `b3sum FILE` prints.",
        argument: Argument::File,
        ..PLAIN
    },
    Verb {
        name: "peers",
        usage: "peers [refresh]",
        summary: "the other nodes; `refresh` asks everyone before",
        details: "STATE is `online` or `offline`, CONTACT how long ago this node spoke with that\n\
                  one about other nodes, CLOCK the Lamport time at which this was known of it.\n\
                  Whoever is offline is shown where no tracker keeps the list, for a day.",
        argument: Argument::Refresh,
        ..PLAIN
    },
    Verb {
        name: "hello",
        usage: "hello NAME|ADDRESS",
        summary: "say hello to a node; each tells the other whom it knows",
        details: "By its name, or at its search address, HOST:PORT. So a node is told of a\n\
                  network that it did not find.",
        argument: Argument::Node,
        ..PLAIN
    },
    Verb {
        name: "say",
        usage: "say TEXT",
        summary: "say something in the present room",
        details: "TEXT is the rest of the line as it is typed. It is acknowledged when a\n\
                  majority of the nodes that hold the chat's log have it; until then `say`\n\
                  tells that it is not accepted yet, and the node goes on trying, also after a\n\
                  restart.",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "msg",
        usage: "msg NAME TEXT",
        summary: "say something to one other node",
        argument: Argument::Node,
        ..PLAIN
    },
    Verb {
        name: "join",
        usage: "join ROOM",
        summary: "come into a room, or make it; `say` goes there then",
        details: "ROOM is 1 to 32 small letters, digits, `-`, `_` and `.`. Everyone is in the\n\
                  room `lobby`. Who makes a room rules it: `topic`, `kick`, `ban`, `private`,\n\
                  `invite`.",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "leave",
        usage: "leave [ROOM]",
        summary: "leave the present room, or another; back to `lobby`",
        details: "A room that everyone has left is gone; one that its creator leaves is ruled\n\
                  by whoever came next.",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb { name: "rooms", usage: "rooms", summary: "which rooms there are", ..PLAIN },
    Verb {
        name: "who",
        usage: "who [ROOM]",
        summary: "who is in the present room, and whether they are here",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "history",
        usage: "history [LINES]",
        summary: "what was said last in the present room",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "topic",
        usage: "topic [TEXT]",
        summary: "say what the present room is about",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "private",
        usage: "private [on|off]",
        summary: "close the room to those not invited, or open it",
        argument: Argument::Text,
        ..PLAIN
    },
    Verb {
        name: "invite",
        usage: "invite NAME",
        summary: "let somebody into the present room",
        argument: Argument::Node,
        ..PLAIN
    },
    Verb {
        name: "kick",
        usage: "kick NAME",
        summary: "take somebody out of the present room",
        argument: Argument::Node,
        ..PLAIN
    },
    Verb {
        name: "ban",
        usage: "ban NAME [off]",
        summary: "kick somebody and keep them out, or lift that",
        argument: Argument::Node,
        ..PLAIN
    },
    Verb {
        name: "revive",
        usage: "revive",
        summary: "go on without nodes that held the chat and are gone",
        details: "The chat waits while a majority of the nodes that hold its log is away,\n\
                  because only they may have its last messages. If they are gone for ever,\n\
                  this gives those messages up and goes on with what is known here.",
        ..PLAIN
    },
    Verb {
        name: "search",
        usage: "search PATTERN",
        summary: "which files the other nodes have",
        details: "PATTERN is part of a name, whatever its case, or a glob: `*.txt`,\n\
                  `photo-20[12]?.jpg`, `*.{png,jpg}`. Put a pattern with spaces in quotes.",
        argument: Argument::File,
        ..PLAIN
    },
    Verb {
        name: "download",
        usage: "download NAME [--from OWNER] [--id PREFIX] [--order ORDER] [--detach]",
        summary: "fetch a file, a folder (`NAME/`) or a glob (`*.jpg`)",
        details: "Of a file, lists the owners and asks for the position of one; -2 fetches\n\
                  chunks from all of them, -1 cancels. With --from it does not ask: OWNER is a\n\
                  position of that list, the name of a node, or `all`. Where one name has\n\
                  several contents, --id chooses by the first digits of the id. A folder or a\n\
                  glob is fetched from all who have a part of it unless --from names a node;\n\
                  what is here already is not fetched again. With --order sequential the bytes\n\
                  come from front to back. A download runs on while you type; from outside,\n\
                  `ctl download` waits for its end unless --detach is given. Put a name with\n\
                  spaces, and a glob from outside, in quotes.",
        argument: Argument::File,
        options: &["--from", "--id", "--order", "--detach"],
        ..PLAIN
    },
    Verb {
        name: "jobs",
        usage: "jobs [JOB]",
        summary: "the downloads, or one: how far, how fast, from whom",
        argument: Argument::AnyJob,
        ..PLAIN
    },
    Verb {
        name: "cancel",
        usage: "cancel JOB",
        summary: "end a download; what has come is kept for the next time",
        details: "JOB is the number that `jobs` shows.",
        argument: Argument::Job,
        ..PLAIN
    },
    Verb {
        name: "pause",
        usage: "pause JOB",
        summary: "stop a download until `resume`, also over a restart",
        argument: Argument::Job,
        ..PLAIN
    },
    Verb {
        name: "resume",
        usage: "resume JOB",
        summary: "let a paused download go on",
        argument: Argument::Job,
        ..PLAIN
    },
    Verb {
        name: "priority",
        usage: "priority JOB LEVEL",
        summary: "which downloads come first where not all can run",
        details: "LEVEL is `high`, `normal` or `low`; among equals the older one comes first.\n\
                  What falls out is queued, and goes on where it was when its turn comes.",
        argument: Argument::Job,
        second: &["high", "normal", "low"],
        ..PLAIN
    },
    Verb {
        name: "retry",
        usage: "retry JOB [--detach]",
        summary: "fetch again, as a new job; of a folder what is missing",
        details: "For a download that failed, was cancelled, or could not get some files. From\n\
                  outside, `ctl retry` waits for its end unless --detach is given.",
        argument: Argument::PastJob,
        options: &["--detach"],
        ..PLAIN
    },
    Verb {
        name: "limit",
        usage: "limit [WHAT RATE]",
        summary: "the limits on transfers, or a new one",
        details: "`limit up 50MB` is for all uploads together, `limit down 800kB` for all\n\
                  downloads, `limit 3 1.5MiB` for job 3: bytes a second, or `off`. `limit\n\
                  uploads 4` and `limit downloads 2` say how many run at once. They hold at\n\
                  once, those of the node until it ends.",
        argument: Argument::Limited,
        second: &["off"],
        ..PLAIN
    },
    Verb {
        name: "chunk-size",
        usage: "chunk-size [SIZE]",
        summary: "how many bytes one request asks for: 64KiB to 16MiB",
        details: "For trials: `stats` compares. Bytes are verified in chunks of a size of their\n\
                  own.",
        ..PLAIN
    },
    Verb {
        name: "stats",
        usage: "stats",
        summary: "how long past downloads took",
        details: "Of those that fetched all of their bytes at one go, by size, request size and\n\
                  number of owners. TIME is the mean, RATE the size in that time, STD DEV the\n\
                  standard deviation of the time. Kept over restarts.",
        ..PLAIN
    },
    Verb {
        name: "exit",
        usage: "exit",
        summary: "leave the network and end the node",
        details: "Running uploads and downloads are waited for, up to the grace period; Ctrl-C\n\
                  then leaves at once. What was under way goes on at the next start.",
        ..PLAIN
    },
];

/// Words of other programs for the same thing.
const SYNONYMS: &[(&str, &str)] = &[
    ("quit", "exit"),
    ("bye", "exit"),
    ("ls", "show"),
    ("list", "show"),
    ("get", "download"),
    ("fetch", "download"),
    ("find", "search"),
    ("whoami", "getip"),
    ("ip", "getip"),
    ("nodes", "peers"),
    ("refresh", "peers"),
    ("greet", "hello"),
    ("ping", "hello"),
    ("time", "clock"),
    ("leader", "tracker"),
    ("succession", "tracker"),
    ("lamport", "clock"),
    ("downloads", "jobs"),
    ("status", "jobs"),
    ("kill", "cancel"),
    ("stop", "cancel"),
    ("hold", "pause"),
    ("continue", "resume"),
    ("unpause", "resume"),
    ("prio", "priority"),
    ("again", "retry"),
    ("limits", "limit"),
    ("throttle", "limit"),
    ("statistics", "stats"),
    ("?", "help"),
];

/// The command that somebody may have meant, if one is near.
pub fn nearest(typed: &str) -> Option<&'static str> {
    if let Some((_, verb)) = SYNONYMS.iter().find(|(word, _)| *word == typed) {
        return Some(verb);
    }
    let near = |name: &str| {
        // A beginning is as good as a typo: `down`, `sea`.
        let beginning = typed.len() >= 2 && name.starts_with(typed);
        if beginning { 1.0 } else { strsim::jaro_winkler(typed, name) }
    };
    VERBS
        .iter()
        .map(|verb| (near(verb.name), verb.name))
        .filter(|(nearness, _)| *nearness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
