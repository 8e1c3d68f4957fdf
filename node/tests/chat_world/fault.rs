//! What goes wrong in the simulated world.

use rand::RngExt;

use super::World;

impl World {
    /// Perhaps something happens to somebody.
    pub(super) fn misfortune(&mut self) {
        if !self.rng.random_bool(0.15) {
            return;
        }
        match self.rng.random_range(0..18) {
            0..3 => self.kill_node(),
            3..6 => self.start_node(),
            6 => self.kill_tracker(),
            7..9 => self.start_tracker(),
            9 => self.follow_another(),
            10 => self.split(),
            11 => self.unite(),
            12 => self.break_wire(),
            13 => self.deafen(),
            14..16 => self.tear(),
            16 => self.set_clock_back(),
            _ => self.ask_to_revive(),
        }
    }

    /// Everyone is well, in one network, and follows one tracker.
    pub(super) fn heal(&mut self) {
        self.unite();
        let ruler = self.rng.random_range(0..self.trackers.len());
        for tracker in 0..self.trackers.len() {
            if !self.trackers[tracker].is_up {
                let epoch = self.rng.random_range(1..4);
                self.trackers[tracker].start(epoch);
            }
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up {
                self.nodes[node].start();
            }
            self.nodes[node].follows = ruler;
            self.nodes[node].tears = None;
        }
        self.cut_off(|wire| wire.tracker != ruler || wire.is_cut);
        self.say(|| format!("all is well; tracker {ruler} rules"));
    }

    /// The last node has begun a log of its own before it comes to the others. Their
    /// council may be full, so that its replica keeps a piece of that log.
    pub(super) fn meet_another_log(&mut self) {
        let stray = self.nodes.len() - 1;
        if stray == 0 || self.trackers.len() < 2 {
            return;
        }
        self.nodes[stray].is_up = false;
        self.pass(2_000);
        (self.nodes[stray].is_up, self.nodes[stray].follows) = (true, 1);
        self.pass(2_000);
        if self.nodes[stray].member.heard().log.is_some() {
            // What is not accepted there is said again among the others.
            self.write(stray);
            let ms = self.rng.random_range(0..500);
            self.pass(ms);
        }
        self.figures.meetings += 1;
        let has_log = self.nodes.iter().all(|node| node.member.heard().log.is_some());
        if has_log && self.rng.random_bool(0.25) {
            return self.lose_the_elder_log(stray);
        }
        self.nodes[stray].is_stray = true;
        self.nodes[stray].follows = 0;
        self.cut_off(|wire| wire.node == stray);
        self.trackers[1].start(1);
        self.say(|| format!("node {stray} comes with a log of its own"));
        self.pass(2_000);
    }

    /// All others have lost what they held of the elder log, and have heard of it. Some
    /// come to a new tracker together with the node that holds the younger one; one that
    /// comes alone does so again and again.
    fn lose_the_elder_log(&mut self, stray: usize) {
        self.figures.elders_lost += 1;
        let company = if self.rng.random_bool(0.5) { 1 } else { self.rng.random_range(1..=stray) };
        self.say(|| format!("the elder log is lost; {company} wait for it with node {stray}"));
        self.cut_off(|_| true);
        for tracker in &mut self.trackers {
            tracker.start(1);
        }
        for at in 0..stray {
            self.nodes[at].start_without_disk();
            self.nodes[at].is_up = at < company;
            self.nodes[at].follows = 1;
            self.nodes[at].is_stray = true;
        }
        // Before the other: where nobody waits, its log goes on at once.
        self.nodes[stray].is_up = false;
        self.pass(1_000);
        self.nodes[stray].is_up = true;
        let end = self.now_ms + 23_000;
        while self.now_ms < end {
            let ms = self.rng.random_range(1_000..9_000).min(end - self.now_ms);
            self.pass(ms);
            assert!(company == 1 || !self.trackers[1].writes(0), "more wait for another log");
            if company == 1 && !self.trackers[1].writes(0) {
                // The tracker notices no more than that it has come again.
                self.wires.retain(|wire| wire.node != 0);
                self.nodes[0].hung_up();
            }
        }
        if company > 1 {
            self.go_on_without(1);
        }
        assert!(self.trackers[1].writes(self.generation), "nobody writes the younger log");
        for node in &mut self.nodes {
            node.is_up = true;
        }
        self.pass_until_quiet(25_000);
        assert!(self.is_quiet(), "not all have come to the younger log");
    }

    /// People decide to go on without those that are away, and say so until it is done.
    fn go_on_without(&mut self, ruler: usize) {
        self.generation += 1;
        let end = self.now_ms + 30_000;
        while self.now_ms < end && !self.trackers[ruler].writes(self.generation) {
            self.pass(500);
            self.revive(ruler);
        }
        assert!(self.trackers[ruler].writes(self.generation), "nothing is revived");
        self.figures.revivals += 1;
    }

    fn any_node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    fn kill_node(&mut self) {
        let at = self.any_node();
        if self.nodes[at].is_up {
            self.say(|| format!("node {at} is killed"));
            self.figures.kills += 1;
            self.nodes[at].is_up = false;
            self.cut_off(|wire| wire.node == at);
        }
    }

