//! A person at a terminal: keys go in, a screen is looked at.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

/// Generous: the machine may be busy; a failure is not a matter of seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_shoal-node");

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

pub struct Person {
    pty: Arc<Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    program: Child,
}

impl Drop for Person {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}

impl Person {
    /// Starts the program on a terminal of 24 lines.
    pub fn starts(folder: &Path, args: &[&str]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let command = Command::new(PROGRAM)
            .args(args)
            .current_dir(folder)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let program = command.spawn(pts).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(24), cells(80), 0)));
        let pty = Arc::new(pty);
        let (from, to) = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = (&*from).read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..read]);
            }
        });
        Self { pty, screen, program }
    }

    pub fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub fn resizes(&self, rows: u16, columns: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// The lines on the screen, from the top.
    pub fn lines(&self) -> Vec<String> {
        let contents = self.screen.lock().unwrap().screen().contents();
        contents.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the screen shows something.
    pub fn sees(&self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if holds(&lines) {
                return lines;
            }
            assert!(start.elapsed() < PATIENCE, "never seen: {what}\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a line.
    pub fn sees_line(&self, line: &str) -> Vec<String> {
        self.sees(line, |lines| lines.iter().any(|seen| seen == line))
    }

    /// Waits for a text within a line.
    pub fn sees_text(&self, text: &str) -> Vec<String> {
        self.sees(text, |lines| lines.iter().any(|seen| seen.contains(text)))
    }

    /// Waits until the cursor is on this line, at its end.
    pub fn is_at(&self, line: &str) {
        self.sees(line, |_| {
            let parser = self.screen.lock().unwrap();
            let (row, column) = parser.screen().cursor_position();
            let rows: Vec<String> = parser.screen().rows(0, 80).collect();
            rows.get(usize::from(row)).is_some_and(|text| text.trim_end() == line.trim_end())
                && usize::from(column) == line.chars().count()
        });
    }

    /// Waits for the end of the program.
    pub fn sees_the_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status;
            }
            let lines = self.lines().join("\n");
            assert!(start.elapsed() < PATIENCE, "the program does not end\n{lines}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the terminal echoes and edits lines by itself, as a shell
    /// expects it.
    pub fn has_usual_modes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&*self.pty).unwrap().local_modes;
        use rustix::termios::LocalModes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.program)
    }
}
