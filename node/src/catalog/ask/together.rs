//! The answers of several nodes in one that has a bound. Pure.
//!
//! Where there are more matches than may be told, each part of the ring gets as
//! much of the room as any other that wants it, and so does each node of a part.
//! So whoever tells of a thousand takes nothing from those who tell of one.

use std::cmp;
use std::collections::{BTreeMap, HashSet};

use shoal_common::ident::{NodeId, Peer};
use shoal_common::limits::{MAX_MATCHES, MAX_SILENT};
use shoal_common::protocol::search::{Answer, Gathered};

/// What was gathered so far.
#[derive(Debug)]
pub struct Together {
    /// Answers by their part of the ring.
    parts: BTreeMap<usize, Vec<Answer>>,
    /// Most matches of all parts together.
    most: usize,
    /// All but the answers.
    rest: Gathered,
}

impl Together {
    /// Nothing yet, and at most so many matches. Each part has
    /// [`MAX_MATCHES`] at most.
    pub fn new(most: usize) -> Self {
        Self { parts: BTreeMap::new(), most, rest: Gathered::default() }
    }

    /// Adds what came of a part; where a node is told of again, the later counts.
    pub fn add(&mut self, part: usize, gathered: Gathered) {
        let Gathered { answers, asked, missing, silent, more } = gathered;
        let named: HashSet<NodeId> = answers.iter().map(|answer| answer.peer.id).collect();
        let known = self.parts.entry(part).or_default();
        known.retain(|answer| !named.contains(&answer.peer.id));
        known.extend(answers.into_iter().filter(|answer| !answer.matches.is_empty()));
        self.rest.more |= more;
        self.rest.asked = self.rest.asked.saturating_add(asked);
        self.rest.missing = self.rest.missing.saturating_add(missing);
        let room = MAX_SILENT.saturating_sub(self.rest.silent.len());
        self.rest.silent.extend(silent.into_iter().take(room));
        self.keep_bounds();
    }

    /// Notes that somebody did not answer.
    pub fn add_silent(&mut self, peer: Peer) {
        self.rest.missing = self.rest.missing.saturating_add(1);
        if self.rest.silent.len() < MAX_SILENT {
            self.rest.silent.push(peer.name);
        }
    }

    fn keep_bounds(&mut self) {
        let wanted: Vec<_> =
            self.parts.values().map(|answers| cmp::min(matches(answers), MAX_MATCHES)).collect();
        for (answers, room) in self.parts.values_mut().zip(allot(&wanted, self.most)) {
            if matches(answers) > room {
                self.rest.more = true;
                let wanted: Vec<_> = answers.iter().map(|answer| answer.matches.len()).collect();
                for (answer, room) in answers.iter_mut().zip(allot(&wanted, room)) {
                    answer.matches.truncate(room);
                }
                answers.retain(|answer| !answer.matches.is_empty());
            }
        }
    }

    /// All of it, with the first answer of each part in front, then the second of
    /// each, and so on: whoever cuts it down takes as much from each.
    pub fn finish(self) -> Gathered {
        let mut parts: Vec<_> = self.parts.into_values().map(Vec::into_iter).collect();
        let mut answers = Vec::new();
        while !parts.is_empty() {
            parts.retain_mut(|part| match part.next() {
                Some(answer) => {
                    answers.push(answer);
                    true
                }
                None => false,
            });
        }
        Gathered { answers, ..self.rest }
    }
}

fn matches(answers: &[Answer]) -> usize {
    answers.iter().map(|answer| answer.matches.len()).sum()
}

