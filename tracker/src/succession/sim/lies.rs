//! One that is no part of the network and says what is not true.

use std::net::SocketAddr;

use shoal_common::ident::NodeId;
use shoal_common::limits::COUNCIL;
use shoal_common::protocol::succession::{Inquiry, Member, Reign, Sight, Standing};

use super::super::{Asked, Way, Why};
use super::world::World;

/// Where nobody answers.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 9], 999).into()
}

fn liar(number: u8) -> NodeId {
    NodeId::from_bytes([100 + number; 32])
}

impl World {
    /// Says something to somebody: as a question, or as the answer to one.
    pub(super) fn lie(&mut self) {
        let count = self.entities.len();
        let index = self.below(count);
        if !self.entities[index].runs() {
            return;
        }
        let reign = self.false_reign(index);
        let council: Vec<Member> = (0..u8::try_from(self.below(COUNCIL + 1)).unwrap())
            .map(|number| Member { id: liar(number), joined: number.into(), address: nowhere() })
            .collect();
        let now = self.now;
        if self.below(2) == 0 {
            let claim = if self.below(2) == 0 { Some(reign) } else { None };
            let inquiry = Inquiry { reign: Some(reign), council, claim };
            self.say(|| format!("{index} is lied to: {inquiry:?}"));
            self.entities[index].machine.asked(&inquiry, now);
        } else {
            let sights = [Sight::Reigns, Sight::Doubts, Sight::Hears, Sight::Seeks];
            let sight = sights[self.below(sights.len())];
            let promised = if self.below(2) == 0 { reign.epoch } else { 0 };
            let (agrees, joined) = (self.below(2) == 0, 1);
            let reign = Some(reign);
            let standing = Standing { reign, sight, agrees, promised, joined, council };
            self.say(|| format!("{index} is answered: {standing:?}"));
            let asked = Asked { to: Way::At(nowhere()), why: Why::Look };
            self.entities[index].machine.answered(asked, Some((liar(0), &standing)), now);
        }
        self.follow_up(index);
    }

    /// A reign that does not exist; perhaps of one that does.
    fn false_reign(&mut self, index: usize) -> Reign {
        let known = self.entities[index].machine.known().map_or(0, |reign| reign.epoch);
        let leaps = [0, 1, 2, 32, 63, 64, 65, 1000, 1 << 20, 1 << 40, u64::MAX / 2];
        let epoch = known + leaps[self.below(leaps.len())];
        let (count, whose) = (self.entities.len(), self.below(3));
        let other = self.below(count);
        let (tracker, address) = match whose {
            0 => (self.entities[other].id, super::entity::address(other)),
            1 => (liar(0), super::entity::address(other)),
            _ => (liar(0), nowhere()),
        };
        let (home, elected) = (self.below(2) == 0, self.below(4) > 0);
        let joined = self.below(3) as u64;
        Reign { epoch, tracker, address, home, joined, elected }
    }
}
