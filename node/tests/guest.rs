//! Guests of the network: `get` fetches a tree, `cat` prints what arrives.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use network::{Network, PATIENCE, TestNode};
use tempfile::TempDir;
use tokio::task::block_in_place;

/// Bytes that are the same in every run and nowhere repeat.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"guest").finalize_xof().fill(&mut bytes);
    bytes
}

/// The program as a guest, with a folder for what it needs for a time.
struct Guest {
    dir: TempDir,
    tracker: String,
}

impl Guest {
    fn of(network: &Network) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, tracker: network.tracker().to_string() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-node"));
        command.current_dir(self.dir.path()).env("TMPDIR", self.dir.path().join("tmp"));
        command.args(args).args(["--tracker", &self.tracker, "--listen", "127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Nothing is left of it but what was to be.
    fn left(&self) -> Vec<String> {
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let left: Vec<String> = names(&self.path().join("tmp"));
        assert!(left.is_empty(), "{left:?}");
        names(self.path()).into_iter().filter(|name| name != "tmp").collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn owner(network: &Network, name: &str, bytes: &[u8]) -> TestNode {
    network.node(name, &[("big.bin", bytes), ("a b.txt", b"two words"), ("[1].txt", b"one")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_prints_a_file_and_leaves_nothing() {
    let network = Network::start().await;
    let bytes = content(30_000_007);
    let one = owner(&network, "node1", &bytes).await;
    let two = owner(&network, "node2", &bytes).await;
    block_in_place(|| {
        let guest = Guest::of(&network);
        for (args, expected) in [
            (&["cat", "big.bin"][..], bytes.as_slice()),
            (&["cat", "a b.txt", "--from", "node2"], b"two words"),
            (&["cat", "[1].txt"], b"one"),
        ] {
            let output = guest.run(args);
            assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
            assert!(output.stdout == expected, "{args:?}: {} bytes", output.stdout.len());
        }
        for (args, code, said) in [
            (&["cat", "nix"][..], 1, "nobody has `nix`"),
            (&["cat", "*.nix"], 1, "nobody has `*.nix`"),
            (&["cat", "*.txt"], 1, "nobody has a file that is called `*.txt`"),
            (&["cat", "docs/"], 1, "a folder can't be printed"),
            (&["cat", "big.bin", "--id", "00"], 1, "no content of this name has an id"),
            (&["cat", "big.bin", "--from", "node9"], 1, "`node9` is no owner of it"),
        ] {
            let output = guest.run(args);
            assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
            assert!(output.stdout.is_empty() && stderr(&output).contains(said), "{output:?}");
        }
        assert!(guest.left().is_empty());
    });
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_waits_for_whoever_reads_and_ends_with_them() {
    let network = Network::start().await;
    let bytes = content(200_000_000);
    let owner = owner(&network, "node1", &bytes).await;
    block_in_place(|| {
        let guest = Guest::of(&network);
        let mut cat = guest.start(&["cat", "big.bin"]);
        let mut out = cat.stdout.take().unwrap();
        let mut first = vec![0; 100];
        out.read_exact(&mut first).unwrap();
        assert!(first == bytes[..100]);
        // Long enough for all of it, if it did not wait.
        std::thread::sleep(Duration::from_secs(3));
        let status = std::fs::read_to_string(format!("/proc/{}/status", cat.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 80_000, "{peak} kB in memory");
        // A reader that goes has what it wanted.
        drop(out);
        let output = cat.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        assert!(guest.left().is_empty());

        // One who comes back to it gets the rest.
        let mut cat = guest.start(&["cat", "big.bin"]);
        let mut out = cat.stdout.take().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let mut all = Vec::new();
        out.read_to_end(&mut all).unwrap();
        assert!(all == bytes && cat.wait().unwrap().success());
    });
    drop(owner);
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_that_is_interrupted_leaves_nothing() {
    let network = Network::start().await;
    let bytes = content(50_000_000);
    let owner = owner(&network, "node1", &bytes).await;
    block_in_place(|| {
        let guest = Guest::of(&network);
        let mut cat = guest.start(&["cat", "big.bin"]);
        let mut out = cat.stdout.take().unwrap();
        out.read_exact(&mut [0; 100]).unwrap();
        let pid = rustix::process::Pid::from_child(&cat);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let start = Instant::now();
        let output = cat.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(start.elapsed() < PATIENCE);
        drop(out);
        assert!(guest.left().is_empty());
    });
    drop(owner);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_fetches_a_folder_and_what_matches() {
    let network = Network::start().await;
    let files = [
        ("photos/a.jpg", &b"a"[..]),
        ("photos/2026/b.jpg", b"bb"),
        ("photos/notes.txt", b"ccc"),
        ("other.txt", b"dddd"),
    ];
    let owner = network.node("node1", &files).await;
    block_in_place(|| {
        let guest = Guest::of(&network);
        let read = |path: &str| std::fs::read(guest.path().join(path));
        let output = guest.run(&["get", "photos/*.jpg", "-o", "some", "--order", "sequential"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(read("some/photos/a.jpg").unwrap(), b"a");
        assert!(read("some/photos/notes.txt").is_err() && read("some/other.txt").is_err());

        let output = guest.run(&["get", "photos/", "-o", "all"]);
        assert!(output.status.success(), "{output:?}");
        for (name, bytes) in &files[..3] {
            assert_eq!(read(&format!("all/{name}")).unwrap(), *bytes);
        }
        assert!(read("all/other.txt").is_err() && read("all/.shoal").is_err());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with("`photos/` is here: 3 files, 6 B in"), "{said}");

        // A folder without its slash is said to be one.
        let output = guest.run(&["get", "photos", "-o", "none"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("it is a folder: fetch `photos/`"), "{output:?}");
        let output = guest.run(&["get", "nix/", "-o", "none"]);
        assert!(!output.status.success(), "{output:?}");
        assert!(!guest.path().join("none/.shoal").exists(), "nothing is kept");
    });
    drop(owner);
}
