//! Moving content: a manifest, then chunks, every one verified.

pub mod job;
