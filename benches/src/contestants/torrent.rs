//! BitTorrent: rqbit, and libtorrent by a few lines of Python.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use super::course::{Course, Program};
use crate::failure::{Failure, Outcome};
use crate::pieces::torrent;
use crate::process::{Server, free_address, installed, loopback, program, timed};

/// Seeders of the content of a course.
#[derive(Debug)]
pub struct Seeders {
    _servers: Vec<Server>,
    peers: Vec<SocketAddr>,
    torrent: PathBuf,
    program: PathBuf,
}

/// Writes the torrent, once.
fn described(course: &Course<'_>) -> Outcome<PathBuf> {
    let path = course.place.path(format!("{}.torrent", course.name));
    if !path.exists() {
        fs::write(&path, torrent(&course.source())?)?;
    }
    Ok(path)
}

// rqbit ----------------------------------------------------------------------

/// rqbit: an instance for each owner.
///
/// # Errors
/// It is not installed, or does not come up.
pub fn rqbit_seeders(course: &Course<'_>) -> Outcome<Rc<Seeders>> {
    let rqbit = match &course.setting.rqbit {
        Some(path) => path.clone(),
        None => installed("rqbit")?,
    };
    let torrent = described(course)?;
    let (mut servers, mut peers) = (Vec::new(), Vec::new());
    for k in 0..course.owners {
        let (address, api) = (free_address(loopback(k))?, free_address(loopback(k))?);
        let mut seed = calm(&rqbit, address);
        seed.args(["--http-api-listen-addr", &api.to_string(), "download", "--overwrite"]);
        seed.arg("--output-folder").arg(course.owner(k)).arg(&torrent);
        let mut server = Server::start(&mut seed, &course.place.path(format!("rqbit{k}.out")))?;
        server.until("seed", |_| Ok(seeds(api)))?;
        servers.push(server);
        peers.push(address);
    }
    Ok(Rc::new(Seeders { _servers: servers, peers, torrent, program: rqbit }))
}

/// Only with the peers it is told of; it asks nobody else.
fn calm(rqbit: &Path, address: SocketAddr) -> Command {
    let mut command = program(rqbit);
    command.args(["-v", "warn", "--disable-dht", "--disable-dht-persistence", "--disable-lsd"]);
    command.args(["--disable-upnp-port-forward", "--disable-trackers", "--ipv4-only"]);
    command.args(["--listen-ip", &address.ip().to_string()]);
    command.args(["--listen-port", &address.port().to_string()]);
    command
}

/// Whether it has checked what it has.
fn seeds(api: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(api)?;
        stream.write_all(b"GET /torrents/0/stats/v1 HTTP/1.0\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok::<_, std::io::Error>(said)
    };
    ask().is_ok_and(|said| said.contains("\"finished\":true"))
}

/// rqbit, from all seeders.
///
/// # Errors
/// The disk's.
pub fn rqbit(course: &Course<'_>, seeders: Rc<Seeders>) -> Outcome<Program> {
    let peers: Vec<_> = seeders.peers.iter().map(ToString::to_string).collect();
    let serving = Rc::clone(&seeders);
    Program::new(course, "rqbit", serving, move |guest, folder| {
        let address = SocketAddr::from((loopback(100_u8.saturating_add(guest)), 0));
        let mut fetch = calm(&seeders.program, address);
        fetch.args(["download", "--exit-on-finish", "--disable-http-api"]);
        fetch.args(["--initial-peers", &peers.join(",")]);
        fetch.arg("--output-folder").arg(folder).arg(&seeders.torrent);
        fetch
    })
}

// libtorrent -----------------------------------------------------------------

/// libtorrent: a process for each owner.
///
/// # Errors
/// It is not installed, or does not come up.
pub fn libtorrent_seeders(course: &Course<'_>) -> Outcome<Rc<Seeders>> {
    // The one that Debian's package is for.
    let python = PathBuf::from("/usr/bin/python3");
    if timed(program(&python).args(["-c", "import libtorrent"])).is_err() {
        return Err(Failure::new("`python3-libtorrent` is not installed"));
    }
    let script = course.place.path("peer.py");
    fs::write(&script, include_str!("peer.py"))?;
    let torrent = described(course)?;
    let (mut servers, mut peers) = (Vec::new(), Vec::new());
    for k in 0..course.owners {
        let address = free_address(loopback(k))?;
        let mut seed = python_at(&python, &script, "seed", &torrent, &course.owner(k), address);
        let mut server =
            Server::start(&mut seed, &course.place.path(format!("libtorrent{k}.out")))?;
        server.first_line()?;
        servers.push(server);
        peers.push(address);
    }
    Ok(Rc::new(Seeders { _servers: servers, peers, torrent, program: script }))
}

fn python_at(
    python: &Path,
    script: &Path,
    role: &str,
    torrent: &Path,
    folder: &Path,
    address: SocketAddr,
) -> Command {
    let mut command = program(python);
    command.arg(script).arg(role).arg(torrent).arg(folder);
    command.arg(address.ip().to_string()).arg(address.port().to_string());
    command
}

/// libtorrent, from all seeders.
///
/// # Errors
/// The disk's.
pub fn libtorrent(course: &Course<'_>, seeders: Rc<Seeders>) -> Outcome<Program> {
    let peers: Vec<_> = seeders.peers.iter().map(ToString::to_string).collect();
    let serving = Rc::clone(&seeders);
    Program::new(course, "libtorrent", serving, move |guest, folder| {
        let address = SocketAddr::from((loopback(100_u8.saturating_add(guest)), 0));
        let python = Path::new("/usr/bin/python3");
        let mut fetch =
            python_at(python, &seeders.program, "get", &seeders.torrent, folder, address);
        fetch.args(&peers);
        fetch
    })
}
