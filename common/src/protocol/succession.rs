//! Who is tracker: what nodes and trackers ask each other about it.
//!
//! Each message is a question that stands for itself: [`Inquiry`] says what the
//! asker knows and perhaps what it claims, [`Standing`] says how it stands with
//! the one that was asked. What they mean is decided by the state machine
//! `shoal_tracker::succession`.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::ident::{NodeId, address};
use crate::protocol::refusal::Refusal;

/// How far above another an epoch may be: one each second for more than a hundred
/// years. No network comes so far while one of its nodes is away; what is further above
/// was never reached by elections.
pub const MAX_LEAP: u64 = 1 << 32;

/// Whether one epoch goes before another: the higher one, unless it is too far above.
/// Then it is the other one that does, so whoever was led astray comes back, however far
/// that was.
pub fn goes_before(epoch: u64, other: u64) -> bool {
    if epoch.abs_diff(other) > MAX_LEAP { epoch < other } else { epoch > other }
}

/// A tracker's time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Its number: each tracker that is elected takes the next.
    pub epoch: u64,
    /// Who is tracker.
    pub tracker: NodeId,
    /// Where it answers registrations.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// Whether it is the tracker at the fixed address of the network.
    pub home: bool,
    /// Its join number, 0 of the home tracker.
    pub joined: u64,
    /// Whether a majority of the council agreed. Without, it is a *caretaker*: it
    /// serves those who reach nobody better.
    pub elected: bool,
}

impl Reign {
    /// Whether this one is to be followed rather than the other when both are
    /// alive: the one whose epoch [`goes_before`], then the one that was elected, then
    /// the elder (home, then the smaller join number, then the smaller id).
    pub fn beats(&self, other: &Self) -> bool {
        if self.epoch == other.epoch {
            self.rank() > other.rank()
        } else {
            goes_before(self.epoch, other.epoch)
        }
    }

    /// Whether both are the same time in office, wherever it was reached.
    pub fn is(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }

    /// This reign as it is known by a message from `ip`: a tracker that listens on
    /// all addresses does not know at which of them it is reached.
    pub fn seen_at(mut self, ip: IpAddr) -> Self {
        if self.address.ip().is_unspecified() {
            self.address.set_ip(ip);
        }
        self
    }

    /// Whether its address can be one of a tracker.
    pub fn is_reachable(&self) -> bool {
        can_be_called(self.address)
    }

    fn rank(&self) -> impl Ord + use<> {
        let age = (self.home, Reverse(self.joined), Reverse(self.tracker));
        (self.epoch, self.elected, age)
    }
}

/// A node as the line of succession has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub id: NodeId,
    /// Its join number. With another number it is another member: one that was
    /// restarted has forgotten to whom it agreed.
    pub joined: u64,
    /// Where it answers inquiries: its search port.
    #[serde(with = "address")]
    pub address: SocketAddr,
}

impl Member {
    /// Whether its address can be one of a node.
    pub fn is_reachable(&self) -> bool {
        can_be_called(self.address)
    }
}

fn can_be_called(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The reign that the asker knows of.
    pub reign: Option<Reign>,
    /// The council of that reign, at most
    /// [`COUNCIL`](crate::limits::COUNCIL).
    pub council: Vec<Member>,
    /// Do you agree that I take this office?
    pub claim: Option<Reign>,
}

/// How somebody stands with its tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// It is tracker itself.
    Reigns,
    /// It was tracker, stood still, and asks whether it still is.
    Doubts,
    /// It hears its tracker.
    Hears,
    /// It has none.
    #[serde(other)]
    Seeks,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The reign that it knows of.
    pub reign: Option<Reign>,
    /// How it stands with that.
    pub sight: Sight,
    /// Whether it agrees to the claim.
    pub agrees: bool,
    /// The highest epoch that it has followed or agreed to.
    pub promised: u64,
    /// Its join number, 0 if it has none.
    pub joined: u64,
    /// The council as it knows it, at most
    /// [`COUNCIL`](crate::limits::COUNCIL).
    pub council: Vec<Member>,
}

