//! As many requests a second as are answered: each connection sends the next
//! one when the last is answered.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use shoal_common::ident::NodeId;
use shoal_common::protocol::greeting::Talk;

use super::links::Links;
use super::load::{Load, Look};
use super::words::{self, Kind};
use crate::failure::{Failure, Outcome};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A tracker, heartbeats.
    Tracker,
    /// Redis, `SET … EX`.
    Redis,
}

/// What came out.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Answers.
    pub answers: u64,
    /// Of the server, while they came.
    pub load: Load,
    /// Of this process.
    pub own: Load,
}

/// How long all connections may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// Seconds after which Redis forgets: two heartbeats.
const EXPIRY: u64 = 20;

/// How long it runs before it counts.
const WARM: Duration = Duration::from_secs(2);

/// What came on one connection, and what is to be said to it now.
enum Said {
    Nothing,
    Next,
    Register,
}

/// Measures `count` connections to `to`, whose process is given.
///
/// # Errors
/// A connection breaks, or something else is answered.
pub fn run(
    server: Server,
    to: SocketAddr,
    process: u32,
    count: usize,
    time: Duration,
) -> Outcome<Peak> {
    let mut links = Links::new(count)?;
    let requests = requests(server, count)?;
    let mut ready = Vec::new();
    let mut open = 0;
    if server == Server::Tracker {
        while open < count {
            // Some at a time: the queue of those that wait to be accepted is short.
            let next = (open + 256).min(count);
            for at in open..next {
                links.open(at, to)?;
                links.send(at, &words::hello(NodeId::random(), Talk::Tracking)?)?;
            }
            wait_for(&mut links, open, next - open, &mut ready)?;
            open = next;
        }
        // What is still pushed of the registrations is over.
        drain(&mut links, &mut ready)?;
    } else {
        for at in 0..count {
            links.open(at, to)?;
        }
    }
    for (at, request) in requests.iter().enumerate() {
        links.send(at, request)?;
    }
    exchange(&mut links, &requests, server, WARM, &mut ready)?;
    let (look, own) = (Look::at(process)?, Look::at(std::process::id())?);
    let answers = exchange(&mut links, &requests, server, time, &mut ready)?;
    Ok(Peak { answers, load: look.since(process)?, own: own.since(std::process::id())? })
}

fn requests(server: Server, count: usize) -> Outcome<Vec<Vec<u8>>> {
    (0..count)
        .map(|at| match server {
            Server::Tracker => words::heartbeat(),
            Server::Redis => {
                let (key, expiry) = (format!("node{at}"), EXPIRY.to_string());
                let mut request = "*5\r\n".to_owned();
                for word in ["SET", &key, "1", "EX", &expiry] {
                    request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
                }
                Ok(request.into_bytes())
            }
        })
        .collect()
}

/// Registers those that have greeted, number `first` and on, until so many are.
fn wait_for(links: &mut Links, first: usize, count: usize, ready: &mut Vec<usize>) -> Outcome<()> {
    let end = Instant::now() + PATIENCE;
    let (mut registered, mut greeted) = (0, HashSet::new());
    while registered < count {
        if Instant::now() > end {
            return Err(Failure::new("the nodes are not taken in in time"));
        }
        links.wait(Duration::from_millis(100), ready)?;
        for &at in ready.iter() {
            let mut said = Said::Nothing;
            // Those of the groups before have long greeted.
            let mut has_greeted = at < first || greeted.contains(&at);
            links.read(at, |bytes| {
                each(bytes, &mut has_greeted, |body| match words::kind(body) {
                    Kind::Hello => {
                        said = Said::Register;
                        Ok(())
                    }
                    Kind::Registered => {
                        registered += 1;
                        Ok(())
                    }
                    Kind::Update | Kind::Reign => Ok(()),
                    _ => Err(Failure::new("the tracker refuses a node")),
                })
            })?;
            if matches!(said, Said::Register) {
                greeted.insert(at);
                links.send(at, &words::register(at)?)?;
            }
        }
    }
    Ok(())
}

/// Takes what comes until nothing comes for a while.
fn drain(links: &mut Links, ready: &mut Vec<usize>) -> Outcome<()> {
    const QUIET: Duration = Duration::from_secs(2);
    let end = Instant::now() + PATIENCE;
    loop {
        links.wait(QUIET, ready)?;
        if ready.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Failure::new("the tracker does not come to rest"));
        }
        for &at in ready.iter() {
            links.read(at, |bytes| each(bytes, &mut true, |_| Ok(())))?;
        }
    }
}

/// Asks and is answered, for so long; the number of answers.
fn exchange(
    links: &mut Links,
    requests: &[Vec<u8>],
    server: Server,
    time: Duration,
    ready: &mut Vec<usize>,
) -> Outcome<u64> {
    let end = Instant::now() + time;
    let mut answers = 0;
    while Instant::now() < end {
        links.wait(Duration::from_millis(100), ready)?;
        for &at in ready.iter() {
            let mut said = Said::Nothing;
            links.read(at, |bytes| match server {
                Server::Tracker => each(bytes, &mut true, |body| match words::kind(body) {
                    Kind::Update => {
                        said = Said::Next;
                        Ok(())
                    }
                    _ => Err(Failure::new("a heartbeat is not answered with news")),
                }),
                Server::Redis if bytes == b"+OK\r\n" => {
                    said = Said::Next;
                    Ok(bytes.len())
                }
                Server::Redis if b"+OK\r\n".starts_with(bytes) => Ok(0),
                Server::Redis => Err(Failure::new(String::from_utf8_lossy(bytes))),
            })?;
            if let (Said::Next, Some(request)) = (said, requests.get(at)) {
                links.send(at, request)?;
                answers += 1;
            }
        }
    }
    Ok(answers)
}

/// Hands on each message that is here as a whole; how many bytes they take.
pub(super) fn each(
    bytes: &[u8],
    greeted: &mut bool,
    mut take: impl FnMut(&[u8]) -> Outcome<()>,
) -> Outcome<usize> {
    let mut done = 0;
    loop {
        let rest = bytes.get(done..).unwrap_or_default();
        let Some((body, length)) = words::first(rest, *greeted) else { return Ok(done) };
        *greeted = true;
        take(body)?;
        done += length;
    }
}
