//! Whatever happens, in whatever order: the invariant holds, and an honest owner
//! finishes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What can happen to a plan.
#[derive(Debug, Clone)]
enum Event {
    Join(u8),
    Leave(u8),
    Offer(u8, ItemId, Option<Vec<u32>>),
    Withdraw(u8, ItemId),
    Want(ItemId),
    Open(ItemId),
    Close(ItemId),
    Horizon(ItemId, u32),
    Ask(u8),
    Deliver { owner: u8, nth: usize, correct: bool },
    Answered(u8, u16),
    Pass(u16),
}

const ITEMS: u32 = 4;

fn event() -> impl Strategy<Value = Event> {
    let owner = 1..6_u8;
    let item = 0..ITEMS;
    let has = prop::option::of(prop::collection::vec(0..20_u32, 0..12));
    prop_oneof![
        3 => owner.clone().prop_map(Event::Join),
        1 => owner.clone().prop_map(Event::Leave),
        4 => (owner.clone(), item.clone(), has).prop_map(|(a, b, c)| Event::Offer(a, b, c)),
        1 => (owner.clone(), item.clone()).prop_map(|(a, b)| Event::Withdraw(a, b)),
        1 => item.clone().prop_map(Event::Want),
        2 => item.clone().prop_map(Event::Open),
        1 => item.clone().prop_map(Event::Close),
        1 => (item, 0..25_u32).prop_map(|(a, b)| Event::Horizon(a, b)),
        12 => owner.clone().prop_map(Event::Ask),
        12 => (owner.clone(), prop_oneof![4 => Just(0_usize), 1 => 0..4_usize], prop::bool::weighted(0.95))
            .prop_map(|(owner, nth, correct)| Event::Deliver { owner, nth, correct }),
        1 => (owner, 0..100_u16).prop_map(|(a, b)| Event::Answered(a, b)),
        2 => (0..2000_u16).prop_map(Event::Pass),
    ]
}

/// A plan beside a simple account of what must be true of it.
struct Checked {
    plan: Plan,
    order: Order,
    now: Instant,
    /// Number of chunks of each item.
    sizes: Vec<u32>,
    here: BTreeSet<u8>,
    offers: HashMap<(u8, ItemId), BTreeSet<u32>>,
    asked: BTreeMap<u8, Vec<(ItemId, Option<u32>)>>,
    open: BTreeMap<ItemId, BTreeSet<u32>>,
    /// Which were open ever.
    opened: BTreeSet<ItemId>,
    horizon: BTreeMap<ItemId, u32>,
    /// Which manifests are wanted, and who gave one that does not fit.
    wanted: BTreeMap<ItemId, BTreeSet<u8>>,
    wrong: BTreeMap<u8, u32>,
    bytes: u64,
}

