//! What a tracker of many nodes takes, and how fast it answers heartbeats.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use serde_json::Value;
use shoal_common::limits::{COUNCIL, HEARTBEAT};
use shoal_common::process::raise_descriptor_limit;

use crate::contestants::fanout::shoal::holders;
use crate::failure::{Attempt, Outcome};
use crate::figures::{median, spread, three_digits};
use crate::place::{Place, Where};
use crate::plot::{Bar, Kind, Panel};
use crate::process::{Server, free_address, installed, program, timed, until};
use crate::report::{Section, Table};
use crate::say;
use crate::setting::Setting;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Nodes that are here at once; fewer if this process may not have as many
    /// descriptors.
    #[arg(
        long,
        value_name = "COUNT",
        value_delimiter = ',',
        default_value = "1000,5000,10000,20000"
    )]
    pub nodes: Vec<u32>,
    /// Connections that send heartbeats as fast as they are answered.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "100,1000,10000")]
    pub connections: Vec<u32>,
    /// How long each is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub seconds: u64,
}

/// How long the nodes may take until all of them hold the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Heartbeats of those who are all here before they say one: thousands take longer
/// to come than a tracker waits for a word of the first.
const LONG_HEARTBEAT: Duration = Duration::from_secs(60);

/// How long nobody counts after all are here: a tracker tells of so many newcomers for
/// a quarter of a minute; see [`CHANGE_LOG`](shoal_common::limits::CHANGE_LOG).
const SETTLE: Duration = Duration::from_secs(30);

/// Descriptors of a process beside its connections.
const OTHER_DESCRIPTORS: u64 = 100;

const TEXT: &str = "Real connections over the loopback, all from one process of the bench, which \
    has a core of its own if there are two. *Presence*: a heartbeat of each node every 10 s, and 50 \
    nodes a second that come or go; each that comes asks for pages as it is told to, and so does who is told that there \
    was much. *with chat*: each node also has its connection to the chat, on which nobody speaks but \
    each side says every 5 s that it is there, as every node that runs has; seven real nodes, \
    on the core of the crowd, hold the log then. *cores* is the \
    tracker's own time, in the program and in the kernel (`/proc/PID/stat`) over the time that it \
    was measured. On the loopback the kernel does the receiver's work, too, while the sender sends: \
    *for receivers* is that part of *cores*, by the share of samples of `perf` within the kernel's \
    `net_rx_action`. *KiB a node* is memory that \
    belongs to no file (`RssAnon`), divided by the nodes. *known to all* is the time from when a \
    newcomer sends its registration until the last of those who stay has read of it. *bare \
    reference*: a loop that writes as many bytes as often on as many connections, and does nothing \
    else. *Heartbeats*: \
    each connection sends the next one when the last is answered; Redis is asked to `SET key 1 EX \
    20` by the same program over as many connections. *a core second*: answers by the server's own \
    time.";

/// Measures.
///
/// # Errors
/// The machine's, or Shoal's. That Redis is not installed becomes a remark.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let place = setting.place(Where::Tmpfs)?;
    let most = raise_descriptor_limit().saturating_sub(OTHER_DESCRIPTORS);
    let bounded = |count: &u32| u64::from(*count).min(most);
    let seconds = if setting.quick { args.seconds.min(5) } else { args.seconds };
    let bench = Bench { setting, place, seconds };
    let mut presence = Table {
        title: "Presence".to_owned(),
        head: [
            "nodes",
            "",
            "cores",
            "in the kernel",
            "for receivers",
            "KiB a node",
            "known to all, median ms",
            "greatest ms",
            "never",
            "messages/s",
            "MB/s",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Table::default()
    };
    for nodes in args.nodes.iter().map(bounded) {
        let (line, told) = bench.presence(nodes, false)?;
        presence.lines.push(line);
        presence.lines.push(bench.bare(nodes, told)?);
    }
    // The tracker needs as many, and some for those who hold the log.
    let most_chat = (most / 2).saturating_sub(OTHER_DESCRIPTORS);
    let mut counts: Vec<_> = args.nodes.iter().map(|nodes| bounded(nodes).min(most_chat)).collect();
    counts.dedup();
    for nodes in counts {
        presence.lines.push(bench.presence(nodes, true)?.0);
    }
    if let Some(wanted) = args.nodes.iter().map(|nodes| u64::from(*nodes)).max() {
        for (possible, what) in [(most, ""), (most_chat, ", each with the chat,")] {
            if wanted > possible {
                presence.remarks.push(format!(
                    "More than {possible} nodes{what} take more descriptors than a process may \
                     have here."
                ));
            }
        }
    }
    let (table, panel) = bench.peaks(&args.connections.iter().map(bounded).collect::<Vec<_>>())?;
    Ok(Section {
        id: "tracker".to_owned(),
        title: "Tracker".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![presence, table],
        panels: vec![panel],
    })
}

