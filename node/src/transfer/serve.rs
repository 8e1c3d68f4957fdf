//! Answers one guest on the download port.
//!
//! What is promised is kept or the connection is closed: once a reply has
//! announced bytes, nothing but those bytes may follow it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shoal_common::connection::ConnectionError;
use shoal_common::content::{FileId, UncheckedManifest};
use shoal_common::limits::{
    IDLE_DEADLINE, MAX_CHUNK, MAX_RANGES, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME, MIB,
    STALL_DEADLINE,
};
use shoal_common::name::SharedName;
use shoal_common::protocol::greeting::Hello;
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, TransferReply, TransferRequest};
use shoal_common::serve::{Guest, serve};
use shoal_common::task::Tasks;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::uploads::{Upload, Uploads};
use super::window::{MappedFile, SendError};
use crate::catalog::index::Shared;

/// How long after its last bytes an upload still counts as under way: longer
/// than a peer takes to ask for its next chunk.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes announced at once when the whole file is asked for. Whatever follows
/// can be refused in between.
const STRIDE: u64 = 8 * MIB;

/// Serves what `uploads` offers on the download port, until it drains or
/// `tasks` are cancelled. Each connection is a task of `tasks`; at most `bound`
/// are open at once.
pub async fn serve_downloads(
    uploads: Uploads,
    listener: TcpListener,
    us: Hello,
    bound: usize,
    tasks: Tasks,
) {
    let draining = uploads.draining().clone();
    let accept = serve(listener, us, bound, tasks, move |guest| converse(uploads.clone(), guest));
    draining.run_until_cancelled(accept).await;
}

/// Answers until the guest hangs up, falls silent, or this node leaves.
async fn converse(uploads: Uploads, guest: Guest) -> Result<(), ConnectionError> {
    let mut session = Session { uploads, guest, open: None, upload: None };
    while let Some(request) = session.next().await? {
        if let Err(refusal) = session.answer(request).await? {
            debug!("refused: {refusal}");
            session.reply(&TransferReply::Refused { refusal }).await?;
        }
    }
    Ok(())
}

/// The end of an answer: complete, or refused from here on. An outer error
/// ends the connection.
type Answer = Result<Result<(), Refusal>, ConnectionError>;

struct Session {
    uploads: Uploads,
    guest: Guest,
    /// The file that was asked for last, so that the next chunk of it finds it
    /// open and mapped.
    open: Option<Open>,
    upload: Option<Upload>,
}

struct Open {
    file: FileId,
    name: SharedName,
    mapped: MappedFile,
}

