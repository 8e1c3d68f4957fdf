//! From `shoal-node get` to the first byte.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use rustix::process::{Pid, Signal, kill_process};

use crate::contestants::course::Course;
use crate::contestants::shoal::Shoal;
use crate::failure::{Failure, Outcome};
use crate::figures::{median, spread, three_digits};
use crate::network::Network;
use crate::place::{Where, delete};
use crate::plot::{Bar, Kind, Panel};
use crate::process::{program, timed};
use crate::report::{Section, Table};
use crate::setting::Setting;
use crate::size::BIG;
use crate::{place, say};

/// Between two looks for the first byte.
const TICK: Duration = Duration::from_micros(500);

/// How long the first byte may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name of the small file.
const TINY: &str = "tiny.txt";

const TEXT: &str = "On a network of a tracker and five nodes that have indexed what they share, \
    three of them a file of 394 MB. *first byte*: from the start of the process `shoal-node get` \
    until a look at its folder (some 2,000 a second) finds written data in the file that it has \
    reserved there (`SEEK_DATA`), so the first chunk has come, was verified and written. *whole \
    run*: from start to end of a `get` of a file of 11 bytes.";

/// Measures.
///
/// # Errors
/// The machine's, or Shoal's: it is alone here.
pub fn run(setting: &Setting) -> Outcome<Section> {
    let place = setting.place(Where::Tmpfs)?;
    let course = Course { guests: 2, ..Course::file(setting, &place, BIG, 3)? };
    for k in 0..course.owners {
        fs::write(course.owner(k).join(TINY), "a few words")?;
    }
    let shoal = Shoal::start(&course)?;
    shoal.guest()?.sees_owners(TINY, usize::from(course.owners))?;
    let rounds = if setting.quick { 5 } else { 3 * setting.rounds };
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        place::touch_memory(setting.memory(), BIG)?;
        first.push(1e3 * first_byte(&course, shoal.network())?);
        whole.push(1e3 * whole_run(&course, shoal.network())?);
        say::note(format_args!(
            "  first byte {:?} ms, whole run {:?} ms",
            first.last(),
            whole.last()
        ));
    }
    let measured = [("first byte of 394 MB", first), ("whole run for 11 bytes", whole)];
    Ok(Section {
        id: "start".to_owned(),
        title: "Start".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![table(&measured)],
        panels: vec![panel(&measured)],
    })
}

fn get(course: &Course<'_>, network: &Network, name: &str, to: &Path) -> std::process::Command {
    let mut get = program(course.setting.program("shoal-node"));
    get.args(["get", name, "--tracker", &network.tracker().to_string()]);
    get.args(["--listen", "127.0.0.99", "--output"]).arg(to);
    get
}

fn whole_run(course: &Course<'_>, network: &Network) -> Outcome<f64> {
    let to = course.place.folder("get")?;
    let (seconds, _) = timed(&mut get(course, network, TINY, &to))?;
    let came = fs::read(to.join(TINY))?;
    delete(&to)?;
    if came == b"a few words" {
        Ok(seconds)
    } else {
        Err(Failure::new("`get` brought other words"))
    }
}

fn first_byte(course: &Course<'_>, network: &Network) -> Outcome<f64> {
    let to = course.place.folder("get")?;
    let mut command = get(course, network, &course.name, &to);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn()?;
    while !has_data(&to) && start.elapsed() < PATIENCE {
        thread::sleep(TICK);
    }
    let seconds = start.elapsed();
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::INT).ok();
    }
    child.wait()?;
    delete(&to)?;
    if seconds < PATIENCE {
        Ok(seconds.as_secs_f64())
    } else {
        Err(Failure::new("no first byte came"))
    }
}

/// Whether a file below this folder that can hold chunks has written data.
fn has_data(folder: &Path) -> bool {
    files(folder).iter().any(|path| {
        let written = |file: File| {
            file.metadata().is_ok_and(|data| data.len() == BIG)
                && seek(&file, SeekFrom::Data(0)).is_ok()
        };
        File::open(path).is_ok_and(written)
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

type Measured = [(&'static str, Vec<f64>); 2];

fn table(measured: &Measured) -> Table {
    let line = |(name, values): &(&str, Vec<f64>)| {
        let (least, most) = spread(values)?;
        Some(vec![
            (*name).to_owned(),
            three_digits(median(values)?),
            format!("{} – {}", three_digits(least), three_digits(most)),
            values.len().to_string(),
        ])
    };
    Table {
        title: "`shoal-node get` on a network of five nodes".to_owned(),
        head: ["", "median ms", "least – most ms", "runs"].map(str::to_owned).to_vec(),
        lines: measured.iter().filter_map(line).collect(),
        remarks: Vec::new(),
    }
}

fn panel(measured: &Measured) -> Panel {
    let bar = |(name, values): &(&str, Vec<f64>)| {
        let (least, most) = spread(values)?;
        let median = median(values)?;
        let (label, remark) = ((*name).to_owned(), String::new());
        Some(Bar { label, kind: Kind::Ours, median, least, most, remark })
    };
    let bars = measured.iter().filter_map(bar).collect();
    Panel { title: "`shoal-node get`".to_owned(), unit: "ms".to_owned(), bars }
}
