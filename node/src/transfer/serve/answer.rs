//! The answers to the requests of a guest.

use std::io;

use shoal_common::connection::ConnectionError;
use shoal_common::content::{FileId, UncheckedManifest};
use shoal_common::limits::{
    MAX_CHUNK, MAX_RANGES, MAX_REQUEST_FRAME, MAX_TRANSFER_FRAME, MIB, STALL_DEADLINE,
};
use shoal_common::protocol::refusal::Refusal;
use shoal_common::protocol::transfer::{ByteRange, TransferReply, TransferRequest};
use tracing::warn;

use super::Session;
use crate::transfer::outlet::SendError;
use crate::transfer::source::{Known, Source};

/// Bytes announced at once when the whole file is asked for. Whatever follows
/// can be refused in between.
const STRIDE: u64 = 8 * MIB;

/// Ranges of up to so many bytes are read and queued behind their header, so that
/// many of them leave at once; for longer ones it is cheaper not to touch them.
const SMALL: u64 = 64 * 1024;

/// The end of an answer: complete, or refused from here on. An outer error
/// ends the connection.
type Answer = Result<Result<(), Refusal>, ConnectionError>;

/// Goes on with a value, or ends the answer with a refusal.
macro_rules! granted {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}

impl Session {
    pub(super) async fn answer(&mut self, request: TransferRequest) -> Answer {
        match request {
            TransferRequest::Size { file } => {
                let size = granted!(self.find(&file)).manifest().geometry().size();
                self.reply(&TransferReply::Size { size }).await.map(Ok)
            }
            TransferRequest::Manifest { file } => self.manifest(file).await,
            TransferRequest::Chunks { file, ranges } => self.chunks(file, &ranges).await,
            TransferRequest::Download { file } => self.whole(file).await,
            TransferRequest::Have { file } => {
                let have = self.following.follow(file, &self.uploads).ok_or(Refusal::NotFound);
                self.reply(&TransferReply::Have(granted!(have))).await.map(Ok)
            }
            TransferRequest::Unknown => Ok(Err(Refusal::Unsupported)),
        }
    }

    async fn manifest(&mut self, file: FileId) -> Answer {
        let known = granted!(self.find(&file));
        let mut manifest = UncheckedManifest::from(known.manifest().as_ref());
        // What is wrong with the file is said to who asks for its bytes.
        manifest.tail = self.source(known).and_then(Source::tail).unwrap_or_default();
        if manifest.hashes.len() >= MAX_REQUEST_FRAME {
            // As much memory as bytes, for as long as the guest is slow to take it.
            granted!(self.take_slot());
        }
        self.reply(&TransferReply::Manifest(manifest)).await.map(Ok)
    }

    async fn chunks(&mut self, file: FileId, ranges: &[ByteRange]) -> Answer {
        granted!(self.take_slot());
        let source = granted!(self.open(file));
        let end = |range: &ByteRange| range.offset.checked_add(range.length);
        let exist = |range: &ByteRange| {
            let within = end(range).is_some_and(|end| end <= source.size());
            within && (1..=MAX_CHUNK).contains(&range.length)
        };
        if ranges.is_empty() || ranges.len() > MAX_RANGES || !ranges.iter().all(exist) {
            return Ok(Err(Refusal::BadRange));
        }
        let is_here =
            |range: &ByteRange| end(range).is_some_and(|end| source.covers(&(range.offset..end)));
        if !ranges.iter().all(is_here) {
            return Ok(Err(Refusal::NotFound));
        }
        for range in ranges {
            granted!(self.bytes(*range).await?);
            self.tell().await?;
        }
        Ok(Ok(()))
    }

    async fn whole(&mut self, file: FileId) -> Answer {
        granted!(self.take_slot());
        let source = granted!(self.open(file));
        let size = source.size();
        if !source.covers(&(0..size)) {
            return Ok(Err(Refusal::NotFound));
        }
        let mut offset = 0;
        while offset < size {
            let length = STRIDE.min(size - offset);
            granted!(self.bytes(ByteRange { offset, length }).await?);
            self.tell().await?;
            offset += length;
        }
        self.reply(&TransferReply::End).await.map(Ok)
    }

