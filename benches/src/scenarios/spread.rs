//! One file from one owner to several nodes at once.

use super::single::{add, shared};
use crate::contestants::bare::{self, Congestion, Owners, REFERENCE};
use crate::contestants::course::Course;
use crate::contestants::shoal::{self, Shoal};
use crate::contestants::torrent;
use crate::contestants::web::{self, Mirrors};
use crate::failure::Outcome;
use crate::place::Where;
use crate::race::Race;
use crate::report::Section;
use crate::results::Label;
use crate::setting::Setting;
use crate::size::{self, BIG};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// On what the files are.
    #[arg(long = "where", value_enum, default_value_t = Where::Tmpfs)]
    pub place: Where,
    /// How many nodes fetch.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u8).range(1..=32))]
    pub guests: u8,
}

const TEXT: &str = "All receivers start at the same moment; seconds until the last one has the \
    whole file. They share the machine with the owner, so this is work done by two cores, not the \
    relief that a swarm gives to an uplink. *bare reference* is one owner and as many receivers \
    with one connection each. MB/s is the sum over all receivers.";

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let place = setting.place(args.place)?;
    let course = Course { guests: args.guests, ..Course::file(setting, &place, BIG, 1)? };
    let title = format!(
        "{} from one owner to {} nodes at once, {}",
        size::words(BIG),
        args.guests,
        args.place.word()
    );
    let mut race = Race::new(title, BIG * u64::from(args.guests));
    add(&mut race, setting, bare::label(REFERENCE), || {
        bare::receiver(&course, "bare", Owners::start(&course, Congestion::Chosen)?, false)
    });
    add(&mut race, setting, shoal::label(), || Shoal::start(&course));
    let mirrors = shared(Mirrors::start(&course));
    add(&mut race, setting, Label::other("curl, one nginx", "no"), || {
        web::curl(&course, mirrors()?)
    });
    add(&mut race, setting, Label::other("rqbit", "yes"), || {
        torrent::rqbit(&course, torrent::rqbit_seeders(&course)?)
    });
    add(&mut race, setting, Label::other("libtorrent", "yes"), || {
        torrent::libtorrent(&course, torrent::libtorrent_seeders(&course)?)
    });
    let results = race.run(setting.rounds, setting.memory())?;
    Ok(Section {
        id: "spread".to_owned(),
        title: "One file to several nodes".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![results.table(REFERENCE)],
        panels: vec![results.panel(REFERENCE)],
    })
}
