//! A network of Shoal: a tracker and nodes, each a process on an address of its
//! own, driven through `shoal-node ctl`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Attempt, Failure, Outcome};
use crate::place::Place;
use crate::process::{Server, free_address, loopback, program, timed, until};
use crate::setting::Setting;

/// How long a node may take to index what it shares: many GiB.
const INDEX_PATIENCE: Duration = Duration::from_secs(300);

/// How long a node may take to see what has changed in its folder.
const NOTICE_PATIENCE: Duration = Duration::from_secs(60);

/// A tracker, and what its nodes need to know.
#[derive(Debug)]
pub struct Network {
    tracker: Server,
    address: SocketAddr,
    program: PathBuf,
    logs: PathBuf,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub server: Server,
    /// The folder that it shares.
    pub files: PathBuf,
    program: PathBuf,
}

/// What a download came to.
#[derive(Debug, Clone)]
pub struct Download {
    /// From the start of `ctl` to its end: search and manifest included.
    pub wall: f64,
    /// What the job says of itself, in seconds.
    pub seconds: f64,
    /// The whole answer.
    pub job: Value,
}

impl Network {
    /// Starts a tracker; logs go to the place.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(setting: &Setting, place: &Place) -> Outcome<Self> {
        let logs = place.folder("logs")?;
        let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut command = program(setting.program("shoal-tracker"));
        command.args(["--listen", &address.to_string()]).arg("--logs").arg(logs.join("tracker"));
        let mut tracker = Server::start(&mut command, &logs.join("tracker.out"))?;
        tracker.listening(address)?;
        Ok(Self { tracker, address, program: setting.program("shoal-node"), logs })
    }

    /// The address of the tracker.
    pub fn tracker(&self) -> SocketAddr {
        self.address
    }

    /// The process of the tracker.
    pub fn process(&self) -> u32 {
        self.tracker.id()
    }

    /// Starts node number `k` on its own address, with these flags besides.
    ///
    /// # Errors
    /// It does not come up.
    pub fn node(&self, k: u8, files: &Path, flags: &[String]) -> Outcome<Node> {
        let name = format!("node{}", k + 1);
        let mut command = program(&self.program);
        command.args(["--name", &name, "--tracker", &self.address.to_string()]);
        command.args(["--listen", &loopback(k).to_string()]).args(flags);
        command.arg("--files").arg(files).arg("--logs").arg(self.logs.join(&name));
        let server = Server::start(&mut command, &self.logs.join(format!("{name}.out")))?;
        let mut node = Node { server, files: files.to_owned(), program: self.program.clone() };
        let health = |node: &Server| {
            let _ = node;
            let mut health = program(&self.program);
            Ok(timed(health.arg("health").arg("--files").arg(files)).is_ok())
        };
        node.server.until("come up", health)?;
        Ok(node)
    }
}

impl Node {
    /// One command, and its answer.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub fn ctl(&self, words: &[&str]) -> Outcome<Value> {
        Ok(self.timed(words)?.1)
    }

    fn timed(&self, words: &[&str]) -> Outcome<(f64, Value)> {
        let mut command = program(&self.program);
        command.arg("ctl").arg("--files").arg(&self.files).arg("--json").args(words);
        let (wall, output) = timed(&mut command).attempt(format!("`{}`", words.join(" ")))?;
        Ok((wall, parse(&output)?))
    }

    /// Fetches a file, or a folder, and waits for the end.
    ///
    /// # Errors
    /// It does not come whole.
    pub fn download(&self, name: &str, more: &[&str]) -> Outcome<Download> {
        let words: Vec<_> = ["download", name].into_iter().chain(more.iter().copied()).collect();
        let (wall, job) = self.timed(&words)?;
        if field(&job, "state") != "done" {
            return Err(Failure::new(format!(
                "`{}` ended as {}",
                words.join(" "),
                field(&job, "state")
            )));
        }
        Ok(Download { wall, seconds: field(&job, "seconds").as_f64().unwrap_or(f64::NAN), job })
    }

    /// Waits until a search for the name finds exactly so many owners.
    ///
    /// # Errors
    /// It does not.
    pub fn sees_owners(&self, name: &str, owners: usize) -> Outcome<()> {
        until(&format!("{owners} owners of `{name}`"), INDEX_PATIENCE, || {
            let found = self.ctl(&["search", name])?;
            let count = |found: &Value| field(found, "owners").as_array().map(Vec::len);
            Ok(found
                .as_array()
                .is_some_and(|found| found.iter().filter_map(count).max() == Some(owners)))
        })
    }

    /// How many files the node shares whose names begin so.
    ///
    /// # Errors
    /// It does not answer.
    pub fn shares(&self, start: &str) -> Outcome<usize> {
        let files = self.ctl(&["show", start])?;
        let begins = |file: &&Value| {
            field(file, "name").as_str().is_some_and(|name| name.starts_with(start))
        };
        Ok(files.as_array().map_or(0, |files| files.iter().filter(begins).count()))
    }

    /// Waits until the node shares so many files whose names begin so.
    ///
    /// # Errors
    /// It does not.
    pub fn comes_to_share(&self, start: &str, count: usize) -> Outcome<()> {
        let patience = if count == 0 { NOTICE_PATIENCE } else { INDEX_PATIENCE };
        until(&format!("{count} files `{start}…` shared"), patience, || {
            Ok(self.shares(start)? == count)
        })
    }
}

/// A field of an answer; null if it has none of this name.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn parse(output: &Output) -> Outcome<Value> {
    serde_json::from_slice(&output.stdout).attempt("the answer of `ctl` is no JSON")
}
