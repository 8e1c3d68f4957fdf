//! The conversation with one guest on the download port.
//!
//! What is promised is kept or the connection is closed: once a reply has
//! announced bytes, nothing but those bytes may follow it. Answers are queued
//! while further requests are here already, and leave together. In between, and
//! while nothing is asked, the guest is told of changes in what it follows.

mod answer;

use std::time::Duration;

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{IDLE_DEADLINE, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME};
use shoal_common::party::Party;
use shoal_common::protocol::greeting::Talk;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{TransferReply, TransferRequest};
use shoal_common::serve::{Guest, serve};
use shoal_common::task::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::follow::Following;
use super::link::{self, Usual};
use super::source::Source;
use super::uploads::{Slot, Upload, Uploads};

/// How long after its last bytes an upload still counts as under way: longer
/// than a peer takes to ask for its next chunk.
const LINGER: Duration = Duration::from_secs(2);

/// Queued bytes that are sent although more is to follow: enough that a system
/// call costs little beside them, few enough for the cache and for the memory of
/// as many guests as are served at once.
const FULL: usize = 256 * 1024;

/// Queued bytes that are sent where the guest has no right to be sent more.
const FULL_WITHOUT_SLOT: usize = 16 * 1024;

/// Serves what `uploads` offers on the download port, until it drains or
/// `tasks` are cancelled. Each connection is a task of `tasks`; at most `bound`
/// are open at once.
pub async fn serve_downloads(
    uploads: Uploads,
    listener: TcpListener,
    us: Party,
    bound: usize,
    tasks: Tasks,
) {
    let draining = uploads.draining().clone();
    let usual = link::prepare(&listener);
    let accept = serve(listener, us, &[Talk::Transfer], bound, tasks, move |guest| {
        converse(uploads.clone(), guest, usual.clone())
    });
    draining.run_until_cancelled(accept).await;
}

/// Answers until the guest hangs up, falls silent, or this node leaves.
async fn converse(uploads: Uploads, guest: Guest, usual: Usual) -> Result<(), ConnectionError> {
    let mut session = Session::new(uploads, guest);
    let mut is_adapted = false;
    while let Some(request) = session.next().await? {
        if let Some(since) = session.resting.take()
            && !std::mem::replace(&mut is_adapted, true)
        {
            // What we said last went there, and the request came back.
            link::adapt(session.connection.stream(), since.elapsed(), &usual);
        }
        if let Err(refusal) = session.answer(request).await? {
            debug!("refused: {refusal}");
            session.reply(&TransferReply::Refused { refusal }).await?;
        }
    }
    Ok(())
}

struct Session {
    uploads: Uploads,
    connection: Connection<TcpStream>,
    /// Where the guest calls from.
    address: String,
    /// The content that was asked for last, so that the next chunk of it finds it
    /// open.
    open: Option<Source>,
    upload: Option<Upload>,
    /// Held from the first of a row of answers until all of them are sent.
    slot: Option<Slot>,
    /// Since when all is said and nothing is asked.
    resting: Option<Instant>,
    following: Following,
}

impl Session {
    fn new(uploads: Uploads, guest: Guest) -> Self {
        let following = Following::new(guest.hello.node, &uploads);
        let address = guest.address.to_string();
        let connection = guest.connection;
        Self {
            uploads,
            connection,
            address,
            open: None,
            upload: None,
            slot: None,
            resting: None,
            following,
        }
    }

    /// The next request; `None` when there shall be no more.
    async fn next(&mut self) -> Result<Option<TransferRequest>, ConnectionError> {
        if !self.connection.has_message(MAX_REQUEST_FRAME) {
            self.connection.flush().await?;
            self.slot = None;
            self.resting = Some(Instant::now());
        }
        let idle = Instant::now() + IDLE_DEADLINE;
        let linger = Instant::now() + LINGER;
        loop {
            let patience = idle.saturating_duration_since(Instant::now());
            let request = tokio::select! {
                // In this order: who never stops asking does not hold up the end.
                biased;
                () = self.uploads.draining().cancelled(), if self.upload.is_none() => {
                    return Ok(None);
                }
                request = self.connection.receive(MAX_REQUEST_FRAME, patience) => request,
                () = sleep_until(linger), if self.upload.is_some() => {
                    self.upload = None;
                    continue;
                }
                () = self.following.rings(), if !self.following.is_empty() => {
                    self.tell().await?;
                    self.connection.flush().await?;
                    continue;
                }
            };
            return self.understood(request).await;
        }
    }

    /// Tells a guest whose request can't be read, before the connection ends.
    async fn understood(
        &mut self,
        request: Result<TransferRequest, ConnectionError>,
    ) -> Result<Option<TransferRequest>, ConnectionError> {
        if let Err(ConnectionError::Malformed(_)) = &request {
            self.reply(&TransferReply::Refused { refusal: Refusal::Malformed }).await?;
            self.connection.flush().await?;
        }
        request.map(Some)
    }

    /// Queues what the guest was not told yet of what it follows.
    async fn tell(&mut self) -> Result<(), ConnectionError> {
        for have in self.following.news(&self.uploads) {
            let before = self.connection.queued();
            self.connection.queue(&TransferReply::Have(have), MAX_TRANSFER_FRAME)?;
            self.following.told(self.connection.queued().saturating_sub(before));
            self.relieve().await?;
        }
        Ok(())
    }

    /// Queues a reply.
    async fn reply(&mut self, reply: &TransferReply) -> Result<(), ConnectionError> {
        self.connection.queue(reply, MAX_TRANSFER_FRAME)?;
        self.relieve().await
    }

    /// Sends what is queued if it is much.
    async fn relieve(&mut self) -> Result<(), ConnectionError> {
        let full = if self.slot.is_some() { FULL } else { FULL_WITHOUT_SLOT };
        if self.connection.queued() >= full {
            self.connection.flush().await?;
        }
        Ok(())
    }

    /// Takes the right to send bytes, if there is not one already.
    fn take_slot(&mut self) -> Result<(), Refusal> {
        if self.slot.is_none() {
            self.slot = Some(self.uploads.slot().ok_or(Refusal::Busy)?);
        }
        Ok(())
    }
}
