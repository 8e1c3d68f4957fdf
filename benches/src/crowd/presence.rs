//! A network at its usual work: everyone is here and says so, some come and go,
//! and all hear of it.

mod chat;
mod joins;
mod pages;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::tracking::FromTracker;

use self::chat::Chat;
use self::joins::Joins;
use self::pages::Pages;
use super::links::Links;
use super::load::{Load, Look, Sampling, anonymous};
use super::peak::each;
use super::words::{self, Kind};
use crate::failure::{Failure, Outcome};

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The tracker.
    pub to: SocketAddr,
    /// Its process.
    pub process: u32,
    /// Nodes that are here at once.
    pub nodes: usize,
    /// Of these, those that come and go.
    pub passing: usize,
    /// Between two heartbeats of a node.
    pub beat: Duration,
    /// Comings and goings a second, in all.
    pub changes: f64,
    /// Registrations a second at the beginning.
    pub ramp: f64,
    /// How long it runs before it counts.
    pub settle: Duration,
    /// How long it counts.
    pub time: Duration,
    /// Whether each node has its connection to the chat, too.
    pub chat: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Seen {
    /// Of the tracker.
    pub load: Load,
    /// Of this process.
    pub own: Load,
    /// Memory of the tracker that belongs to no file, in KiB: with everyone here.
    pub memory: f64,
    /// Bytes and messages that came.
    pub came: (u64, u64),
    /// Of each join, milliseconds from its registration's being sent until all
    /// who stay have read of it.
    pub joins: Vec<f64>,
    /// Joins of which somebody never read.
    pub missed: usize,
    /// Which part of the tracker's time is the kernel's work for receivers, if
    /// `perf` can tell.
    pub receiving: Option<f64>,
}

/// How long a phase may take beyond its time.
const PATIENCE: Duration = Duration::from_secs(240);

/// Nodes that may be on their way in at once.
const COMING: usize = 256;

/// Between two looks at what came: who looks at each message at once is woken
/// for each, at the expense of who sends it.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// A join that nobody has read of for so long was missed.
pub(super) const LATE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Coming,
    Greeted,
    Here,
    Leaving,
}

struct Crowd {
    plan: Plan,
    /// Of each node one, and behind them, of each, that of the chat.
    links: Links,
    states: Vec<State>,
    heartbeat: Vec<u8>,
    exit: Vec<u8>,
    /// Whose turn to say a heartbeat it is, and how many were said.
    beats: (usize, u64),
    /// Numbers of those who may come, and of those who are here and will go.
    absent: VecDeque<usize>,
    going: VecDeque<usize>,
    coming: usize,
    joins: Joins,
    pages: Pages,
    chat: Chat,
    came: (u64, u64),
    ready: Vec<usize>,
}

/// Brings everyone in, lets them be, and measures.
///
/// # Errors
/// The tracker refuses somebody, hangs up, or is too slow.
pub fn run(plan: Plan, tell: impl Fn(&str)) -> Outcome<Seen> {
    let mut crowd = Crowd::new(plan)?;
    crowd.bring_in()?;
    tell("all are here");
    let start = Instant::now();
    let mut events = 0;
    let settle = crowd.plan.settle;
    crowd.live(start, settle, &mut events)?;
    tell("measuring");
    let (process, time) = (crowd.plan.process, crowd.plan.time);
    let (look, own) = (Look::at(process)?, Look::at(std::process::id())?);
    crowd.came = (0, 0);
    crowd.joins.counts = true;
    crowd.live(start, settle + time, &mut events)?;
    let (load, own) = (look.since(process)?, own.since(std::process::id())?);
    let (memory, came) = (anonymous(process)?, crowd.came);
    crowd.joins.counts = false;
    // Afterwards, because it takes time itself.
    let sampling = Sampling::start(process, LATE);
    crowd.live(start, settle + time + LATE, &mut events)?;
    let (joins, missed) = crowd.joins.result();
    let receiving = sampling.and_then(Sampling::share);
    Ok(Seen { load, own, memory, came, joins, missed, receiving })
}

impl Crowd {
    fn new(plan: Plan) -> Outcome<Self> {
        let passing = plan.passing.min(plan.nodes);
        let staying = plan.nodes - passing;
        Ok(Self {
            links: Links::new(plan.nodes * if plan.chat { 2 } else { 1 })?,
            states: vec![State::Absent; plan.nodes],
            heartbeat: words::heartbeat()?,
            exit: words::exit()?,
            beats: (0, 0),
            absent: (0..plan.nodes).collect(),
            going: VecDeque::new(),
            coming: 0,
            pages: Pages::default(),
            chat: Chat::new(if plan.chat { plan.nodes } else { 0 })?,
            joins: Joins::new(staying),
            came: (0, 0),
            ready: Vec::new(),
            plan,
        })
    }

