//! The same in containers: `scripts/run.sh` starts them, `docker exec` drives
//! them. The bare reference runs in the nodes' own containers, over the same
//! network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::course::Course;
use crate::bare::hashes::Hashes;
use crate::failure::{Attempt, Failure, Outcome};
use crate::network::field;
use crate::place::{delete, same};
use crate::process::{program, timed, until};
use crate::race::Contestant;

/// Subnets that are tried, one after the other.
const SUBNETS: [&str; 6] = ["29", "28", "27", "26", "25", "24"];

/// The port of the bare reference in each container.
const PORT: u16 = 7070;

/// Where the bare program is within a container: a hidden name, so that the
/// node does not share it.
const BARE: &str = "/files/.bare";

/// How long a node may take to see a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tracker and nodes in containers; the last node is the one that fetches.
#[derive(Debug)]
pub struct Fleet {
    scripts: PathBuf,
    project: String,
    subnet: String,
    volumes: PathBuf,
    logs: PathBuf,
    owners: u8,
    file: String,
    source: PathBuf,
}

impl Fleet {
    /// Starts it, with the content of the course at its owners.
    ///
    /// # Errors
    /// Docker is not there, or the containers don't come up.
    pub fn start(course: &Course<'_>) -> Outcome<Rc<Self>> {
        let fleet = Self {
            scripts: course.setting.scripts.clone(),
            project: course.setting.project.clone(),
            subnet: String::new(),
            volumes: course.place.folder("VOLUMES")?,
            logs: course.place.folder("LOGS")?,
            owners: course.owners,
            file: course.name.clone(),
            source: course.source(),
        };
        let bare = course.setting.container_bare.clone();
        let bare = bare.ok_or_else(|| Failure::new("no static `bare` was built for containers"))?;
        for k in 0..=course.owners {
            let volume = fleet.volumes.join(Self::node(k));
            fs::create_dir_all(&volume)?;
            fs::copy(&bare, volume.join(".bare")).attempt("the static `bare`")?;
            if k < course.owners {
                fs::hard_link(course.source(), volume.join(&course.name))?;
            } else {
                Hashes::of(&course.source())?.save(&volume.join(".hashes"))?;
            }
        }
        fleet.up()?.ready()
    }

    fn node(k: u8) -> String {
        format!("node{}", k + 1)
    }

    fn guest(&self) -> PathBuf {
        self.volumes.join(Self::node(self.owners))
    }

    fn script(&self, name: &str) -> Command {
        let mut script = program(self.scripts.join(name));
        script.env("SHOAL_PROJECT", &self.project).env("SHOAL_SUBNET", &self.subnet);
        script.env("SHOAL_VOLUMES", &self.volumes).env("SHOAL_LOGS", &self.logs);
        script
    }

    fn up(mut self) -> Outcome<Self> {
        let mut last = Failure::new("no subnet is free");
        for number in SUBNETS {
            self.subnet = format!("172.{number}.0.0/16");
            let mut run = self.script("run.sh");
            let count = (self.owners + 1).to_string();
            match timed(run.args(["-s", "1", "-n", &count, "--terminal", "none"])) {
                Ok(_) => return Ok(self),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Waits until all is indexed and seen, and starts the bare owners.
    fn ready(self) -> Outcome<Rc<Self>> {
        until("owners in containers", PATIENCE, || {
            let found = self.ctl(&["search", &self.file])?;
            let owners = |found: &Value| field(found, "owners").as_array().map(Vec::len);
            let most = found.as_array().and_then(|found| found.iter().filter_map(owners).max());
            Ok(most == Some(self.owners.into()))
        })?;
        for k in 0..self.owners {
            let (file, listen) = (format!("/files/{}", self.file), format!("0.0.0.0:{PORT}"));
            let words = [BARE, "serve", &file, "--listen", &listen];
            timed(program("docker").args(["exec", "-d", &self.container(k)]).args(words))?;
        }
        Ok(Rc::new(self))
    }

    fn container(&self, k: u8) -> String {
        format!("{}-{}", self.project, Self::node(k))
    }

    fn address(&self, k: u8) -> Outcome<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let (_, output) =
            timed(program("docker").args(["inspect", "-f", format, &self.container(k)]))?;
        Ok(format!("{}:{PORT}", String::from_utf8_lossy(&output.stdout).trim()))
    }

    /// Runs something in the container of the node that fetches.
    fn exec(&self, words: &[&str]) -> Outcome<String> {
        let container = self.container(self.owners);
        let (_, output) = timed(program("docker").args(["exec", &container]).args(words))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn ctl(&self, words: &[&str]) -> Outcome<Value> {
        let said = self.exec(&[&["/shoal-node", "ctl", "--json"], words].concat())?;
        serde_json::from_str(&said).attempt("the answer of `ctl` is no JSON")
    }

    /// Seconds of something there, without those of `docker exec`; and what it
    /// printed.
    fn exec_timed(&self, words: &[&str]) -> Outcome<(f64, String)> {
        let said = self.exec(&[&[BARE, "time"], words].concat())?;
        let (said, seconds) = said.trim_end().rsplit_once('\n').unwrap_or(("", &said));
        Ok((seconds.trim().parse().attempt("`bare time`")?, said.to_owned()))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        timed(&mut self.script("stop.sh")).ok();
    }
}

/// A download by Shoal within the fleet.
pub struct Shoal(pub Rc<Fleet>);

impl Contestant for Shoal {
    fn run(&mut self) -> Outcome<f64> {
        let fleet = &self.0;
        let download = ["/shoal-node", "ctl", "--json", "download", &fleet.file, "--from", "all"];
        let (seconds, said) = fleet.exec_timed(&download)?;
        let job: Value = serde_json::from_str(&said).attempt("the answer of `ctl` is no JSON")?;
        match field(&job, "state") {
            state if state == "done" => Ok(seconds),
            state => Err(Failure::new(format!("the download ended as {state}"))),
        }
    }

    fn check(&self) -> Outcome<()> {
        same(&self.0.source, &self.0.guest().join(&self.0.file))
    }

    fn clear(&mut self) -> Outcome<()> {
        let fleet = &self.0;
        delete(&fleet.guest().join(&fleet.file))?;
        until("the node to forget the file", PATIENCE, || {
            Ok(fleet.ctl(&["show", &fleet.file])?.as_array().is_some_and(Vec::is_empty))
        })
    }
}

/// A download by the bare reference within the fleet.
pub struct Bare {
    fleet: Rc<Fleet>,
    words: Vec<String>,
}

impl Bare {
    /// Over the same network.
    ///
    /// # Errors
    /// Docker does not tell an address.
    pub fn new(fleet: Rc<Fleet>, sync: bool) -> Outcome<Self> {
        let fetch = [BARE, "fetch", "/files/.came", "--hashes", "/files/.hashes"];
        let mut words = fetch.map(str::to_owned).to_vec();
        for k in 0..fleet.owners {
            words.extend(["--from".to_owned(), fleet.address(k)?]);
        }
        if sync {
            words.push("--sync".to_owned());
        }
        Ok(Self { fleet, words })
    }
}

impl Contestant for Bare {
    fn run(&mut self) -> Outcome<f64> {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        Ok(self.fleet.exec_timed(&words)?.0)
    }

    fn check(&self) -> Outcome<()> {
        same(&self.fleet.source, &self.fleet.guest().join(".came"))
    }

    fn clear(&mut self) -> Outcome<()> {
        delete(&self.fleet.guest().join(".came"))
    }
}