impl Session {
    /// The next request; `None` when there shall be no more.
    async fn next(&mut self) -> Result<Option<TransferRequest>, ConnectionError> {
        if self.upload.is_some() {
            let connection = &mut self.guest.connection;
            let request = connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE);
            if let Ok(request) = timeout(LINGER, request).await {
                return self.understood(request).await;
            }
            self.upload = None;
        }
        let draining = self.uploads.draining().clone();
        let connection = &mut self.guest.connection;
        let request = connection.receive(MAX_REQUEST_FRAME, IDLE_DEADLINE);
        match draining.run_until_cancelled(request).await {
            Some(request) => self.understood(request).await,
            None => Ok(None),
        }
    }

    /// Tells a guest whose request can't be read, before the connection ends.
    async fn understood(
        &mut self,
        request: Result<TransferRequest, ConnectionError>,
    ) -> Result<Option<TransferRequest>, ConnectionError> {
        if let Err(ConnectionError::Malformed(_)) = &request {
            self.reply(&TransferReply::Refused { refusal: Refusal::Malformed }).await?;
        }
        request.map(Some)
    }

    async fn answer(&mut self, request: TransferRequest) -> Answer {
        match request {
            TransferRequest::Size { file } => {
                let Some(shared) = self.find(&file) else { return Ok(Err(Refusal::NotFound)) };
                self.reply(&TransferReply::Size { size: shared.stamp.size }).await.map(Ok)
            }
            TransferRequest::Manifest { file } => {
                let Some(shared) = self.find(&file) else { return Ok(Err(Refusal::NotFound)) };
                let manifest = UncheckedManifest::from(shared.manifest.as_ref());
                self.reply(&TransferReply::Manifest(manifest)).await.map(Ok)
            }
            TransferRequest::Chunks { file, ranges } => self.chunks(file, &ranges).await,
            TransferRequest::Download { file } => self.whole(file).await,
            TransferRequest::Have { .. } | TransferRequest::Unknown => {
                Ok(Err(Refusal::Unsupported))
            }
        }
    }

    async fn chunks(&mut self, file: FileId, ranges: &[ByteRange]) -> Answer {
        let uploads = self.uploads.clone();
        let Some(_slot) = uploads.slot() else { return Ok(Err(Refusal::Busy)) };
        let size = match self.open(file) {
            Ok(size) => size,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let exist = |range: &ByteRange| {
            let end = range.offset.checked_add(range.length);
            (1..=MAX_CHUNK).contains(&range.length) && end.is_some_and(|end| end <= size)
        };
        if ranges.is_empty() || ranges.len() > MAX_RANGES || !ranges.iter().all(exist) {
            return Ok(Err(Refusal::BadRange));
        }
        for range in ranges {
            if let Err(refusal) = self.bytes(*range).await? {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    async fn whole(&mut self, file: FileId) -> Answer {
        let uploads = self.uploads.clone();
        let Some(_slot) = uploads.slot() else { return Ok(Err(Refusal::Busy)) };
        let size = match self.open(file) {
            Ok(size) => size,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut offset = 0;
        while offset < size {
            let length = STRIDE.min(size - offset);
            if let Err(refusal) = self.bytes(ByteRange { offset, length }).await? {
                return Ok(Err(refusal));
            }
            offset += length;
        }
        self.reply(&TransferReply::End).await.map(Ok)
    }

    /// Announces and sends a range of the open file that lies within it.
    async fn bytes(&mut self, range: ByteRange) -> Answer {
        let Some(open) = &mut self.open else { return Ok(Err(Refusal::NotFound)) };
        if !open.mapped.is_unchanged() {
            debug!("`{}` changed while it was served", open.name);
            self.open = None;
            self.uploads.catalog().refresh();
            return Ok(Err(Refusal::Changed));
        }
        let connection = &mut self.guest.connection;
        connection.send(&TransferReply::Bytes(range), MAX_TRANSFER_FRAME).await?;
        let end = range.offset + range.length;
        match open.mapped.send(connection.stream(), range.offset..end).await {
            Ok(()) => Ok(Ok(())),
            Err(SendError::Vanished) => {
                warn!("`{}` shrank or can't be read any more, while it was sent", open.name);
                self.uploads.catalog().refresh();
                Err(io::Error::other(SendError::Vanished).into())
            }
            Err(SendError::TooSlow) => Err(ConnectionError::Silent(STALL_DEADLINE)),
            Err(SendError::Broken(error)) => Err(error.into()),
        }
    }

    /// Opens the file with this content, if it is not open already; its size.
    fn open(&mut self, file: FileId) -> Result<u64, Refusal> {
        let known = self.open.as_ref().is_some_and(|open| open.file == file);
        let Some(shared) = self.find(&file) else {
            self.open = None;
            // Who had it open a moment ago did see it here.
            return Err(if known { Refusal::Changed } else { Refusal::NotFound });
        };
        let fits = |open: &Open| open.file == file && open.mapped.stamp() == shared.stamp;
        if !self.open.as_ref().is_some_and(fits) {
            self.open = Some(self.open_shared(file, &shared)?);
        }
        if self.upload.as_ref().is_none_or(|upload| upload.file != file) {
            self.upload = Some(self.uploads.begin(file, shared.name.clone(), self.guest.address));
        }
        Ok(shared.stamp.size)
    }

    fn open_shared(&self, file: FileId, shared: &Shared) -> Result<Open, Refusal> {
        let opened = self.uploads.volume().open_shared(&shared.name).and_then(MappedFile::new);
        let mapped = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.changed(shared),
            _ => {
                warn!("`{}` can't be read: {error}", shared.name);
                Refusal::Unreadable
            }
        })?;
        if mapped.stamp() != shared.stamp {
            return Err(self.changed(shared));
        }
        Ok(Open { file, name: shared.name.clone(), mapped })
    }

    fn changed(&self, shared: &Shared) -> Refusal {
        debug!("`{}` is not what it was", shared.name);
        self.uploads.catalog().refresh();
        Refusal::Changed
    }

    fn find(&self, file: &FileId) -> Option<Arc<Shared>> {
        self.uploads.catalog().find(file)
    }

    async fn reply(&mut self, reply: &TransferReply) -> Result<(), ConnectionError> {
        self.guest.connection.send(reply, MAX_TRANSFER_FRAME).await
    }
}
