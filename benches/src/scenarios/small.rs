//! A folder of many small files from one owner to one node.

use super::single::{add, shared};
use crate::contestants::bare;
use crate::contestants::course::Course;
use crate::contestants::rsync;
use crate::contestants::shoal::{self, Shoal};
use crate::contestants::torrent;
use crate::contestants::web::{self, Mirrors};
use crate::failure::Outcome;
use crate::place::Where;
use crate::race::Race;
use crate::report::Section;
use crate::results::{Label, Results};
use crate::setting::Setting;
use crate::size::{self, parse};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// On what the files are.
    #[arg(long = "where", value_enum, default_value_t = Where::Tmpfs)]
    pub place: Where,
    /// How many files.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values = ["1000", "100000"])]
    pub counts: Vec<u32>,
    /// How large each is.
    #[arg(long, value_name = "SIZE", default_value = "10KiB", value_parser = file_size)]
    pub size: u32,
}

fn file_size(text: &str) -> Result<u32, String> {
    parse(text)?.try_into().map_err(|_| "small files are meant".to_owned())
}

/// With more files than this, those who take minutes for them do not take part,
/// and three rounds are enough.
const MANY: u32 = 10_000;

const CURL: &str = "curl, 16 at once, nginx";

const TEXT: &str = "A folder of files with different contents, from one owner, page cache warm. \
    curl fetches a list of addresses that it is given; the others find out what there is. *ratio* \
    is to curl with sixteen transfers at once.";

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let mut section = Section {
        id: format!("small-{}", args.place.word()),
        title: format!("Many small files, on {}", args.place.word()),
        text: TEXT.to_owned(),
        ..Section::default()
    };
    for &count in &args.counts {
        let place = setting.place(args.place)?;
        let course = Course::folder(setting, &place, count, args.size)?;
        let race = race(&course, count, args)?;
        section.tables.push(race.table(CURL));
        section.panels.push(race.panel(CURL));
    }
    Ok(section)
}

fn race(course: &Course<'_>, count: u32, args: &Args) -> Outcome<Results> {
    let setting = course.setting;
    let each = size::words(args.size.into());
    let title = format!("{count} files of {each} from one owner, {}", args.place.word());
    let mut race = Race::new(title, course.bytes).files(count);
    add(&mut race, setting, shoal::label(), || Shoal::start(course));
    let mirrors = shared(Mirrors::start(course));
    add(&mut race, setting, Label::other(CURL, "no"), || {
        web::curl_folder(course, mirrors()?, true)
    });
    add(&mut race, setting, Label::other("curl, one by one, nginx", "no"), || {
        web::curl_folder(course, mirrors()?, false)
    });
    add(&mut race, setting, Label::other("rsync daemon", "yes"), || rsync::rsync(course));
    add(&mut race, setting, Label::other("cp -r", "-"), || bare::copy(course, false));
    if count <= MANY {
        add(&mut race, setting, Label::other("rqbit", "yes"), || {
            torrent::rqbit(course, torrent::rqbit_seeders(course)?)
        });
        add(&mut race, setting, Label::other("libtorrent", "yes"), || {
            torrent::libtorrent(course, torrent::libtorrent_seeders(course)?)
        });
    } else {
        race.remark("BitTorrent clients take part with fewer files only.");
    }
    let rounds = if count > MANY { setting.rounds.min(3) } else { setting.rounds };
    race.run(rounds, setting.memory())
}