    fn start_node(&mut self) {
        let at = self.any_node();
        if self.nodes[at].is_up {
            return;
        }
        if self.rng.random_bool(0.15) && self.may_lose_a_disk() {
            self.say(|| format!("node {at} starts without its disk"));
            self.figures.disks += 1;
            self.nodes[at].start_without_disk();
        } else {
            self.say(|| format!("node {at} starts"));
            self.nodes[at].start();
        }
    }

    fn kill_tracker(&mut self) {
        let at = self.rng.random_range(0..self.trackers.len());
        if self.trackers[at].is_up {
            self.say(|| format!("tracker {at} is killed"));
            self.figures.kills += 1;
            self.cut_off(|wire| wire.tracker == at);
            self.trackers[at].is_up = false;
        }
    }

    fn start_tracker(&mut self) {
        let at = self.rng.random_range(0..self.trackers.len());
        if !self.trackers[at].is_up {
            let epoch = self.rng.random_range(1..4);
            self.say(|| format!("tracker {at} starts with epoch {epoch}"));
            self.trackers[at].start(epoch);
        }
    }

    /// One node, or all, turn to another tracker.
    fn follow_another(&mut self) {
        let to = self.rng.random_range(0..self.trackers.len());
        let all = self.rng.random_bool(0.5);
        let one = self.any_node();
        self.say(|| format!("{} to tracker {to}", if all { "all" } else { "a node" }));
        for at in 0..self.nodes.len() {
            if (all || at == one) && self.nodes[at].follows != to {
                self.nodes[at].follows = to;
                self.cut_off(|wire| wire.node == at);
            }
        }
    }

    fn split(&mut self) {
        for part in 0..self.parts.len() {
            self.parts[part] = self.rng.random_range(0..2);
        }
        self.say(|| format!("the network is cut: {:?}", self.parts));
        self.figures.cuts += 1;
        let notices = self.rng.random_bool(0.5);
        let nodes = self.nodes.len();
        let parts = self.parts.clone();
        let apart = move |node: usize, tracker: usize| parts[node] != parts[nodes + tracker];
        if notices {
            self.cut_off(|wire| apart(wire.node, wire.tracker));
        } else {
            for wire in &mut self.wires {
                wire.is_cut |= apart(wire.node, wire.tracker);
            }
        }
    }

    /// The network is whole; what was on its way arrives or not.
    fn unite(&mut self) {
        self.parts.fill(0);
        let survives = self.rng.random_bool(0.5);
        if survives {
            for wire in &mut self.wires {
                wire.is_cut = false;
            }
        } else {
            self.cut_off(|wire| wire.is_cut);
        }
    }

    /// A node will be killed while it writes.
    fn tear(&mut self) {
        let at = self.any_node();
        self.nodes[at].tears = Some(self.rng.random_range(0..4));
    }

    /// A node's clock is wrong from now on.
    fn set_clock_back(&mut self) {
        let at = self.any_node();
        self.nodes[at].clock_back_ms = self.rng.random_range(0..60_000);
    }

    /// Somebody wants to go on without the others, who are not gone for good.
    fn ask_to_revive(&mut self) {
        let at = self.rng.random_range(0..self.trackers.len());
        let is_heeded = self.trackers[at].is_up && self.revive(at);
        self.figures.wishes += u64::from(is_heeded);
        self.say(|| format!("tracker {at} is asked to revive; heeded: {is_heeded}"));
    }

    /// Most of those that hold the log lose their disks, and people decide to go on
    /// without them. What all held is held by those that are left: nothing is lost.
    pub(super) fn lose_most_and_go_on(&mut self) {
        let ruler = self.nodes[0].follows;
        // All hold what all have heard.
        self.pass(2_000);
        let council = self.trackers[ruler].council();
        if council.len() < 3 {
            return;
        }
        for id in &council[..council.len() / 2 + 1] {
            let at = self.nodes.iter().position(|node| node.id == *id).unwrap();
            self.cut_off(|wire| wire.node == at);
            self.nodes[at].start_without_disk();
        }
        if self.rng.random_bool(0.5) {
            self.cut_off(|wire| wire.tracker == ruler);
            let epoch = self.rng.random_range(1..4);
            self.trackers[ruler].start(epoch);
        }
        self.say(|| {
            format!("most of the council have lost their disks; {ruler} is asked to revive")
        });
        self.go_on_without(ruler);
        for at in 0..self.nodes.len() {
            self.write(at);
        }
        self.pass_until_quiet(25_000);
    }

    fn break_wire(&mut self) {
        let at = self.any_node();
        self.cut_off(|wire| wire.node == at);
    }

    /// One connection stands still for a while.
    fn deafen(&mut self) {
        if let Some(number) = self.wires.first().map(|wire| wire.number) {
            let pick = self.rng.random_range(0..self.wires.len());
            self.wires[pick].is_cut = true;
            self.say(|| format!("a wire stands still ({number} is the first)"));
        }
    }
}
