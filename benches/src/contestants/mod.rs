//! Those who run, each in its own way.

pub mod course;

pub mod bare;
pub mod container;
pub mod fanout;
pub mod rsync;
pub mod shoal;
pub mod torrent;
pub mod web;
