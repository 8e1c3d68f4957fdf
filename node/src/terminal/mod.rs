//! What a person sees and types.
//!
//! A line becomes a [`command`], a command becomes requests to a node
//! ([`verbs`]) and an answer, an answer becomes text ([`render`]) or JSON
//! ([`json`]).

pub mod text;

pub mod command;
pub mod printer;

pub mod answer;
pub mod choose;

pub mod json;
pub mod render;

pub mod verbs;
