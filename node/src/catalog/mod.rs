//! Who has what: this node's own files, and those of the others.
//!
//! [`index`], [`pattern`] and [`tree`] decide without I/O; `scan` feeds the index from
//! the disk, [`serve`] answers others from it, [`ask`] asks the others.

pub mod found;

pub mod pattern;
pub mod tree;

mod contents;
pub mod index;
mod merge;

mod hash;
pub mod holding;
mod store;

mod own;

pub mod ask;
mod scan;
pub mod serve;
mod watch;

pub use merge::MOST_OWNERS;
pub use own::Catalog;
pub use scan::keep_up;
