//! Owners that are slow, and owners that are far.

use std::net::SocketAddr;
use std::time::Duration;

use super::single::add;
use crate::contestants::bare::{self, Congestion, Owners, REFERENCE};
use crate::contestants::course::Course;
use crate::contestants::shoal::{self, SHOAL, Shoal};
use crate::failure::Outcome;
use crate::link::{self, Shape};
use crate::place::Where;
use crate::process::{free_address, loopback};
use crate::race::Race;
use crate::report::Section;
use crate::results::{Label, Results};
use crate::setting::Setting;
use crate::size::{self, BIG};

/// Half of the round trip.
const DELAY: Duration = Duration::from_millis(25);

/// 8 Mbit/s, in bytes a second.
const SLOW: u32 = 1_000_000;

const TWO: &str = "Shoal, two owners";

const TEXT: &str = "*Slow*: one of three owners is reached over a link that passes 8 Mbit/s, or \
    limits itself; *ratio* is to the time without that owner. *Far*: the only owner is reached over \
    a link that delays each way by 25 ms and holds any amount on the way; *bare reference* is one \
    connection in bulk over such a link. Both links are proxies within the bench.";

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting) -> Outcome<Section> {
    let slow = slow(setting)?;
    let mut section = Section {
        id: "faults".to_owned(),
        title: "Slow and far owners".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![slow.table(TWO)],
        panels: vec![slow.panel(TWO)],
    };
    for bytes in if setting.quick { vec![BIG] } else { vec![BIG, 4 << 30] } {
        let far = far(setting, bytes)?;
        section.tables.push(far.table(REFERENCE));
        section.panels.push(far.panel(REFERENCE));
    }
    Ok(section)
}

fn slow(setting: &Setting) -> Outcome<Results> {
    let title = format!("{}, one slow owner, tmpfs", size::words(BIG));
    let mut race = Race::new(title, BIG);
    let [two, three, narrow, limited] = [(); 4].map(|()| setting.place(Where::Tmpfs));
    let (two, three, narrow, limited) = (two?, three?, narrow?, limited?);
    let label = |name: &str| Label { name: name.to_owned(), ..shoal::label() };
    add(&mut race, setting, label(TWO), || Shoal::start(&Course::file(setting, &two, BIG, 2)?));
    add(&mut race, setting, label("Shoal, three owners"), || {
        Shoal::start(&Course::file(setting, &three, BIG, 3)?)
    });
    add(&mut race, setting, label("Shoal, two and one over 8 Mbit/s"), || {
        let course = Course::file(setting, &narrow, BIG, 3)?;
        let flags = behind(2, Shape { rate: Some(SLOW), ..Shape::default() })?;
        Shoal::start_with(&course, |k| if k == 2 { flags.clone() } else { Vec::new() })
    });
    add(&mut race, setting, label("Shoal, two and one with --up 1MB"), || {
        let course = Course::file(setting, &limited, BIG, 3)?;
        let flags = |k| if k == 2 { vec!["--up".to_owned(), "1MB".to_owned()] } else { Vec::new() };
        Shoal::start_with(&course, flags)
    });
    race.run(setting.rounds, setting.memory())
}

fn far(setting: &Setting, bytes: u64) -> Outcome<Results> {
    let title = format!("{} from one owner, round trip 50 ms, tmpfs", size::words(bytes));
    let place = setting.place(Where::Tmpfs)?;
    let course = Course::file(setting, &place, bytes, 1)?;
    let shape = Shape { delay: DELAY, rate: None };
    let mut race = Race::new(title, bytes);
    add(&mut race, setting, bare::label(REFERENCE), || {
        let owners = Owners::start(&course, Congestion::Chosen)?.behind(shape)?;
        bare::receiver(&course, "bare", owners, false)
    });
    add(&mut race, setting, shoal::label(), || {
        let flags = behind(0, shape)?;
        Shoal::start_with(&course, |k| if k == 0 { flags.clone() } else { Vec::new() })
    });
    let mut results = race.run(setting.rounds, setting.memory())?;
    if let (Some(bulk), Some(ours)) = (results.median_of(REFERENCE), results.median_of(SHOAL)) {
        let share = 100.0 * bulk / ours;
        results.remarks.push(format!("Shoal reaches {share:.0} % of the rate in bulk."));
    }
    Ok(results)
}

/// Flags of node `k` that make others reach it over links of this shape.
fn behind(k: u8, shape: Shape) -> Outcome<Vec<String>> {
    // 127.0.1.k in front of 127.0.0.k.
    let front = match loopback(k) {
        std::net::IpAddr::V4(ip) => {
            let [a, b, _, d] = ip.octets();
            std::net::IpAddr::from([a, b, 1, d])
        }
        other => other,
    };
    let mut flags = vec!["--advertise".to_owned(), front.to_string()];
    for (flag, shape) in
        [("--download-port", shape), ("--search-port", Shape { rate: None, ..shape })]
    {
        let far = free_address(loopback(k))?;
        link::start(SocketAddr::new(front, far.port()), far, shape)?;
        flags.extend([flag.to_owned(), far.port().to_string()]);
    }
    Ok(flags)
}
