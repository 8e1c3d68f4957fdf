//! Shoal: a network of real nodes, and a download by `ctl`.

use std::path::PathBuf;
use std::thread;

use super::course::Course;
use crate::failure::{Failure, Outcome};
use crate::figures::{median, three_digits};
use crate::network::{Download, Network, Node};
use crate::place::{delete, same};
use crate::plot::Kind;
use crate::race::Contestant;
use crate::results::Label;

/// The name in all tables.
pub const SHOAL: &str = "Shoal";

/// Owners and guests of the content of a course.
#[derive(Debug)]
pub struct Shoal {
    name: String,
    /// What is asked for: a folder has a slash behind its name.
    asked: String,
    /// One file of it.
    one: String,
    source: PathBuf,
    guests: Vec<Node>,
    owners: Vec<Node>,
    network: Network,
    /// What each download said of itself.
    downloads: Vec<Download>,
}

/// Its name and colour.
pub fn label() -> Label {
    Label { name: SHOAL.to_owned(), verified: "yes", kind: Kind::Ours }
}

impl Shoal {
    /// Starts a network in which the owners have indexed the content and the
    /// guests see all of them.
    ///
    /// # Errors
    /// That does not come about.
    pub fn start(course: &Course<'_>) -> Outcome<Self> {
        Self::start_with(course, |_| Vec::new())
    }

    /// The same, with flags for each node: owners are counted first, from 0 on,
    /// then guests.
    ///
    /// # Errors
    /// That does not come about.
    pub fn start_with(course: &Course<'_>, flags: impl Fn(u8) -> Vec<String>) -> Outcome<Self> {
        let network = Network::start(course.setting, course.place)?;
        let owner = |k| network.node(k, &course.owner(k), &flags(k));
        let owners: Vec<_> = (0..course.owners).map(owner).collect::<Outcome<_>>()?;
        let guest = |k| {
            let files = course.place.folder(format!("node{k}"))?;
            network.node(course.owners + k, &files, &flags(course.owners + k))
        };
        let guests: Vec<_> = (0..course.guests).map(guest).collect::<Outcome<_>>()?;
        let (name, source) = (course.name.clone(), course.source());
        let (asked, count, one) = if source.is_dir() {
            let names = source.read_dir()?.map(|entry| Ok(entry?.file_name()));
            let names = names.collect::<Outcome<Vec<_>>>()?;
            let one = names.first().map(|one| format!("{name}/{}", one.to_string_lossy()));
            (format!("{name}/"), names.len(), one.unwrap_or_default())
        } else {
            (name.clone(), 1, name.clone())
        };
        owners.iter().try_for_each(|owner| owner.comes_to_share(&asked, count))?;
        let shoal = Self { name, asked, one, source, guests, owners, network, downloads: vec![] };
        shoal.ready()?;
        Ok(shoal)
    }

    /// Waits until the guests find all owners: if somebody has touched the files,
    /// those who share them look at them anew.
    fn ready(&self) -> Outcome<()> {
        let owners = self.owners.len();
        self.guests.iter().try_for_each(|guest| guest.sees_owners(&self.one, owners))
    }

    /// The node that fetches.
    ///
    /// # Errors
    /// There is none.
    pub fn guest(&self) -> Outcome<&Node> {
        self.guests.first().ok_or_else(|| Failure::new("no node fetches"))
    }

    /// The tracker and what its nodes need to know.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Waits until no node shares a file whose name begins so.
    ///
    /// # Errors
    /// One goes on to share it.
    pub fn nobody_shares(&self, start: &str) -> Outcome<()> {
        let mut nodes = self.guests.iter().chain(&self.owners);
        nodes.try_for_each(|node| node.comes_to_share(start, 0))
    }

    /// Those that serve.
    pub fn owners(&self) -> &[Node] {
        &self.owners
    }
}

impl Contestant for Shoal {
    fn run(&mut self) -> Outcome<f64> {
        self.ready()?;
        let start = std::time::Instant::now();
        let asked = self.asked.as_str();
        let downloads = thread::scope(|scope| {
            let fetch =
                |guest| scope.spawn(move || Node::download(guest, asked, &["--from", "all"]));
            let all: Vec<_> = self.guests.iter().map(fetch).collect();
            all.into_iter()
                .map(|one| one.join().map_err(|_| Failure::new("a thread panicked"))?)
                .collect::<Outcome<Vec<_>>>()
        })?;
        let together = start.elapsed().as_secs_f64();
        let seconds = match downloads.as_slice() {
            [one] => one.wall,
            _ => together,
        };
        self.downloads.extend(downloads);
        Ok(seconds)
    }

    fn check(&self) -> Outcome<()> {
        self.guests.iter().try_for_each(|guest| same(&self.source, &guest.files.join(&self.name)))
    }

    fn clear(&mut self) -> Outcome<()> {
        for guest in &self.guests {
            delete(&guest.files.join(&self.name))?;
        }
        self.guests.iter().try_for_each(|guest| guest.comes_to_share(&self.asked, 0))
    }

    fn remark(&self) -> Option<String> {
        let seconds: Vec<_> = self.downloads.iter().map(|download| download.seconds).collect();
        let job = three_digits(median(&seconds)?);
        Some(format!("the job itself says {job} s"))
    }
}
