//! What it was measured on, without saying whose it is.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// One line: processor, cores, memory, kernel, congestion control.
pub fn words() -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let kib = field("/proc/meminfo", "MemTotal").and_then(|text| {
        text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok())
    });
    let memory = kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{} GiB", kib >> 20));
    format!(
        "{}, {cores} cores, {memory} of memory, Linux {}, default congestion control `{}`",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        kernel(&read("/proc/sys/kernel/osrelease")),
        read("/proc/sys/net/ipv4/tcp_congestion_control").trim(),
    )
}

/// Today, as `2026-11-21`.
pub fn date() -> String {
    let said = Command::new("date").arg("+%F").output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
}

/// The number alone: what follows it may name a machine.
fn kernel(release: &str) -> &str {
    release.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next().unwrap_or("")
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_machine() {
        assert_eq!(kernel("6.18.44-cloud-host7\n"), "6.18.44");
        assert_eq!(kernel("6.1.0\n"), "6.1.0");
        assert!(words().contains(" cores, "));
    }
}