/// A message of the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SuccessionRequest {
    /// Answered with [`SuccessionReply::Standing`].
    Inquire(Inquiry),
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// A message of the one that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SuccessionReply {
    /// How it stands.
    Standing(Standing),
    /// The request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{COUNCIL, MAX_REQUEST_FRAME};
    use crate::protocol::golden::{golden, parse};

    const ID: &str = "c420 0909090909090909 0909090909090909 0909090909090909 0909090909090909";
    const REIGN: &str = "a5'epoch 03";

    fn reign() -> Reign {
        Reign {
            epoch: 3,
            tracker: NodeId::from_bytes([9; 32]),
            address: "127.0.0.1:8080".parse().unwrap(),
            home: false,
            joined: 2,
            elected: true,
        }
    }

    fn member() -> Member {
        Member { id: reign().tracker, joined: 2, address: reign().address }
    }

    #[test]
    fn wire() {
        let at = "a7'address ae'127.0.0.1:8080";
        let reign_bytes =
            format!("86 {REIGN} a7'tracker {ID} {at} a4'home c2 a6'joined 02 a7'elected c3");
        let member_bytes = format!("83 a2'id {ID} a6'joined 02 {at}");
        golden(
            &SuccessionRequest::Inquire(Inquiry {
                reign: None,
                council: vec![member()],
                claim: Some(reign()),
            }),
            &format!(
                "84 a4'type a7'inquire a5'reign c0 a7'council 91 {member_bytes} \
                 a5'claim {reign_bytes}"
            ),
        );
        golden(
            &SuccessionReply::Standing(Standing {
                reign: Some(reign()),
                sight: Sight::Hears,
                agrees: false,
                promised: 4,
                joined: 7,
                council: vec![],
            }),
            &format!(
                "87 a4'type a8'standing a5'reign {reign_bytes} a5'sight a5'hears a6'agrees c2 \
                 a8'promised 04 a6'joined 07 a7'council 90"
            ),
        );
        golden(
            &SuccessionReply::Refused { refusal: Refusal::NotAllowed },
            "82 a4'type a7'refused a7'refusal ab'not_allowed",
        );
    }

    #[test]
    fn what_a_newer_program_says_is_no_error() {
        let unknown = parse("82 a4'type a5'dance a5'tempo 05");
        let read = rmp_serde::from_slice::<SuccessionRequest>(&unknown).unwrap();
        assert_eq!(read, SuccessionRequest::Unknown);
        let unknown = parse("a5'dozes");
        assert_eq!(rmp_serde::from_slice::<Sight>(&unknown).unwrap(), Sight::Seeks);
    }

    #[test]
    fn the_longest_inquiry_fits_into_its_frame() {
        let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
        let reign = Reign {
            epoch: u64::MAX,
            joined: u64::MAX,
            address: address.parse().unwrap(),
            ..reign()
        };
        let member = Member { joined: u64::MAX, address: reign.address, ..member() };
        let inquiry =
            Inquiry { reign: Some(reign), council: vec![member; COUNCIL], claim: Some(reign) };
        let bytes = rmp_serde::to_vec_named(&SuccessionRequest::Inquire(inquiry)).unwrap();
        assert!(bytes.len() <= MAX_REQUEST_FRAME / 4, "{}", bytes.len());
    }

    #[test]
    fn of_two_reigns_one_is_to_be_followed() {
        let elder = reign();
        let younger = Reign { joined: 3, ..elder };
        let twin = Reign { tracker: NodeId::from_bytes([10; 32]), ..elder };
        let caretaker = Reign { elected: false, joined: 1, ..elder };
        let home = Reign { home: true, joined: 0, ..elder };
        let next = Reign { epoch: 4, joined: 9, elected: false, ..elder };
        let order = [caretaker, younger, twin, elder, home, next];
        for (position, reign) in order.iter().enumerate() {
            for (other_position, other) in order.iter().enumerate() {
                assert_eq!(reign.beats(other), position > other_position, "{reign:?} {other:?}");
            }
        }
        let elsewhere = Reign { address: "127.0.0.2:1".parse().unwrap(), ..elder };
        assert!(elsewhere.is(&elder));
    }

    #[test]
    fn one_that_is_too_far_above_is_not_followed() {
        let (near, far) = (3 + MAX_LEAP, 4 + MAX_LEAP);
        for (epoch, beats) in [(2, false), (4, true), (near, true), (far, false), (u64::MAX, false)]
        {
            let other = Reign { epoch, elected: true, ..reign() };
            assert_eq!(other.beats(&reign()), beats, "{epoch}");
            assert_eq!(reign().beats(&other), !beats, "{epoch}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_where_it_was_reached() {
        let any = Reign { address: "0.0.0.0:12345".parse().unwrap(), ..reign() };
        assert!(!any.is_reachable());
        let seen = any.seen_at("10.0.0.7".parse().unwrap());
        assert_eq!(seen.address, "10.0.0.7:12345".parse().unwrap());
        assert_eq!(reign().seen_at("10.0.0.7".parse().unwrap()), reign());
    }
}