impl Checked {
    fn new(order: Order, sizes: Vec<u32>, seed: u64) -> Self {
        Self {
            plan: Plan::new(order, MIB, id(99), seed),
            order,
            now: Instant::now(),
            sizes,
            here: BTreeSet::new(),
            offers: HashMap::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            opened: BTreeSet::new(),
            horizon: BTreeMap::new(),
            wanted: BTreeMap::new(),
            wrong: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn length(&self, item: ItemId, chunk: u32) -> u64 {
        let range = self.geometry(item).range(chunk);
        range.end - range.start
    }

    fn geometry(&self, item: ItemId) -> Geometry {
        let chunks = u64::from(self.sizes[index(item)]);
        Geometry::of((chunks * MIN_CHUNK).saturating_sub(5)).unwrap()
    }

    fn happen(&mut self, event: &Event) {
        match event.clone() {
            Event::Join(owner) => {
                let trusted = self.wrong.get(&owner).copied().unwrap_or(0) < owner::MAX_WRONG;
                assert_eq!(self.plan.join(id(owner)), trusted);
                self.gone(owner);
                if trusted {
                    self.here.insert(owner);
                }
            }
            Event::Leave(owner) => {
                self.plan.leave(id(owner));
                self.gone(owner);
            }
            Event::Offer(owner, item, has) => self.offer(owner, item, has),
            Event::Withdraw(owner, item) => {
                self.plan.withdraw(id(owner), item);
                self.offers.remove(&(owner, item));
                self.asked.entry(owner).or_default().retain(|asked| asked.0 != item);
            }
            Event::Want(item) => {
                // Nobody wants one again that has come, before its item is closed.
                let late = self.asked.values().flatten().any(|asked| *asked == (item, None));
                if !late || self.wanted.contains_key(&item) || self.opened.contains(&item) {
                    self.plan.want_manifest(item);
                    self.wanted.entry(item).or_default();
                }
            }
            Event::Open(item) => {
                if !self.open.contains_key(&item) {
                    self.plan.open(item, self.geometry(item), FixedBitSet::new());
                    self.open.insert(item, BTreeSet::new());
                    self.opened.insert(item);
                    self.horizon.remove(&item);
                }
            }
            Event::Close(item) => {
                if self.plan.items.contains_key(&item) {
                    self.opened.insert(item);
                }
                self.plan.close(item);
                self.open.remove(&item);
                self.wanted.remove(&item);
                self.offers.retain(|key, _| key.1 != item);
            }
            Event::Horizon(item, chunk) => {
                self.plan.set_horizon(item, chunk);
                if self.open.contains_key(&item) {
                    self.horizon.insert(item, chunk);
                }
            }
            Event::Ask(owner) => self.ask(owner),
            Event::Deliver { owner, nth, correct } => self.deliver(owner, nth, correct),
            Event::Answered(owner, after) => self.plan.answered(id(owner), millis(after.into())),
            Event::Pass(time) => self.now += millis(time.into()),
        }
        self.check();
    }

    fn gone(&mut self, owner: u8) {
        self.here.remove(&owner);
        self.asked.remove(&owner);
    }

    fn offer(&mut self, owner: u8, item: ItemId, has: Option<Vec<u32>>) {
        if self.opened.contains(&item) && !self.plan.items.contains_key(&item) {
            // Of a closed item nothing is remembered.
            let offer = has.map_or(Offer::All, some);
            self.plan.offer(id(owner), item, offer);
            return;
        }
        let chunks = self.offers.entry((owner, item)).or_default();
        match &has {
            Some(has) => chunks.extend(has),
            None => chunks.extend(0..30),
        }
        self.plan.offer(id(owner), item, has.map_or(Offer::All, some));
    }

    fn ask(&mut self, owner: u8) {
        let Some(ask) = self.plan.next(id(owner), self.now) else { return };
        assert!(self.here.contains(&owner), "asked of who is not here");
        if ask.part == Part::Manifest {
            let asked = (ask.item, None);
            assert!(self.offers.contains_key(&(owner, ask.item)), "it does not have that");
            assert!(!self.wanted[&ask.item].contains(&owner), "it gave a wrong one");
            // Of an item that was closed meanwhile one may still be on its way.
            let twice = self.asked.entry(owner).or_default().contains(&asked);
            assert!(!twice || self.opened.contains(&ask.item), "asked for twice");
            self.asked.entry(owner).or_default().push(asked);
            return;
        }
        let (item, run) = chunks(ask);
        let kept = &self.open[&item];
        assert!(!run.is_empty() && run.end <= self.sizes[index(item)]);
        for chunk in run {
            assert!(!kept.contains(&chunk), "asked for what is here");
            assert!(self.offers[&(owner, item)].contains(&chunk), "it does not have that");
            if self.order == Order::Sequential {
                let copied =
                    self.asked.values().flatten().any(|asked| *asked == (item, Some(chunk)));
                let horizon = self.horizon.get(&item).copied().unwrap_or(u32::MAX);
                assert!(chunk < horizon || copied, "behind the horizon");
            }
            self.asked.entry(owner).or_default().push((item, Some(chunk)));
        }
    }

    fn deliver(&mut self, owner: u8, nth: usize, correct: bool) {
        let asked = self.asked.entry(owner).or_default();
        if asked.is_empty() {
            let verdict = self.plan.delivered(id(owner), 0, 0, correct, self.now);
            assert_eq!(verdict, Verdict::Unasked);
            return;
        }
        let (item, chunk) = asked.remove(nth.min(asked.len() - 1));
        let Some(chunk) = chunk else {
            self.plan.manifest(id(owner), item, correct, self.now);
            match self.wanted.get_mut(&item) {
                Some(bad) if !correct => drop(bad.insert(owner)),
                Some(_) => drop(self.wanted.remove(&item)),
                None => {}
            }
            return;
        };
        let here = self.open.get(&item).is_none_or(|kept| kept.contains(&chunk));
        match self.plan.delivered(id(owner), item, chunk, correct, self.now) {
            Verdict::Keep => {
                assert!(correct && !here, "wrong bytes, or twice");
                self.open.get_mut(&item).unwrap().insert(chunk);
                self.bytes += self.length(item, chunk);
            }
            Verdict::Known => assert!(correct && here),
            verdict @ (Verdict::Wrong | Verdict::Banned) => {
                assert!(!correct);
                let wrong = self.wrong.entry(owner).or_default();
                *wrong += 1;
                assert_eq!(verdict == Verdict::Banned, *wrong == owner::MAX_WRONG);
                if verdict == Verdict::Banned {
                    self.gone(owner);
                }
            }
            Verdict::Unasked => panic!("it was asked"),
        }
    }

    fn check(&self) {
        for asked in self.asked.values() {
            assert!(asked.len() <= MAX_ASKS + 3, "a run of four is asked for at once");
        }
        let mut copies = HashMap::<_, usize>::new();
        for asked in self.asked.values().flatten() {
            *copies.entry(*asked).or_default() += 1;
        }
        let copies = |item, chunk| copies.get(&(item, chunk)).copied().unwrap_or(0);
        for item in 0..ITEMS {
            // One that was asked for before its item was closed may still come.
            assert!(self.opened.contains(&item) || copies(item, None) <= self.asked.len());
            let wanted = self.plan.items.get(&item).is_some_and(|known| known.manifest.is_some());
            assert_eq!(self.wanted.contains_key(&item), wanted);
        }
        let mut all = 0;
        for (&item, kept) in &self.open {
            let chunks = self.plan.chunks(item).unwrap();
            let mut bytes = 0;
            for chunk in 0..self.sizes[index(item)] {
                let copies = copies(item, Some(chunk));
                assert!(copies <= MAX_COPIES, "{copies} copies of {chunk}");
                assert_eq!(copies, usize::from(chunks.copies(chunk)));
                let free = chunks.free.contains(index(chunk));
                let here = kept.contains(&chunk);
                assert_eq!(here, chunks.verified.contains(index(chunk)));
                assert_eq!(free, copies == 0 && !here, "chunk {chunk}: {copies} copies");
                bytes += if free { self.length(item, chunk) } else { 0 };
            }
            assert_eq!(bytes, chunks.free_bytes);
            assert_eq!(self.plan.is_complete(item), kept.len() == index(self.sizes[index(item)]));
            self.check_crowd(item);
            all += bytes;
        }
        assert_eq!(self.plan.free, all);
        assert_eq!(self.plan.shares().map(|share| share.bytes).sum::<u64>(), self.bytes);
        assert_eq!(self.plan.here(), self.here.len());
    }

    /// Rarity is that of the partial owners who are here.
    fn check_crowd(&self, item: ItemId) {
        let size = self.sizes[index(item)];
        let partial: Vec<_> = (1..80)
            .filter(|owner| self.here.contains(owner))
            .filter_map(|owner| self.offers.get(&(owner, item)))
            .filter(|has| (0..size).any(|chunk| !has.contains(&chunk)))
            .collect();
        let chunks = self.plan.chunks(item).unwrap();
        assert_eq!(chunks.is_swarm(), !partial.is_empty());
        for chunk in 0..size {
            let holders = partial.iter().filter(|has| has.contains(&chunk)).count();
            assert_eq!(chunks.rarity(chunk), holders, "of chunk {chunk}");
        }
    }

    /// Everyone but one honest owner is gone, or stands still.
    fn finish(&mut self, honest: u8, pause: u64) {
        for item in 0..ITEMS {
            self.happen(&Event::Open(item));
            self.happen(&Event::Horizon(item, u32::MAX));
            self.happen(&Event::Offer(honest, item, None));
        }
        self.happen(&Event::Join(honest));
        for _ in 0..2 * (self.sizes.iter().sum::<u32>() + ITEMS) + 1 {
            self.happen(&Event::Ask(honest));
            self.now += millis(10);
            self.happen(&Event::Deliver { owner: honest, nth: 0, correct: true });
            self.now += millis(pause);
        }
        assert!((0..ITEMS).all(|item| self.plan.is_complete(item)));
        assert!(self.wanted.is_empty(), "{:?}", self.wanted);
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Any), Just(Order::Sequential)]
}

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..20_u32, index(ITEMS))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happened before: as long as one honest owner lives, and the
    /// others fail or go, every item becomes complete.
    #[test]
    fn a_plan_keeps_its_invariant_and_an_honest_owner_finishes(
        order in order(),
        sizes in sizes(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 0..300),
    ) {
        let mut checked = Checked::new(order, sizes, seed);
        for event in &events {
            checked.happen(event);
        }
        for owner in 1..6 {
            checked.happen(&Event::Leave(owner));
        }
        checked.finish(77, 0);
    }

    /// One that stands still, and never says so, delays the end but does not
    /// prevent it.
    #[test]
    fn one_that_stands_still_holds_nobody_up(
        order in order(),
        sizes in sizes(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 0..100),
    ) {
        let mut checked = Checked::new(order, sizes, seed);
        for event in &events {
            checked.happen(event);
        }
        for owner in 1..6 {
            checked.happen(&Event::Leave(owner));
        }
        let still = 78;
        for item in 0..ITEMS {
            checked.happen(&Event::Open(item));
            checked.happen(&Event::Horizon(item, u32::MAX));
            checked.happen(&Event::Offer(still, item, None));
        }
        checked.happen(&Event::Join(still));
        for _ in 0..20 {
            checked.happen(&Event::Ask(still));
        }
        checked.finish(77, 1000);
    }
}
