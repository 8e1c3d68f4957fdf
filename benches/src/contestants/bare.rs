//! The bare reference, and `cp`, which is the measure of the machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use super::course::{Course, Program};
use crate::failure::Outcome;
use crate::link::{self, Shape};
use crate::plot::Kind;
use crate::process::{Server, free_address, loopback, program, timed};
use crate::results::Label;

/// The congestion control that the reference's senders use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// What was fastest: reno.
    Chosen,
    /// Whatever the system does.
    Default,
}

/// The name of the reference in all tables.
pub const REFERENCE: &str = "bare reference";
/// Its name when it waits for the disk.
pub const REFERENCE_SYNCED: &str = "bare reference, synced";

/// Owners that serve the file of a course.
#[derive(Debug)]
pub struct Owners {
    _servers: Vec<Server>,
    /// Where they are.
    pub addresses: Vec<SocketAddr>,
    /// What a receiver verifies against.
    pub hashes: PathBuf,
}

impl Owners {
    /// Starts them.
    ///
    /// # Errors
    /// They don't come up.
    pub fn start(course: &Course<'_>, congestion: Congestion) -> Outcome<Self> {
        let hashes = course.place.path(format!("{}.hashes", course.name));
        timed(course.program("bare").arg("hashes").arg(course.source()).arg(&hashes))?;
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        for k in 0..course.owners {
            let mut serve = course.program("bare");
            serve.arg("serve").arg(course.owner(k).join(&course.name));
            serve.args(["--listen", &SocketAddr::from((loopback(k), 0)).to_string()]);
            if congestion == Congestion::Default {
                serve.args(["--congestion", "default"]);
            }
            let log = course.place.path(format!("bare-{}.out", free_address(loopback(k))?.port()));
            let mut server = Server::start(&mut serve, &log)?;
            addresses.push(server.first_line()?.parse()?);
            servers.push(server);
        }
        Ok(Self { _servers: servers, addresses, hashes })
    }
}

impl Owners {
    /// The same owners at the far end of a link each.
    ///
    /// # Errors
    /// There is no address for it.
    pub fn behind(mut self, shape: Shape) -> Outcome<Self> {
        for address in &mut self.addresses {
            let near = free_address(address.ip())?;
            link::start(near, *address, shape)?;
            *address = near;
        }
        Ok(self)
    }
}

/// The bare reference's name and colour.
pub fn label(name: &str) -> Label {
    Label { name: name.to_owned(), verified: "yes", kind: Kind::Reference }
}

/// The bare reference's receiver.
///
/// # Errors
/// The disk's.
pub fn receiver(course: &Course<'_>, name: &str, owners: Owners, sync: bool) -> Outcome<Program> {
    let (bare, file) = (course.setting.program("bare"), course.name.clone());
    let owners = Rc::new(owners);
    let serving = Rc::clone(&owners);
    Program::new(course, name, serving, move |_, folder| {
        let mut fetch = program(&bare);
        fetch.arg("fetch").arg(folder.join(&file)).arg("--hashes").arg(&owners.hashes);
        for address in &owners.addresses {
            fetch.args(["--from", &address.to_string()]);
        }
        if sync {
            fetch.arg("--sync");
        }
        fetch
    })
}

/// `cp`, or `cp` and `sync`.
///
/// # Errors
/// The disk's.
pub fn copy(course: &Course<'_>, sync: bool) -> Outcome<Program> {
    let (source, file) = (course.source(), course.name.clone());
    let name = if sync { "cp-synced" } else { "cp" };
    Program::new(course, name, Rc::new(()), move |_, folder| {
        let mut copy = program("cp");
        if sync {
            copy = program("sh");
            copy.args(["-c", "cp -r \"$1\" \"$2\" && sync --data \"$2\"", "sh"]);
        } else {
            copy.arg("-r");
        }
        copy.arg(&source).arg(folder.join(&file));
        copy
    })
}
