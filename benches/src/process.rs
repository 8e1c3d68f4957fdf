//! Programs that are measured or that serve, each a process of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Attempt, Failure, Outcome};

/// How long any one run may take. What takes longer hangs.
const RUN_DEADLINE: Duration = Duration::from_secs(600);

/// How long a server has to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long a server has to leave before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Between two looks at something that is waited for.
const TICK: Duration = Duration::from_millis(5);

/// A program, without settings of Shoal that happen to be in the environment.
pub fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SHOAL_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Where the program of this name is, if it is installed.
///
/// # Errors
/// It is not.
pub fn installed(name: &str) -> Outcome<PathBuf> {
    // Where servers are, is not in everybody's path.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
    folders.push("/usr/sbin".into());
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Failure::new(format!("`{name}` is not installed")))
}

/// Runs a program to its end: seconds from start to exit, and what it printed.
///
/// # Errors
/// It can't be started, takes too long, or fails.
pub fn timed(command: &mut Command) -> Outcome<(f64, Output)> {
    let name = name_of(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let child = command.spawn().attempt(format!("`{name}`"))?;
    let over = watch(&child);
    let output = child.wait_with_output();
    let seconds = start.elapsed().as_secs_f64();
    drop(over);
    let output = output?;
    if output.status.success() {
        return Ok((seconds, output));
    }
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    let mut last = said.iter().flat_map(|said| said.lines()).filter(|line| !line.trim().is_empty());
    let last = last.next_back().unwrap_or("it said nothing");
    Err(Failure::new(format!("`{name}` failed ({}): {last}", output.status)))
}

/// Runs programs side by side: seconds from the start of the first to the end of
/// the last.
///
/// # Errors
/// One of them can't be started, takes too long, or fails.
pub fn timed_together(mut commands: Vec<Command>) -> Outcome<f64> {
    if let [command] = commands.as_mut_slice() {
        return Ok(timed(command)?.0);
    }
    let start = Instant::now();
    thread::scope(|scope| {
        let runs: Vec<_> =
            commands.iter_mut().map(|command| scope.spawn(|| timed(command))).collect();
        runs.into_iter().try_for_each(|run| {
            run.join().map_err(|_| Failure::new("a thread panicked"))?.map(|_| ())
        })
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// Without its folder, which nobody else has.
fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The line that says why: the first that says so, else the last.
fn reason(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let why = lines.clone().find_map(|line| line.strip_prefix("error: "));
    why.or_else(|| lines.next_back()).unwrap_or("it said nothing")
}

/// Kills the program when its time is over, unless what this returns is gone.
fn watch(child: &Child) -> Sender<()> {
    let (over, until) = channel();
    let pid = pid_of(child);
    thread::spawn(move || {
        if until.recv_timeout(RUN_DEADLINE) == Err(RecvTimeoutError::Timeout)
            && let Some(pid) = pid
        {
            kill_process(pid, Signal::KILL).ok();
        }
    });
    over
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// A program that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it prints goes to the file `log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let name = name_of(command);
        let to = File::create(log).attempt(format!("`{}`", log.display()))?;
        let child =
            command.stdout(to.try_clone()?).stderr(to).spawn().attempt(format!("`{name}`"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed a line, and returns it.
    ///
    /// # Errors
    /// It ends or says nothing.
    pub fn first_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.until("say something", |server| {
            line.clear();
            let read = BufReader::new(File::open(&server.log)?).read_line(&mut line)?;
            Ok(read > 0 && line.ends_with('\n'))
        })?;
        Ok(line.trim().to_owned())
    }

    /// Waits until it accepts connections at this address.
    ///
    /// # Errors
    /// It ends or does not.
    pub fn listening(&mut self, address: SocketAddr) -> Outcome<()> {
        self.until("accept connections", |_| Ok(TcpStream::connect(address).is_ok()))
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// The program ends, or its time is over.
    pub fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Self) -> io::Result<bool>,
    ) -> Outcome<()> {
        let end = Instant::now() + START_DEADLINE;
        while !so(self)? {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.trouble(&format!("ended ({status})")));
            }
            if Instant::now() > end {
                return Err(self.trouble(&format!("does not {what}")));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn trouble(&self, what: &str) -> Failure {
        let mut said = String::new();
        File::open(&self.log).and_then(|mut log| log.read_to_string(&mut said)).ok();
        Failure::new(format!("`{}` {what}: {}", self.name, reason(&said)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = pid_of(&self.child) {
            kill_process(pid, Signal::TERM).ok();
        }
        let end = Instant::now() + STOP_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(TICK);
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until something is so.
///
/// # Errors
/// It is not so in time, or looking fails.
pub fn until(what: &str, patience: Duration, mut so: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let end = Instant::now() + patience;
    while !so()? {
        if Instant::now() > end {
            return Err(Failure::new(format!(
                "waited {} s in vain for {what}",
                patience.as_secs()
            )));
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// The address of owner, mirror or node number `k`, from 0 on: 127.0.0.2 and on.
pub fn loopback(k: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, k.saturating_add(2)).into()
}

/// A port that nobody listens on at the moment.
///
/// # Errors
/// There is none.
pub fn free_address(ip: IpAddr) -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_last_words() {
        let failed = timed(program("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err();
        assert!(
            failed.to_string().contains("3") && failed.to_string().ends_with("reason"),
            "{failed}"
        );
        assert_eq!(reason("note\nerror: no `--up`\n\nsee --help\n"), "no `--up`");
        assert!(timed(&mut program("/nowhere")).is_err());
        let (seconds, output) = timed(program("sh").args(["-c", "sleep 0.05; echo x"])).unwrap();
        assert!(seconds >= 0.05 && output.stdout == b"x\n");
    }

    #[test]
    fn a_server_is_gone_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program("sh");
        command.args(["-c", "echo here; exec sleep 100"]);
        let mut server = Server::start(&mut command, &dir.path().join("log")).unwrap();
        assert_eq!(server.first_line().unwrap(), "here");
        let process = PathBuf::from(format!("/proc/{}", server.id()));
        assert!(process.exists());
        drop(server);
        assert!(!process.exists());
    }

    #[test]
    fn a_server_that_ends_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program("sh");
        command.args(["-c", "printf oops; exit 1"]);
        let mut server = Server::start(&mut command, &dir.path().join("log")).unwrap();
        let trouble = server.first_line().unwrap_err().to_string();
        assert!(trouble.contains("ended") && trouble.ends_with("oops"), "{trouble}");
    }
}
