//! What is said, one conversation a module.
//!
//! Every connection begins with a [`greeting`] each way, which says what is to be
//! talked of. Then the side that connected asks and the other answers:
//!
//! | port | conversation |
//! |---|---|
//! | tracker | [`tracking`]: register, then heartbeats and pushed changes |
//! | node, search | [`search`]: patterns in, matches out |
//! | tracker, and node, search | [`succession`]: who is tracker? |
//! | node, search | [`tracking`], while it is tracker |
//! | node, search | [`peers`]: who else is here |
//! | node, download | [`transfer`]: sizes, manifests, ranges of bytes |
//!
//! Messages are MessagePack maps whose `type` says which they are. Unknown
//! fields are ignored and an unknown `type` is answered with
//! [`refusal::Refusal::Unsupported`], so old and new programs can talk.

pub mod refusal;

pub mod chat;
pub mod greeting;
pub mod peers;
pub mod search;
pub mod succession;
pub mod tracking;
pub mod transfer;

#[cfg(test)]
mod golden;
