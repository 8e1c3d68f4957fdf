//! One file from several owners to one node.

use std::rc::Rc;

use crate::contestants::bare::{self, Congestion, Owners, REFERENCE, REFERENCE_SYNCED};
use crate::contestants::container::{self, Fleet};
use crate::contestants::course::Course;
use crate::contestants::shoal::{self, Shoal};
use crate::contestants::torrent;
use crate::contestants::web::{self, Mirrors};
use crate::failure::{Failure, Outcome};
use crate::place::Where;
use crate::race::{Contestant, Race};
use crate::report::Section;
use crate::results::{Label, Results};
use crate::setting::Setting;
use crate::size;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// On what the files are.
    #[arg(long = "where", value_enum, default_value_t = Where::Tmpfs)]
    pub place: Where,
    /// Sizes of the file; `394MB` is the big file of the starting set.
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_values = ["394MB", "4GiB"],
          value_parser = size::parse)]
    pub sizes: Vec<u64>,
    /// How many owners.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values = ["1", "3", "6"],
          value_parser = clap::value_parser!(u8).range(1..=32))]
    pub owners: Vec<u8>,
    /// Owners and receiver in containers, as `scripts/run.sh` starts them.
    #[arg(long)]
    pub containers: bool,
}

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let (prefix, how) =
        if args.containers { ("containers", "in containers, ") } else { ("single", "") };
    let mut section = Section {
        id: format!("{prefix}-{}", args.place.word()),
        title: format!("One file from several owners, {how}on {}", args.place.word()),
        text: TEXT.replace("{rounds}", &setting.rounds.to_string()),
        ..Section::default()
    };
    for &bytes in &args.sizes {
        for &owners in &args.owners {
            let place = setting.place(args.place)?;
            let course = Course::file(setting, &place, bytes, owners)?;
            let race = if args.containers {
                in_containers(&course, args.place)?
            } else {
                race(&course, args.place)?
            };
            let reference = match args.place {
                Where::Tmpfs => REFERENCE,
                Where::Disk => REFERENCE_SYNCED,
            };
            section.tables.push(race.table(reference));
            section.panels.push(race.panel(reference));
        }
    }
    Ok(section)
}

const TEXT: &str = "From several owners to one node on one machine, page cache warm, {rounds} \
    rounds in which all take turns. Seconds from the start of the fetching program to its end. \
    *bare reference* does only the necessary: `sendfile`, `recv` into a small buffer, BLAKE3 of \
    every chunk of 1 MiB against known hashes, `pwrite`; a connection and a thread for each owner, \
    congestion control reno. *ratio* is to its median. Shoal is timed by `ctl download --from all` on a running node, search and \
    manifest included; it always syncs a file before it gets its name.";

fn race(course: &Course<'_>, place: Where) -> Outcome<Results> {
    let mut race = Race::new(title(course, place), course.bytes);
    add_ours(&mut race, course, place);
    add_copies(&mut race, course, place);
    add_others(&mut race, course);
    race.run(course.setting.rounds, course.setting.memory())
}

fn in_containers(course: &Course<'_>, place: Where) -> Outcome<Results> {
    let title = format!("{}, in containers", title(course, place));
    let mut race = Race::new(title, course.bytes);
    let setting = course.setting;
    let fleet = shared(Fleet::start(course));
    if place == Where::Disk {
        add(&mut race, setting, bare::label(REFERENCE_SYNCED), || {
            container::Bare::new(fleet()?, true)
        });
    }
    add(&mut race, setting, bare::label(REFERENCE), || container::Bare::new(fleet()?, false));
    add(&mut race, setting, shoal::label(), || Ok(container::Shoal(fleet()?)));
    race.run(setting.rounds, setting.memory())
}

fn title(course: &Course<'_>, place: Where) -> String {
    let owners = if course.owners == 1 { "owner" } else { "owners" };
    let bytes = size::words(course.bytes);
    format!("{bytes} from {} {owners}, {}", course.owners, place.word())
}

/// Adds somebody who is wanted; the attempt to prepare is made only then.
pub fn add<C: Contestant + 'static>(
    race: &mut Race,
    setting: &Setting,
    label: Label,
    contestant: impl FnOnce() -> Outcome<C>,
) {
    if setting.wants(&label.name) {
        race.add(label, contestant());
    }
}

fn add_ours(race: &mut Race, course: &Course<'_>, place: Where) {
    let setting = course.setting;
    let start = |congestion| Owners::start(course, congestion);
    if place == Where::Disk {
        add(race, setting, bare::label(REFERENCE_SYNCED), || {
            bare::receiver(course, "bare-synced", start(Congestion::Chosen)?, true)
        });
    }
    add(race, setting, bare::label(REFERENCE), || {
        bare::receiver(course, "bare", start(Congestion::Chosen)?, false)
    });
    let name = format!("{REFERENCE}, default congestion control");
    add(race, setting, bare::label(&name), || {
        bare::receiver(course, "bare-default", start(Congestion::Default)?, false)
    });
    add(race, setting, shoal::label(), || Shoal::start(course));
}

fn add_copies(race: &mut Race, course: &Course<'_>, place: Where) {
    add(race, course.setting, Label::other("cp", "-"), || bare::copy(course, false));
    if place == Where::Disk {
        add(race, course.setting, Label::other("cp and sync", "-"), || bare::copy(course, true));
    }
}

/// With larger files than this, only some of the others take part, and only
/// with the usual number of owners: a run takes many seconds then.
const LARGE: u64 = 1 << 30;

/// How many owners a file usually has here.
const USUAL: u8 = 3;

fn add_others(race: &mut Race, course: &Course<'_>) {
    if course.bytes > LARGE && course.owners != USUAL {
        race.remark("Others take part with three owners.");
        return;
    }
    let setting = course.setting;
    let mirrors = shared(Mirrors::start(course));
    let aria2 = |how| Label::other(format!("aria2, {} nginx{}", course.owners, how), "no");
    add(race, setting, Label { verified: "yes", ..aria2(", verified") }, || {
        web::aria2_verified(course, mirrors()?)
    });
    add(race, setting, Label::other("rqbit", "yes"), || {
        torrent::rqbit(course, torrent::rqbit_seeders(course)?)
    });
    if course.bytes > LARGE {
        return;
    }
    add(race, setting, aria2(""), || web::aria2(course, mirrors()?));
    add(race, setting, Label::other("curl, one nginx", "no"), || web::curl(course, mirrors()?));
    add(race, setting, Label::other("libtorrent", "yes"), || {
        torrent::libtorrent(course, torrent::libtorrent_seeders(course)?)
    });
}

/// One thing, or one reason, for several.
pub fn shared<T>(outcome: Outcome<Rc<T>>) -> impl Fn() -> Outcome<Rc<T>> {
    move || match &outcome {
        Ok(thing) => Ok(Rc::clone(thing)),
        Err(failure) => Err(Failure::new(failure.to_string())),
    }
}
