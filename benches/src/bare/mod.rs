//! The bare reference: a program that does only what a verified download needs,
//! so that a complete program has something to be held against.
//!
//! An owner is a process that hands ranges of one file to the kernel
//! (`sendfile`), a thread a connection. The receiver has a thread a connection,
//! each of which fetches its part of the file: `recv` into a small buffer that
//! stays in the cache, BLAKE3 over it, `pwrite` into a file whose space is
//! reserved. It verifies every chunk of 1 MiB against a list of hashes made
//! beforehand; that hashes each byte once, as Shoal does. It searches nothing,
//! trusts the network, and gives up at the first trouble.
//!
//! Beside it, one that [tells](tell) thousands as much as a tracker of them does.

pub mod hashes;

pub mod fetch;
pub mod serve;
pub mod tell;
