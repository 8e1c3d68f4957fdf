//! The other connection of each node: the chat, in which nobody says anything.

use std::time::Instant;

use shoal_common::limits::CHAT_BEAT;
use shoal_common::protocol::greeting::Talk;

use super::super::peak::each;
use super::super::words::{self, Kind};
use super::Crowd;
use crate::failure::{Failure, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Coming,
    Greeted,
    Here,
}

/// How far each node is with it; empty where there is none.
#[derive(Debug)]
pub(super) struct Chat {
    states: Vec<State>,
    /// How many are coming.
    pub(super) coming: usize,
    beat: Vec<u8>,
    /// Whose turn to say that it is here it is, and how many said it.
    pub(super) beats: (usize, u64),
}

impl Chat {
    pub(super) fn new(nodes: usize) -> Outcome<Self> {
        let states = vec![State::Absent; nodes];
        Ok(Self { states, coming: 0, beat: words::chat_beat()?, beats: (0, 0) })
    }

    fn set(&mut self, at: usize, state: State) {
        let Some(place) = self.states.get_mut(at) else { return };
        let is_coming = |state| matches!(state, State::Coming | State::Greeted);
        self.coming += usize::from(is_coming(state));
        self.coming -= usize::from(is_coming(*place));
        *place = state;
    }

    fn state(&self, at: usize) -> Option<State> {
        self.states.get(at).copied()
    }
}

impl Crowd {
    /// Number `at` comes to the chat, if there is one.
    pub(super) fn open_chat(&mut self, at: usize) -> Outcome<()> {
        let id = self.joins.ids.get(&at).copied();
        let (Some(_), Some(id)) = (self.chat.state(at), id) else { return Ok(()) };
        let link = self.plan.nodes + at;
        self.links.open(link, self.plan.to)?;
        self.links.send(link, &words::hello(id, Talk::Chat)?)?;
        self.chat.set(at, State::Coming);
        Ok(())
    }

    pub(super) fn close_chat(&mut self, at: usize) {
        self.links.close(self.plan.nodes + at);
        self.chat.set(at, State::Absent);
    }

    /// Says that they are here, for those whose turn it is.
    pub(super) fn beat_chat(&mut self, start: Instant) -> Outcome<()> {
        let nodes = self.chat.states.len();
        let due = start.elapsed().as_secs_f64() * nodes as f64 / CHAT_BEAT.as_secs_f64();
        while (self.chat.beats.1 as f64) < due {
            let at = self.chat.beats.0;
            if self.chat.state(at) == Some(State::Here) {
                self.links.send(self.plan.nodes + at, &self.chat.beat)?;
            }
            self.chat.beats = ((at + 1) % nodes, self.chat.beats.1 + 1);
        }
        Ok(())
    }

    pub(super) fn hear_chat(&mut self, at: usize) -> Outcome<()> {
        let (link, state) = (self.plan.nodes + at, self.chat.state(at));
        let mut greeted = state != Some(State::Coming);
        let (mut next, came) = (None, &mut self.came);
        self.links.read(link, |bytes| {
            each(bytes, &mut greeted, |body| {
                (came.0, came.1) = (came.0 + body.len() as u64, came.1 + 1);
                match words::kind(body) {
                    kind @ (Kind::Hello | Kind::Attached) => next = Some(kind),
                    Kind::Closing => {
                        let said = String::from_utf8_lossy(body);
                        return Err(Failure::new(format!("the chat hangs up: {said}")));
                    }
                    _ => {}
                }
                Ok(())
            })
        })?;
        match (next, self.joins.ids.get(&at)) {
            (Some(Kind::Hello), Some(id)) => {
                self.links.send(link, &words::attach(*id)?)?;
                self.chat.set(at, State::Greeted);
            }
            (Some(Kind::Attached), _) => self.chat.set(at, State::Here),
            _ => {}
        }
        Ok(())
    }
}