    /// Announces and sends a range of the open content that is here.
    async fn bytes(&mut self, range: ByteRange) -> Answer {
        // Under a low limit even little is sent piece by piece, behind its header.
        let at_once = usize::try_from(range.length).ok().filter(|length| {
            range.length <= SMALL && self.uploads.throttle().piece(*length) == *length
        });
        let sent = match at_once {
            Some(length) => self.small(range, length).await?,
            None => self.large(range).await?,
        };
        if sent == Err(Refusal::Changed) {
            self.open = None;
            self.uploads.catalog().refresh();
        }
        Ok(sent)
    }

    /// Queues a range.
    async fn small(&mut self, range: ByteRange, length: usize) -> Answer {
        let Some(source) = &self.open else { return Ok(Err(Refusal::NotFound)) };
        let throttle = self.uploads.throttle();
        if throttle.rate().is_some() {
            self.connection.flush().await?;
            throttle.take(length).await;
        }
        let reply = TransferReply::Bytes(range);
        let read = |into: &mut [u8]| source.read(into, range.offset);
        granted!(self.connection.queue_with(&reply, MAX_TRANSFER_FRAME, length, read)?);
        self.uploads.catalog().traffic().moved(range.length);
        self.relieve().await.map(Ok)
    }

    /// Sends a range without reading it.
    async fn large(&mut self, range: ByteRange) -> Answer {
        let Some(source) = &mut self.open else { return Ok(Err(Refusal::NotFound)) };
        if !source.is_unchanged() {
            return Ok(Err(Refusal::Changed));
        }
        self.connection.queue(&TransferReply::Bytes(range), MAX_TRANSFER_FRAME)?;
        self.connection.flush().await?;
        let bytes = range.offset..range.offset + range.length;
        let outlet = source.outlet();
        match outlet.send(self.connection.stream(), bytes, self.uploads.throttle()).await {
            Ok(()) => {
                self.uploads.catalog().traffic().moved(range.length);
                Ok(Ok(()))
            }
            Err(SendError::Vanished) => {
                warn!("`{}` shrank or can't be read any more, while it was sent", source.name());
                self.uploads.catalog().refresh();
                Err(io::Error::other(SendError::Vanished).into())
            }
            Err(SendError::TooSlow) => Err(ConnectionError::Silent(STALL_DEADLINE)),
            Err(SendError::Broken(error)) => Err(error.into()),
        }
    }

    /// Opens this content, if it is not open already.
    fn open(&mut self, file: FileId) -> Result<&Source, Refusal> {
        let opened = self.open.take();
        let Ok(known) = self.find(&file) else {
            // Who had it open a moment ago did see it here.
            let seen = opened.is_some_and(|opened| opened.is_whole() && opened.file() == file);
            return Err(if seen { Refusal::Changed } else { Refusal::NotFound });
        };
        self.open = opened;
        let name = known.name().clone();
        self.source(known)?;
        if self.upload.as_ref().is_none_or(|upload| upload.file != file) {
            self.upload = Some(self.uploads.begin(file, name, self.address.clone()));
        }
        self.open.as_ref().ok_or(Refusal::NotFound)
    }

    /// Opens what is known, if it is not open already.
    fn source(&mut self, known: Known) -> Result<&Source, Refusal> {
        let source = match self.open.take().filter(|opened| opened.is(&known)) {
            Some(source) => source,
            None => Source::open(known, self.uploads.volume(), self.uploads.io())
                .inspect_err(|refusal| self.refresh_after(*refusal))?,
        };
        Ok(self.open.insert(source))
    }

    fn refresh_after(&self, refusal: Refusal) {
        if refusal == Refusal::Changed {
            self.uploads.catalog().refresh();
        }
    }

    fn find(&self, file: &FileId) -> Result<Known, Refusal> {
        Known::find(self.uploads.catalog(), file).ok_or(Refusal::NotFound)
    }
}
