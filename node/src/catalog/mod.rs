//! Who has what: this node's own files, and those of the others.
//!
//! [`index`] and [`pattern`] decide without I/O; `scan` feeds the index from
//! the disk, [`serve`] answers others from it, [`ask`] asks the others.

pub mod found;

pub mod index;
pub mod pattern;

mod hash;
pub mod holding;
mod store;

mod own;

pub mod ask;
mod scan;
pub mod serve;

pub use own::Catalog;
pub use scan::keep_up;
