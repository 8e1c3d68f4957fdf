//! Mirrors: nginx, and those who fetch from it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::course::{Course, Program};
use crate::failure::Outcome;
use crate::pieces::metalink;
use crate::process::{Server, free_address, installed, loopback, program};

/// An nginx for each owner.
#[derive(Debug)]
pub struct Mirrors {
    _servers: Vec<Server>,
    /// The address of each, as `http://…/`, without the name.
    pub urls: Vec<String>,
}

impl Mirrors {
    /// Starts them.
    ///
    /// # Errors
    /// nginx is not installed, or does not come up.
    pub fn start(course: &Course<'_>) -> Outcome<Rc<Self>> {
        let nginx = installed("nginx")?;
        let (mut servers, mut urls) = (Vec::new(), Vec::new());
        for k in 0..course.owners {
            let folder = course.place.folder(format!("nginx{k}"))?;
            let address = free_address(loopback(k))?;
            let settings = folder.join("nginx.conf");
            fs::write(&settings, configuration(&folder, &course.owner(k), address))?;
            let mut serve = program(&nginx);
            serve
                .arg("-p")
                .arg(&folder)
                .arg("-e")
                .arg(folder.join("error"))
                .arg("-c")
                .arg(settings);
            let mut server = Server::start(&mut serve, &folder.join("out"))?;
            server.listening(address)?;
            servers.push(server);
            urls.push(format!("http://{address}/"));
        }
        Ok(Rc::new(Self { _servers: servers, urls }))
    }
}

/// One process, so that no user needs to be changed; all else as nginx is
/// usually set for files.
fn configuration(folder: &Path, root: &Path, address: SocketAddr) -> String {
    let (folder, root) = (folder.display(), root.display());
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000;\n\
         open_file_cache max=10000;\n\
         client_body_temp_path {folder}/1;\n  proxy_temp_path {folder}/2;\n  fastcgi_temp_path {folder}/3;\n\
         uwsgi_temp_path {folder}/4;\n  scgi_temp_path {folder}/5;\n\
         server {{ listen {address}; root {root}; }}\n}}\n"
    )
}

/// curl, from the first mirror.
///
/// # Errors
/// curl is not installed.
pub fn curl(course: &Course<'_>, mirrors: Rc<Mirrors>) -> Outcome<Program> {
    let curl = installed("curl")?;
    let url = format!("{}{}", mirrors.urls.first().map_or("", String::as_str), course.name);
    let file = course.name.clone();
    Program::new(course, "curl", mirrors, move |_, folder| {
        let mut fetch = program(&curl);
        fetch
            .args(["--silent", "--show-error", "--fail", "--output"])
            .arg(folder.join(&file))
            .arg(&url);
        fetch
    })
}

/// aria2 from all mirrors, a part of the file from each, unverified.
///
/// # Errors
/// aria2 is not installed.
pub fn aria2(course: &Course<'_>, mirrors: Rc<Mirrors>) -> Outcome<Program> {
    let aria2 = installed("aria2c")?;
    let urls: Vec<_> = mirrors.urls.iter().map(|url| format!("{url}{}", course.name)).collect();
    Program::new(course, "aria2", mirrors, move |_, folder| {
        let mut fetch = quiet(&aria2, urls.len());
        fetch.arg("--dir").arg(folder).args(&urls);
        fetch
    })
}

/// aria2 from all mirrors, every piece verified.
///
/// # Errors
/// aria2 is not installed.
pub fn aria2_verified(course: &Course<'_>, mirrors: Rc<Mirrors>) -> Outcome<Program> {
    let aria2 = installed("aria2c")?;
    let urls: Vec<_> = mirrors.urls.iter().map(|url| format!("{url}{}", course.name)).collect();
    let list = course.place.path(format!("{}.meta4", course.name));
    fs::write(&list, metalink(&course.source(), &urls)?)?;
    Program::new(course, "aria2-verified", mirrors, move |_, folder| {
        let mut fetch = quiet(&aria2, urls.len());
        fetch.arg("--dir").arg(folder).arg("--metalink-file").arg(&list);
        fetch
    })
}

fn quiet(aria2: &Path, mirrors: usize) -> std::process::Command {
    let mut fetch = program(aria2);
    fetch.args(["--no-conf", "--quiet", "--file-allocation=falloc", "--min-split-size=1M"]);
    fetch.arg(format!("--split={mirrors}")).arg("--max-connection-per-server=1");
    fetch
}

/// A list of the files of a folder for curl, which keeps its connections: one
/// after the other, or sixteen at once.
///
/// # Errors
/// curl is not installed.
pub fn curl_folder(course: &Course<'_>, mirrors: Rc<Mirrors>, parallel: bool) -> Outcome<Program> {
    let curl = installed("curl")?;
    let list: PathBuf = course.place.path("curl.list");
    let base = mirrors.urls.first().map_or("", String::as_str);
    let mut lines = String::new();
    for entry in fs::read_dir(course.source())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        lines.push_str(&format!("url = {base}{0}/{name}\noutput = {0}/{name}\n", course.name));
    }
    fs::write(&list, lines)?;
    let name = if parallel { "curl-16" } else { "curl-1" };
    Program::new(course, name, mirrors, move |_, folder| {
        let mut fetch = program(&curl);
        if parallel {
            fetch.args(["--parallel", "--parallel-max", "16"]);
        }
        fetch
            .args(["--silent", "--show-error", "--fail", "--create-dirs", "--output-dir"])
            .arg(folder);
        fetch.arg("--config").arg(&list);
        fetch
    })
}
