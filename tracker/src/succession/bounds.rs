//! Times and bounds of succession.

use std::time::Duration;

use shoal_common::protocol::succession::MAX_LEAP;

/// A broken connection to the tracker may be back within this time before
/// anyone thinks of succeeding it: a restart of the tracker, or of the network
/// between, takes less.
pub const GRACE_LOST: Duration = Duration::from_secs(1);

/// How much later than the one before it each in the line of succession claims:
/// an uncontested claim takes a few round trips, so the next in line mostly
/// finds it done.
pub const STEP: Duration = Duration::from_millis(400);

/// How long the answer to an inquiry is waited for: a round trip around the
/// world and a busy machine. What is later is no answer.
pub const ANSWER_DEADLINE: Duration = Duration::from_millis(700);

/// How long one that has agreed to a claim agrees to no other: the claim is
/// decided in [`ANSWER_DEADLINE`], and then the new tracker is made known.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// First and longest time between two looks for a tracker, of one that has none.
pub(super) const PROBE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(4));

/// Time between two looks of a tracker for the home tracker and for others that
/// it may have been cut off from.
pub(super) const MEET: Duration = Duration::from_secs(1);

/// Followers in the council look for the home tracker too, so many times less
/// often.
pub(super) const SELDOM: u32 = 8;

/// Time between two tries of a caretaker to be elected after all.
pub(super) const RENEW: Duration = Duration::from_secs(3);

/// After this time without a majority of its council a tracker gives up those who
/// are away. Long: until then it may be itself who is cut off.
pub(super) const AWAY: Duration = Duration::from_secs(600);

/// How long the home tracker takes it that it was restarted and has forgotten
/// its network, if it is told of one: all nodes are back by then.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// Most others in line beyond the council that a node keeps in mind: so many it
/// asks and tells, and so far the line goes when the whole council is dead.
pub const LINE: usize = 32;

/// How far hearsay is heeded: those who have not heard it are to agree all the same.
pub(super) const MAX_HEARSAY: u64 = MAX_LEAP / 2;

/// Least time between two epochs that a node agrees to, whoever claims them: so
/// nobody leads it away from the others faster than claims bring them together.
pub(super) const VOTE_PAUSE: Duration = Duration::from_millis(200);

/// Whoever was led so high claims its next epoch at the beginning, which goes before
/// this one: so there is no last epoch.
pub(super) const MAX_EPOCH: u64 = 1 << 62;

/// How many rounds in a row may be lost to others before a node serves those who
/// reach it all the same: one of them may be lying.
pub(super) const MAX_CONTESTED: u32 = 5;

/// How often a node that looks for a tracker is put off by one that says that it
/// asks whether it still is one: that is over after three rounds.
pub(super) const MAX_PUT_OFF: u32 = 3;
