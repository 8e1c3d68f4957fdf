//! The chat of whoever is tracker: it begins and ends with the time in office.

use std::sync::{Arc, Mutex, PoisonError};

use shoal_common::connection::ConnectionError;
use shoal_common::limits::MAX_CHAT_FRAME;
use shoal_common::protocol::chat::FromChat;
use shoal_common::protocol::succession::MAX_LEAP;
use shoal_common::serve::Guest;
use shoal_common::task::Tasks;
use tokio_util::either::Either;

use super::{Office, Post};
use crate::chat::Chat;
use crate::chat::proposer::Settings;

/// The chat, while this one is tracker.
#[derive(Debug)]
pub(super) struct ChatDesk {
    settings: Settings,
    /// With the tasks that end when it does.
    open: Mutex<Option<(Chat, Tasks)>>,
}

impl ChatDesk {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, open: Mutex::default() }
    }
}

impl Office {
    /// Serves a node that wants to chat, if this one is tracker, until one side
    /// hangs up.
    pub(crate) fn chat(
        &self,
        guest: Guest,
    ) -> impl Future<Output = Result<(), ConnectionError>> + use<> {
        match self.open_chat() {
            Some((chat, _)) => Either::Left(Box::pin(chat.serve(guest))),
            None => Either::Right(Box::pin(turn_away(guest))),
        }
    }

    /// Has a chat whenever this one is tracker, for ever.
    pub(super) async fn keep_chat(self, tasks: Tasks) {
        let mut post = self.inner.post.subscribe();
        loop {
            let epoch = match &*post.borrow_and_update() {
                Post::Serving(charter) => Some(charter.reign.epoch),
                Post::Away(_) => None,
            };
            self.set_chat(epoch, &tasks);
            if post.changed().await.is_err() {
                return;
            }
        }
    }

    /// A later epoch of the same time in office changes nothing: what replicas have
    /// promised is enough.
    fn set_chat(&self, epoch: Option<u64>, tasks: &Tasks) {
        let desk = &self.inner.chat;
        let mut open = desk.open.lock().unwrap_or_else(PoisonError::into_inner);
        match (epoch, open.take()) {
            (Some(_), Some(chat)) => *open = Some(chat),
            (Some(epoch), None) => {
                let office = Arc::downgrade(&self.inner);
                let names = Arc::new(move |node| {
                    office.upgrade()?.hub.look(|registry| registry.name_of(node))
                });
                let own = tasks.child();
                // To begin with: what replicas have promised is exceeded in any case.
                let round = epoch.min(MAX_LEAP);
                let chat = Chat::start(&self.inner.us, round, desk.settings, names, &own);
                *open = Some((chat, own));
            }
            (None, Some((_, own))) => own.cancel(),
            (None, None) => {}
        }
    }

    fn open_chat(&self) -> Option<(Chat, Tasks)> {
        self.inner.chat.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn turn_away(mut guest: Guest) -> Result<(), ConnectionError> {
    let reason = "this is no tracker".to_owned();
    guest.connection.send(&FromChat::Closing { reason }, MAX_CHAT_FRAME).await
}
