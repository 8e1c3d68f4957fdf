//! rsync from its daemon.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use super::course::{Course, Program};
use crate::failure::Outcome;
use crate::process::{Server, free_address, installed, loopback, program};

/// rsync from a daemon in the first owner's folder.
///
/// # Errors
/// It is not installed, or does not come up.
pub fn rsync(course: &Course<'_>) -> Outcome<Program> {
    let rsync = installed("rsync")?;
    let folder = course.place.folder("rsync")?;
    let address = free_address(loopback(0))?;
    let settings = folder.join("rsyncd.conf");
    fs::write(&settings, configuration(&folder, &course.owner(0), address))?;
    let mut serve = program(&rsync);
    serve.args(["--daemon", "--no-detach"]).arg("--config").arg(&settings);
    let mut server = Server::start(&mut serve, &folder.join("out"))?;
    server.listening(address)?;
    let url = format!("rsync://{address}/all/{}", course.name);
    Program::new(course, "rsync", Rc::new(server), move |_, folder| {
        let mut fetch = program(&rsync);
        fetch.args(["--recursive", "--times", &url]).arg(folder);
        fetch
    })
}

fn configuration(folder: &Path, root: &Path, address: SocketAddr) -> String {
    format!(
        "address = {}\nport = {}\nuse chroot = no\npid file = {2}/pid\nlock file = {2}/lock\n\
         log file = {2}/log\ntransfer logging = no\n[all]\n  path = {3}\n  read only = yes\n\
         uid = root\n  gid = root\n",
        address.ip(),
        address.port(),
        folder.display(),
        root.display()
    )
}
