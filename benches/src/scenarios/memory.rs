//! What a download takes of memory and descriptors, on either side.

use std::fs::{self, File};

use crate::contestants::course::Course;
use crate::contestants::shoal::Shoal;
use crate::failure::{Failure, Outcome};
use crate::figures::three_digits;
use crate::place::Where;
use crate::plot::{Bar, Kind, Panel};
use crate::race::Contestant;
use crate::report::{Section, Table};
use crate::setting::Setting;
use crate::size::{self, BIG};
use crate::watch::{Peak, Watch};
use crate::{place, say};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The size of the large file; it is sparse at its owners, and written to
    /// the disk.
    #[arg(long, value_name = "SIZE", default_value = "16GiB", value_parser = size::parse)]
    pub large: u64,
}

const TEXT: &str = "From three owners to one node, as plain processes. *anonymous* is resident \
    memory that belongs to no file (`RssAnon`), the highest of 500 looks a second; *resident* is \
    the kernel's own peak (`VmHWM`), pages of mapped files included, since the process began. Of \
    the owners, the highest of the three.";

/// Measures.
///
/// # Errors
/// The machine's, or Shoal's: it is alone here.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let large = if setting.quick { args.large.min(1 << 30) } else { args.large };
    let mut lines = Vec::new();
    {
        let place = setting.place(Where::Tmpfs)?;
        let course = Course::file(setting, &place, BIG, 3)?;
        measure(&course, &mut lines)?;
    }
    {
        let place = setting.place(Where::Disk)?;
        let course = Course::sparse(setting, &place, large, 3)?;
        measure(&course, &mut lines)?;
    }
    let table = Table {
        title: "Peaks while one file comes from three owners".to_owned(),
        head: ["", "anonymous MiB", "resident MiB", "descriptors"].map(str::to_owned).to_vec(),
        lines: lines.iter().map(Line::cells).collect(),
        remarks: vec![format!(
            "{} is a sparse file at its owners; what came is compared by its hash only.",
            size::words(large)
        )],
    };
    let bars = lines.iter().map(Line::bar).collect();
    let title = "Anonymous memory, peak".to_owned();
    Ok(Section {
        id: "memory".to_owned(),
        title: "Memory".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![table],
        panels: vec![Panel { title, unit: "MiB".to_owned(), bars }],
    })
}

struct Line {
    name: String,
    peak: Peak,
}

impl Line {
    fn cells(&self) -> Vec<String> {
        let Peak { anonymous, resident, descriptors } = self.peak;
        let [anonymous, resident] = [anonymous, resident].map(|kib| three_digits(mib(kib)));
        vec![self.name.clone(), anonymous, resident, descriptors.to_string()]
    }

    fn bar(&self) -> Bar {
        let median = mib(self.peak.anonymous);
        let (label, remark) = (self.name.clone(), String::new());
        Bar { label, kind: Kind::Ours, median, least: median, most: median, remark }
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn measure(course: &Course<'_>, lines: &mut Vec<Line>) -> Outcome<()> {
    let name = size::words(course.bytes);
    say::note(format_args!("memory, {name}"));
    let mut shoal = Shoal::start(course)?;
    if course.bytes == BIG {
        place::touch_memory(course.setting.memory(), BIG)?;
    }
    let guest = Watch::start(shoal.guest()?.server.id());
    let owners: Vec<_> =
        shoal.owners().iter().map(|owner| Watch::start(owner.server.id())).collect();
    let seconds = shoal.run()?;
    let guest = guest.end()?;
    let owners = owners.into_iter().map(Watch::end).collect::<Outcome<Vec<_>>>()?;
    say::note(format_args!("  {seconds:.3} s"));
    shoal.whole(course)?;
    shoal.clear()?;
    let most = |of: fn(&Peak) -> u64| owners.iter().map(of).max().unwrap_or_default();
    let owner = Peak {
        anonymous: most(|peak| peak.anonymous),
        resident: most(|peak| peak.resident),
        descriptors: most(|peak| peak.descriptors),
    };
    lines.push(Line { name: format!("downloader, {name}"), peak: guest });
    lines.push(Line { name: format!("owner, {name}"), peak: owner });
    Ok(())
}

impl Shoal {
    /// Whether what came has its size; its content was verified by its hash.
    fn whole(&self, course: &Course<'_>) -> Outcome<()> {
        let size = fs::metadata(self.guest()?.files.join(&course.name))?.len();
        if size == course.bytes {
            Ok(())
        } else {
            Err(Failure::new(format!("only {size} bytes came")))
        }
    }
}

impl<'a> Course<'a> {
    /// A file of zeros that takes no space, at so many owners.
    fn sparse(
        setting: &'a Setting,
        place: &'a place::Place,
        bytes: u64,
        owners: u8,
    ) -> Outcome<Self> {
        let name = "sparse.img".to_owned();
        let course = Self { setting, place, name, bytes, owners, guests: 1 };
        place.folder("source")?;
        File::create(course.source())?.set_len(bytes)?;
        for k in 0..owners {
            let to = place.folder(format!("owner{k}"))?.join(&course.name);
            fs::hard_link(course.source(), to)?;
        }
        Ok(course)
    }
}
