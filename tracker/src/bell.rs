//! Wakes all sessions of a group at once.
//!
//! A session that waits leaves its waker here once, and not for each message that
//! it waits for; so hearing of a round costs no more than looking at a number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Rings for everyone who has a [`Seat`].
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rounds: AtomicU64,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// The place of one session; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    bell: Arc<Bell>,
    number: usize,
    /// The last round that was heard.
    heard: u64,
    /// Who is woken; so that it is put down only when it is another.
    waker: Option<Waker>,
}

impl Bell {
    /// A seat, which hears the rounds from now on.
    pub(crate) fn seat(bell: &Arc<Self>) -> Seat {
        let mut seats = bell.seats();
        let number = seats.free.pop().unwrap_or_else(|| {
            seats.wakers.push(None);
            seats.wakers.len() - 1
        });
        drop(seats);
        let heard = bell.rounds.load(Ordering::Acquire);
        Seat { bell: Arc::clone(bell), number, heard, waker: None }
    }

    /// Begins a round. It carries nothing, so nothing piles up before a session
    /// that is slow.
    pub(crate) fn ring(&self) {
        self.rounds.fetch_add(1, Ordering::Release);
        self.seats().wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Ready once for all rounds since the last time that it was.
    pub(crate) fn poll_rung(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
            if let Some(place) = self.bell.seats().wakers.get_mut(self.number) {
                *place = Some(context.waker().clone());
            }
        }
        // After the waker is in its place: a round that begins now wakes it.
        let round = self.bell.rounds.load(Ordering::Acquire);
        if std::mem::replace(&mut self.heard, round) == round {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.bell.seats();
        if let Some(place) = seats.wakers.get_mut(self.number) {
            *place = None;
        }
        seats.free.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn rung(seat: &mut Seat) -> bool {
        let ring = poll_fn(|context| seat.poll_rung(context));
        timeout(Duration::from_millis(20), ring).await.is_ok()
    }

    #[tokio::test]
    async fn a_round_is_heard_once_by_all_who_sit() {
        let bell = Arc::new(Bell::default());
        let (mut one, mut two) = (Bell::seat(&bell), Bell::seat(&bell));
        assert!(!rung(&mut one).await);
        bell.ring();
        bell.ring();
        assert!(rung(&mut one).await && !rung(&mut one).await);
        assert!(rung(&mut two).await);
        let mut late = Bell::seat(&bell);
        assert!(!rung(&mut late).await);
        drop(one);
        let mut next = Bell::seat(&bell);
        assert_eq!(bell.seats().wakers.len(), 3, "a free seat is not used again");
        assert!(!rung(&mut next).await);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let bell = Arc::new(Bell::default());
        let mut seat = Bell::seat(&bell);
        let wait = poll_fn(|context| seat.poll_rung(context));
        let ring = async {
            tokio::task::yield_now().await;
            bell.ring();
        };
        timeout(Duration::from_secs(5), async { tokio::join!(wait, ring) }).await.unwrap();
    }
}
