//! Between a node and the download port of another.
//!
//! Requests name a content, never a file name, so a file that was replaced
//! meanwhile can't be mistaken for the one that was asked for. Requests may be
//! sent ahead; they are answered in order. [`TransferReply::Bytes`] announces
//! raw bytes that follow it on the stream.

use serde::{Deserialize, Serialize};

use crate::content::{ChunkSet, FileId, UncheckedManifest};
use crate::ident::NodeId;
use crate::protocol::refusal::Refusal;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TransferRequest {
    /// How large is it? Answered with [`TransferReply::Size`].
    Size {
        /// Which content.
        file: FileId,
    },
    /// Its chunk hashes. Answered with [`TransferReply::Manifest`].
    Manifest {
        /// Which content.
        file: FileId,
    },
    /// Some of its bytes. Answered with one [`TransferReply::Bytes`] a range,
    /// in their order; a refusal ends the answer.
    Chunks {
        /// Which content.
        file: FileId,
        /// 1 to [`MAX_RANGES`](crate::limits::MAX_RANGES) ranges.
        ranges: Vec<ByteRange>,
    },
    /// All of its bytes. Answered with some [`TransferReply::Bytes`] from front
    /// to back, then [`TransferReply::End`]; a refusal ends the answer.
    Download {
        /// Which content.
        file: FileId,
    },
    /// Which chunks of it are here, and who else fetches it here? Answered with
    /// [`TransferReply::Have`] at once, and with another one whenever that
    /// changes, between the answers to other requests (and between the ranges of
    /// one), until the connection ends. When it is no longer here, the set of
    /// chunks is empty.
    ///
    /// Messages that follow a change come no faster than
    /// [`HAVE_PAUSE`](crate::limits::HAVE_PAUSE). A connection follows at most
    /// [`MAX_FOLLOWED`](crate::limits::MAX_FOLLOWED) contents. Who only follows
    /// is idle like anyone who asks nothing: it repeats this request before
    /// [`IDLE_DEADLINE`](crate::limits::IDLE_DEADLINE) is over, and is answered.
    Have {
        /// Which content.
        file: FileId,
    },
    /// A request of a newer program.
    #[serde(other)]
    Unknown,
}

/// Consecutive bytes of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// Position of the first byte.
    pub offset: u64,
    /// Number of bytes: 1 to [`MAX_CHUNK`](crate::limits::MAX_CHUNK).
    pub length: u64,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TransferReply {
    /// The size of the content.
    Size {
        /// In bytes.
        size: u64,
    },
    /// The manifest of the content, to be checked before it is believed. Where the
    /// last chunk is here and not too long, with what proves the size.
    Manifest(UncheckedManifest),
    /// `length` raw bytes follow.
    Bytes(ByteRange),
    /// All of the content was sent.
    End,
    /// What is here of a content, as of now.
    Have(Have),
    /// The request is refused, or its answer ends here.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A message of a newer program.
    #[serde(other)]
    Unknown,
}

/// What a node has of a content, and who fetches it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Which content.
    pub file: FileId,
    /// The verified chunks that can be asked for.
    pub chunks: ChunkSet,
    /// Others that asked for [`TransferRequest::Have`] of it on connections that
    /// are open: they have some of it, or will. At most
    /// [`MAX_FELLOWS`](crate::limits::MAX_FELLOWS).
    pub fellows: Vec<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Tail;
    use crate::limits::{MAX_CHUNKS, MAX_FILE, MAX_TRANSFER_FRAME};
    use crate::protocol::golden::golden;

    const ID: &str = "c420 0909090909090909 0909090909090909 0909090909090909 0909090909090909";

    #[test]
    fn wire() {
        let file = FileId::from_bytes([9; 32]);
        golden(&TransferRequest::Size { file }, &format!("82 a4'type a4'size a4'file {ID}"));
        golden(
            &TransferRequest::Manifest { file },
            &format!("82 a4'type a8'manifest a4'file {ID}"),
        );
        golden(
            &TransferRequest::Download { file },
            &format!("82 a4'type a8'download a4'file {ID}"),
        );
        let range = ByteRange { offset: 1 << 20, length: 77 };
        golden(
            &TransferRequest::Chunks { file, ranges: vec![range] },
            &format!(
                "83 a4'type a6'chunks a4'file {ID} a6'ranges 91 82 a6'offset ce00100000 a6'length 4d"
            ),
        );
        golden(&TransferRequest::Have { file }, &format!("82 a4'type a4'have a4'file {ID}"));
        golden(
            &TransferReply::Have(Have {
                file,
                chunks: [0, 9].into_iter().collect(),
                fellows: vec![NodeId::from_bytes([9; 32])],
            }),
            &format!("84 a4'type a4'have a4'file {ID} a6'chunks c402 0102 a7'fellows 91 {ID}"),
        );
        golden(&TransferReply::Size { size: 5 }, "82 a4'type a4'size a4'size 05");
        golden(
            &TransferReply::Manifest(UncheckedManifest {
                file,
                size: 5,
                hashes: vec![1; 32],
                tail: None,
            }),
            &format!(
                "84 a4'type a8'manifest a4'file {ID} a4'size 05 a6'hashes c420 \
                 0101010101010101 0101010101010101 0101010101010101 0101010101010101"
            ),
        );
        let tail = Some(Tail { block: vec![7], path: vec![8; 2] });
        golden(
            &TransferReply::Manifest(UncheckedManifest { file, size: 5, hashes: vec![1; 3], tail }),
            &format!(
                "85 a4'type a8'manifest a4'file {ID} a4'size 05 a6'hashes c403 010101 \
                 a4'tail 82 a5'block c401 07 a4'path c402 0808"
            ),
        );
        golden(
            &TransferReply::Bytes(range),
            "83 a4'type a5'bytes a6'offset ce00100000 a6'length 4d",
        );
        golden(&TransferReply::End, "81 a4'type a3'end");
        golden(
            &TransferReply::Refused { refusal: Refusal::Changed },
            "82 a4'type a7'refused a7'refusal a7'changed",
        );
    }

    #[test]
    fn the_longest_manifest_fits_into_its_frame() {
        let file = FileId::from_bytes([9; 32]);
        let hashes = vec![1; 32 * MAX_CHUNKS as usize];
        let tail = Some(Tail { block: vec![1; 1024], path: vec![1; 16 * 32] });
        let manifest = UncheckedManifest { file, size: MAX_FILE, hashes, tail };
        let reply = rmp_serde::to_vec_named(&TransferReply::Manifest(manifest)).unwrap();
        assert!(reply.len() <= MAX_TRANSFER_FRAME);
    }
}