/// How much each gets of the room: no more than it wants, and else as much as any
/// other, but for one; of equal ones the first.
fn allot(wanted: &[usize], mut room: usize) -> Vec<usize> {
    let mut places: Vec<_> = wanted.iter().copied().zip(0_usize..).collect();
    // Who wants little leaves something to the others.
    places.sort_unstable();
    let mut given = vec![0; wanted.len()];
    for (others, (wanted, place)) in (1..=wanted.len()).rev().zip(places) {
        if let Some(given) = given.get_mut(place) {
            *given = cmp::min(wanted, room.div_ceil(others));
            room -= *given;
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use shoal_common::content::FileId;
    use shoal_common::protocol::search::Match;

    use super::*;

    fn peer(number: u16) -> Peer {
        let at = "127.0.0.1:9".parse().unwrap();
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let name = format!("node{number}").parse().unwrap();
        Peer { id: NodeId::from_bytes(id), name, search: at, download: at, joined: 0 }
    }

    fn answer(number: u16, matches: usize) -> Answer {
        let found =
            Match { name: "a".parse().unwrap(), size: 1, file: FileId::of(b"a"), chunks: None };
        Answer { peer: peer(number), matches: vec![found; matches] }
    }

    fn of(answers: Vec<Answer>) -> Gathered {
        Gathered { answers, asked: 1, ..Gathered::default() }
    }

    /// How many matches each node has, in order.
    fn shape(gathered: &Gathered) -> Vec<(Peer, usize)> {
        gathered.answers.iter().map(|answer| (answer.peer.clone(), answer.matches.len())).collect()
    }

    #[test]
    fn room_is_shared_out_fairly() {
        assert_eq!(allot(&[1, 1000, 1, 1000], 10), [1, 4, 1, 4]);
        assert_eq!(allot(&[5, 2, 5], 100), [5, 2, 5]);
        assert_eq!(allot(&[7, 1, 7], 2), [1, 1, 0]);
        assert_eq!(allot(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(allot(&[9, 9], 0), [0, 0]);
        assert_eq!(allot(&[], 5), [0; 0]);
    }

    #[test]
    fn who_tells_of_a_thousand_takes_nothing_from_the_others() {
        let liars = || of((1000..2000).map(|number| answer(number, 1)).collect());
        for liar_first in [true, false] {
            let mut all = Together::new(MAX_MATCHES);
            if liar_first {
                all.add(0, liars());
            }
            (1..32).for_each(|part| all.add(part.into(), of(vec![answer(part, 1)])));
            if !liar_first {
                all.add(40, liars());
            }
            let all = all.finish();
            assert!(all.more);
            let honest = |answers: &[Answer]| {
                answers.iter().filter(|answer| answer.peer.id < peer(1000).id).count()
            };
            assert_eq!((all.answers.len(), honest(&all.answers)), (MAX_MATCHES, 31));
            // The next one up the way has less room for them.
            let mut above = Together::new(64);
            above.add(0, of(vec![answer(3000, 1000)]));
            above.add(1, all);
            let above = above.finish();
            assert_eq!((matches(&above.answers), honest(&above.answers)), (64, 31));
        }
    }

    #[test]
    fn whom_one_tells_of_again_is_there_once() {
        let mut all = Together::new(MAX_MATCHES);
        all.add(0, of(vec![answer(1, 5), answer(2, 1)]));
        all.add(0, of(vec![answer(1, 2), answer(3, 0)]));
        let all = all.finish();
        assert_eq!(shape(&all), [(peer(2), 1), (peer(1), 2)]);
        assert_eq!((all.asked, all.more), (2, false));
    }

    #[test]
    fn an_answer_keeps_its_bounds_and_says_what_is_left_out() {
        let mut all = Together::new(MAX_MATCHES);
        for part in 0..3 {
            let answers = vec![answer(part, MAX_MATCHES / 2)];
            let silent = vec!["x".parse().unwrap(); MAX_SILENT / 2];
            let more = Gathered { answers, asked: 7, silent, missing: 100, more: false };
            assert!(!all.rest.more);
            all.add(part.into(), more);
        }
        all.add_silent(peer(9));
        let all = all.finish();
        assert!(all.more);
        assert_eq!(matches(&all.answers), MAX_MATCHES);
        assert_eq!((all.asked, all.missing, all.silent.len()), (21, 301, MAX_SILENT));
    }

    #[test]
    fn a_part_has_a_bound_of_its_own() {
        let mut all = Together::new(10 * MAX_MATCHES);
        all.add(0, of(vec![answer(0, MAX_MATCHES)]));
        all.add(0, of(vec![answer(1, MAX_MATCHES)]));
        all.add(1, of(vec![answer(2, 3)]));
        let half = MAX_MATCHES / 2;
        assert_eq!(shape(&all.finish()), [(peer(0), half), (peer(2), 3), (peer(1), half)]);
    }
}
