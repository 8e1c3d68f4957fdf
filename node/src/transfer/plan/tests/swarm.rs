//! Several that fetch one file, from one that has it and from each other.
