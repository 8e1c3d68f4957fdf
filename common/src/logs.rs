//! Logs: one rolling file per process, bounded in size and number.
//!
//! `tracing-appender` writes it from a thread of its own, so that a slow disk
//! never holds up a task. It rotates by time only, which bounds neither size
//! nor number under load; so the file behind it is `RollingFile`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::clock::Clock;
use crate::limits::LOG_FILES;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Readable lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is no log format: `text` or `json`")),
        }
    }
}

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder or the file can't be made.
    #[error("cannot write logs to `{path}`: {cause}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Another logger is in place.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

/// Logs this process to `dir/<program>.log` until the guard is dropped. Each line
/// carries the time of the day and that of `clock`.
///
/// `RUST_LOG` chooses what is logged; without it, `info`.
///
/// # Errors
/// The folder can't be written, or logging has started already.
pub fn start(
    dir: &Path,
    program: &str,
    format: LogFormat,
    clock: Clock,
) -> Result<WorkerGuard, LogError> {
    let path = dir.join(format!("{program}.log"));
    let file =
        RollingFile::open(&path, LOG_FILES).map_err(|cause| LogError::File { path, cause })?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    tracing_subscriber::registry().with(layer(writer, format, clock)).try_init()?;
    Ok(guard)
}

fn layer<S, W>(writer: W, format: LogFormat, clock: Clock) -> Box<dyn Layer<S> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter =
        EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    match format {
        LogFormat::Text => {
            let layer = fmt::layer().with_ansi(false).with_timer(BothTimes(clock));
            layer.with_writer(writer).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let inner = fmt::format().json();
            let layer = fmt::layer().json().event_format(WithLamport { inner, clock });
            layer.with_writer(writer).with_filter(filter).boxed()
        }
    }
}

/// The time of the day, then Lamport time.
struct BothTimes(Clock);

impl FormatTime for BothTimes {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        SystemTime.format_time(to)?;
        write!(to, " {}", self.0.now())
    }
}

/// The same object with a field more: the formatter that makes it has none for
/// what is no field of the event.
struct WithLamport<F> {
    inner: F,
    clock: Clock,
}

impl<S, N, F> FormatEvent<S, N> for WithLamport<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let rest = line.strip_prefix('{').unwrap_or(&line);
        write!(to, r#"{{"lamport":{},{rest}"#, self.clock.now())
    }
}

/// A file that is put aside as `<name>.1` when it reaches its size; `.1`
/// becomes `.2` and so on, and the oldest goes.
#[derive(Debug)]
struct RollingFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: usize,
}

impl RollingFile {
    fn open(path: &Path, (max_size, max_files): (u64, usize)) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_size, max_files })
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn roll(&mut self) -> io::Result<()> {
        for number in (1..self.max_files.saturating_sub(1)).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match fs::rename(&self.path, self.numbered(1)) {
            // Somebody has deleted it; there is nothing to put aside.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = append(&self.path)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RollingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.max_size {
            // If it can't be put aside, the open file goes on: a log that is
            // too long is better than none. Tried again when it has grown by
            // as much.
            self.roll().ok();
            self.size = 0;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged in `format` while something happens at time 41 and 42.
    fn logged(format: LogFormat) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&written);
        let writer = move || Lines(Arc::clone(&into));
        let clock = Clock::at(41);
        let subscriber = tracing_subscriber::registry().with(layer(writer, format, clock.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            clock.tick();
            tracing::info!(name = "x", "two");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_carries_lamport_time() {
        let text = logged(LogFormat::Text);
        assert!(text[0].contains("Z 41 ") && text[0].ends_with("one"), "{text:?}");
        assert!(text[1].contains("Z 42 "), "{text:?}");
        let json = logged(LogFormat::Json);
        assert!(json[0].starts_with(r#"{"lamport":41,"timestamp":""#), "{json:?}");
        assert!(json[1].starts_with(r#"{"lamport":42,"#) && json[1].ends_with("}"), "{json:?}");
    }

    #[test]
    fn files_are_bounded_in_size_and_number_and_the_newest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/shoal.log");
        let mut file = RollingFile::open(&path, (100, 3)).unwrap();
        for number in 0..50 {
            writeln!(file, "line {number:02} ..........").unwrap();
        }
        drop(file);
        let mut file = RollingFile::open(&path, (100, 3)).unwrap();
        writeln!(file, "the last line").unwrap();

        let mut names: Vec<_> = fs::read_dir(dir.path().join("sub"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["shoal.log", "shoal.log.1", "shoal.log.2"]);
        for name in &names {
            assert!(fs::metadata(dir.path().join("sub").join(name)).unwrap().len() <= 100);
        }
        let before = fs::read_to_string(dir.path().join("sub/shoal.log.1")).unwrap();
        assert!(before.ends_with("line 49 ..........\n"), "{before}");
        let newest = fs::read_to_string(&path).unwrap();
        assert!(newest.ends_with("the last line\n"), "{newest}");
    }

    #[test]
    fn a_log_that_was_deleted_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shoal.log");
        let mut file = RollingFile::open(&path, (100, 3)).unwrap();
        let mut write = |range: std::ops::Range<u32>| {
            for number in range {
                writeln!(file, "line {number:02} ..........").unwrap();
            }
        };
        write(0..9);
        fs::remove_file(&path).unwrap();
        write(9..13);
        let newest = fs::read_to_string(&path).unwrap();
        assert!(newest.ends_with("line 12 ..........\n"), "{newest}");
        // What had been put aside is still there.
        let before = fs::read_to_string(dir.path().join("shoal.log.2")).unwrap();
        assert!(before.starts_with("line 00"), "{before}");
    }

    #[test]
    fn a_log_that_cannot_be_put_aside_goes_on_and_is_put_aside_later() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let elsewhere = dir.path().join("elsewhere");
        let path = logs.join("shoal.log");
        let mut file = RollingFile::open(&path, (100, 3)).unwrap();
        // Its folder is gone for a while, so there is no place for a new file.
        fs::rename(&logs, &elsewhere).unwrap();
        for number in 0..12 {
            writeln!(file, "line {number:02} ..........").unwrap();
        }
        let whole = fs::read_to_string(elsewhere.join("shoal.log")).unwrap();
        assert_eq!(whole.lines().count(), 12);
        fs::rename(&elsewhere, &logs).unwrap();
        for number in 12..20 {
            writeln!(file, "line {number:02} ..........").unwrap();
        }
        let newest = fs::read_to_string(&path).unwrap();
        assert!(newest.ends_with("line 19 ..........\n") && newest.len() <= 100, "{newest}");
    }
}