    fn bring_in(&mut self) -> Outcome<()> {
        let start = Instant::now();
        let mut opened = 0.0;
        while !(self.absent.is_empty() && self.coming == 0 && self.chat.coming == 0) {
            if start.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "only {} of {} nodes are taken in after {} s",
                    self.plan.nodes - self.absent.len() - self.coming,
                    self.plan.nodes,
                    PATIENCE.as_secs()
                )));
            }
            let due = start.elapsed().as_secs_f64() * self.plan.ramp;
            while opened < due && self.coming + self.chat.coming < COMING && self.come()? {
                opened += 1.0;
            }
            self.beat(start)?;
            self.listen()?;
        }
        (self.beats.1, self.chat.beats.1) = (0, 0);
        Ok(())
    }

    /// Heartbeats, comings and goings until so long after `start`.
    fn live(&mut self, start: Instant, until: Duration, events: &mut u64) -> Outcome<()> {
        while start.elapsed() < until {
            self.beat(start)?;
            let due = start.elapsed().as_secs_f64() * self.plan.changes;
            while (*events as f64) < due {
                if events.is_multiple_of(2) {
                    self.go()?;
                } else {
                    self.come()?;
                }
                *events += 1;
            }
            self.listen()?;
            if start.elapsed() > until + LATE {
                return Err(Failure::new("this machine does not keep up"));
            }
        }
        Ok(())
    }

    /// Somebody comes, if there is anybody.
    fn come(&mut self) -> Outcome<bool> {
        let Some(at) = self.absent.pop_front() else { return Ok(false) };
        let id = NodeId::random();
        self.links.open(at, self.plan.to)?;
        self.links.send(at, &words::hello(id, Talk::Tracking)?)?;
        self.joins.ids.insert(at, id);
        self.coming += 1;
        self.set(at, State::Coming);
        Ok(true)
    }

    /// Who has been here longest of those who come and go, goes.
    fn go(&mut self) -> Outcome<()> {
        let Some(at) = self.going.pop_front() else { return Ok(()) };
        self.links.send(at, &self.exit)?;
        self.set(at, State::Leaving);
        Ok(())
    }

    fn set(&mut self, at: usize, state: State) {
        if let Some(place) = self.states.get_mut(at) {
            *place = state;
        }
    }

    /// Asks for the pages that are due.
    fn turn_pages(&mut self) -> Outcome<()> {
        while let Some((at, after)) = self.pages.take_due(Instant::now()) {
            if self.states.get(at) == Some(&State::Here) {
                self.links.send(at, &words::page(after)?)?;
            }
        }
        Ok(())
    }

    /// Says the heartbeats that are due: each node's in its turn.
    fn beat(&mut self, start: Instant) -> Outcome<()> {
        let each = self.plan.nodes as f64 / self.plan.beat.as_secs_f64();
        let due = start.elapsed().as_secs_f64() * each;
        while (self.beats.1 as f64) < due {
            let at = self.beats.0;
            if self.states.get(at) == Some(&State::Here) {
                self.links.send(at, &self.heartbeat)?;
            }
            self.beats = ((at + 1) % self.plan.nodes, self.beats.1 + 1);
        }
        self.beat_chat(start)
    }

    fn listen(&mut self) -> Outcome<()> {
        self.turn_pages()?;
        thread::sleep(TICK);
        let mut ready = std::mem::take(&mut self.ready);
        self.links.wait(Duration::ZERO, &mut ready)?;
        for &at in &ready {
            match at.checked_sub(self.plan.nodes) {
                None => self.hear(at)?,
                Some(at) => self.hear_chat(at)?,
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn hear(&mut self, at: usize) -> Outcome<()> {
        let mut next = None;
        let (joins, came, pages) = (&mut self.joins, &mut self.came, &mut self.pages);
        let state = self.states.get(at).copied().unwrap_or(State::Absent);
        let mut greeted = state != State::Coming;
        self.links.read(at, |bytes| {
            each(bytes, &mut greeted, |body| {
                (came.0, came.1) = (came.0 + body.len() as u64, came.1 + 1);
                match words::kind(body) {
                    Kind::Update if words::is_much(body) => pages.much(at, Instant::now()),
                    Kind::Update => joins.hear(at, body)?,
                    Kind::Page | Kind::Registered => match words::read(body)? {
                        FromTracker::Page(page) => pages.came(at, &page, Instant::now()),
                        FromTracker::Registered(registered) => {
                            pages.registered(at, registered.is_everyone(), Instant::now());
                            next = Some(Kind::Registered);
                        }
                        _ => {}
                    },
                    kind @ (Kind::Hello | Kind::Done) => next = Some(kind),
                    Kind::Reign => {}
                    _ => {
                        let said = String::from_utf8_lossy(body);
                        return Err(Failure::new(format!("a node is refused: {said}")));
                    }
                }
                Ok(())
            })
        })?;
        match next {
            Some(Kind::Hello) => {
                self.set(at, State::Greeted);
                self.joins.starts(at);
                self.links.send(at, &words::register(at)?)?;
            }
            Some(Kind::Registered) => {
                self.coming -= 1;
                self.set(at, State::Here);
                if at >= self.joins.staying {
                    self.going.push_back(at);
                }
                self.open_chat(at)?;
            }
            Some(Kind::Done) => {
                self.links.close(at);
                self.close_chat(at);
                self.pages.forget(at);
                self.set(at, State::Absent);
                self.absent.push_back(at);
            }
            _ => {}
        }
        Ok(())
    }
}
