//! Who has what: this node's own files, and those of the others.

pub mod found;