struct Bench<'a> {
    setting: &'a Setting,
    place: Place,
    seconds: u64,
}

impl Bench<'_> {
    /// A program on one core, if there are several.
    fn pinned(&self, core: usize, path: PathBuf) -> Command {
        let mut command = if available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let mut command = program("taskset");
            command.args(["-c", &core.to_string()]).arg(path);
            command
        } else {
            program(path)
        };
        command.current_dir(self.place.path(""));
        command
    }

    fn tracker(&self, heartbeat: Duration) -> Outcome<(Server, SocketAddr)> {
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut command = self.pinned(1, self.setting.program("shoal-tracker"));
        command.args(["--listen", &address.to_string()]).arg("--logs").arg(self.place.path("logs"));
        command.args(["--heartbeat", &heartbeat.as_secs().to_string()]);
        let mut server = Server::start(&mut command, &self.place.path("tracker.out"))?;
        server.listening(address)?;
        Ok((server, address))
    }

    fn redis(&self, connections: u64) -> Outcome<(Server, SocketAddr)> {
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut command = self.pinned(1, installed("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--tcp-backlog", "4096"]);
        // The crowd has many addresses, of which Redis takes only one for its own machine's.
        command.args(["--protected-mode", "no"]);
        command.args(["--maxclients", &(connections + OTHER_DESCRIPTORS / 2).to_string()]);
        let mut server = Server::start(&mut command, &self.place.path("redis.out"))?;
        server.listening(address)?;
        Ok((server, address))
    }

    /// What the crowd has to say of a server.
    fn crowd(&self, server: &(Server, SocketAddr), nodes: u64, task: &[&str]) -> Outcome<Value> {
        let mut command = self.pinned(0, self.setting.program("crowd"));
        command.args(["--to", &server.1.to_string(), "--process", &server.0.id().to_string()]);
        command.args(["--nodes", &nodes.to_string(), "--seconds", &self.seconds.to_string()]);
        let (_, output) = timed(command.args(task))?;
        serde_json::from_slice(&output.stdout).attempt("what the crowd says is no JSON")
    }

    /// Real nodes, which hold the log of the chat.
    fn holders(&self, tracker: SocketAddr) -> Outcome<Vec<Server>> {
        let mut nodes = Vec::with_capacity(COUNCIL);
        for number in 0..COUNCIL {
            let name = format!("holder{number}");
            let mut command = self.pinned(0, self.setting.program("shoal-node"));
            command.args(["--name", &name, "--tracker", &tracker.to_string()]);
            command.args(["--listen", "127.0.0.1"]);
            command.arg("--files").arg(self.place.folder(&name)?);
            command.arg("--logs").arg(self.place.path("logs"));
            nodes.push(Server::start(&mut command, &self.place.path(format!("{name}.out")))?);
        }
        until("the nodes hold the log", PATIENCE, || Ok(holders(tracker)? == COUNCIL as u64))?;
        Ok(nodes)
    }

    /// A line of the table, and what each node was told.
    fn presence(&self, nodes: u64, chat: bool) -> Outcome<(Vec<String>, Told)> {
        let tracker = self.tracker(HEARTBEAT)?;
        let _holders = chat.then(|| self.holders(tracker.1)).transpose()?;
        let settle = SETTLE.as_secs().to_string();
        let mut words = vec!["presence", "--settle", &settle];
        words.extend(chat.then_some("--chat"));
        let seen = self.crowd(&tracker, nodes, &words)?;
        say::note(format_args!(
            "  {nodes} nodes, chat {chat}: load {}, own {}",
            at(&seen, "load"),
            at(&seen, "own")
        ));
        let number = |path: [&str; 2]| at(at(&seen, path[0]), path[1]).as_f64().unwrap_or(f64::NAN);
        let time = number(["load", "seconds"]);
        let joins: Vec<f64> = at(&seen, "joins_ms")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        let memory = at(&seen, "memory_kib").as_f64().unwrap_or(f64::NAN);
        let (messages, bytes) = (number(["came", "messages"]), number(["came", "bytes"]));
        let line = vec![
            nodes.to_string(),
            if chat { "tracker, with chat" } else { "tracker" }.to_owned(),
            three_digits(number(["load", "cores"])),
            three_digits(number(["load", "system"]) / time),
            receiving(&seen),
            three_digits(memory / nodes as f64),
            three_digits(median(&joins).unwrap_or(f64::NAN)),
            three_digits(spread(&joins).map_or(f64::NAN, |(_, most)| most)),
            at(&seen, "missed").to_string(),
            three_digits(messages / time),
            three_digits(bytes / time / 1e6),
        ];
        let pause = Duration::try_from_secs_f64(nodes as f64 * time / messages)?;
        Ok((line, Told { bytes: bytes / messages, pause }))
    }

    /// A line for who tells as many as much, and does nothing else.
    fn bare(&self, nodes: u64, told: Told) -> Outcome<Vec<String>> {
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut command = self.pinned(1, self.setting.program("bare"));
        command.args(["tell", "--listen", &address.to_string()]);
        command.args(["--bytes", &format!("{:.0}", told.bytes)]);
        command.args(["--pause", &told.pause.as_millis().to_string()]);
        let mut server = Server::start(&mut command, &self.place.path("bare.out"))?;
        server.listening(address)?;
        let seen = self.crowd(&(server, address), nodes, &["told"])?;
        say::note(format_args!("  bare: load {}, own {}", at(&seen, "load"), at(&seen, "own")));
        let number = |path: [&str; 2]| at(at(&seen, path[0]), path[1]).as_f64().unwrap_or(f64::NAN);
        let (time, bytes) = (number(["load", "seconds"]), number(["came", "bytes"]));
        let mut line = vec![
            nodes.to_string(),
            "bare reference".to_owned(),
            three_digits(number(["load", "cores"])),
            three_digits(number(["load", "system"]) / time),
            receiving(&seen),
        ];
        line.extend(["-"; 4].map(str::to_owned));
        line.extend([bytes / told.bytes / time, bytes / time / 1e6].map(three_digits));
        Ok(line)
    }

    fn peaks(&self, connections: &[u64]) -> Outcome<(Table, Panel)> {
        let mut table = Table {
            title: "Heartbeats".to_owned(),
            head: [
                "",
                "connections",
                "answers/s",
                "least – most",
                "server's cores",
                "a core second",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Table::default()
        };
        let title = "Answers a second, server on one core".to_owned();
        let mut panel = Panel { title, unit: "/s".to_owned(), bars: Vec::new() };
        for &count in connections {
            let (mut ours, mut redis) = (Vec::new(), Vec::new());
            for _ in 0..self.setting.rounds.min(3) {
                let tracker = self.tracker(LONG_HEARTBEAT)?;
                ours.push(Peak::of(&self.crowd(&tracker, count, &["peak"])?));
                drop(tracker);
                match self.redis(count) {
                    Ok(server) => redis.push(Peak::of(&self.crowd(&server, count, &["redis"])?)),
                    Err(failure) => {
                        let remark = format!("Redis is missing: {failure}.");
                        if !table.remarks.contains(&remark) {
                            table.remarks.push(remark);
                        }
                    }
                }
            }
            for (name, kind, peaks) in [
                ("Shoal's tracker, heartbeat", Kind::Ours, ours),
                ("Redis, `SET … EX`", Kind::Other, redis),
            ] {
                let line = Line { name, kind, count, peaks };
                table.lines.extend(line.cells());
                panel.bars.extend(line.bar());
            }
        }
        Ok((table, panel))
    }
}

/// What a node was told.
struct Told {
    /// Of a message.
    bytes: f64,
    /// Between two messages.
    pause: Duration,
}

/// The cores that were the kernel's work for receivers.
fn receiving(seen: &Value) -> String {
    let cores = at(at(seen, "load"), "cores").as_f64().unwrap_or(f64::NAN);
    let share = at(seen, "receiving").as_f64();
    share.map_or_else(|| "-".to_owned(), |share| three_digits(share * cores))
}

/// One run.
struct Peak {
    rate: f64,
    cores: f64,
}

impl Peak {
    fn of(seen: &Value) -> Self {
        let load = at(seen, "load");
        let number = |name| at(load, name).as_f64().unwrap_or(f64::NAN);
        let answers = at(seen, "answers").as_f64().unwrap_or(f64::NAN);
        say::note(format_args!("  {answers} answers, load {load}, own {}", at(seen, "own")));
        Self { rate: answers / number("seconds"), cores: number("cores") }
    }
}

struct Line {
    name: &'static str,
    kind: Kind,
    count: u64,
    peaks: Vec<Peak>,
}

impl Line {
    fn rates(&self) -> Vec<f64> {
        self.peaks.iter().map(|peak| peak.rate).collect()
    }

    fn cells(&self) -> Option<Vec<String>> {
        let rates = self.rates();
        let (least, most) = spread(&rates)?;
        let cores = median(&self.peaks.iter().map(|peak| peak.cores).collect::<Vec<_>>())?;
        let by_core: Vec<_> = self.peaks.iter().map(|peak| peak.rate / peak.cores).collect();
        Some(vec![
            self.name.to_owned(),
            self.count.to_string(),
            three_digits(median(&rates)?),
            format!("{} – {}", three_digits(least), three_digits(most)),
            three_digits(cores),
            three_digits(median(&by_core)?),
        ])
    }

    fn bar(&self) -> Option<Bar> {
        let rates = self.rates();
        let (least, most) = spread(&rates)?;
        let label = format!("{}, {}", self.name.replace('`', ""), self.count);
        let median = median(&rates)?;
        Some(Bar { label, kind: self.kind, median, least, most, remark: String::new() })
    }
}

fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}
