//! Golden bytes: what a message looks like on the wire, for ever.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks that `message` encodes to `expected` and decodes from it.
///
/// `expected` is hexadecimal, with white space anywhere; `'word` stands for
/// the bytes of a word.
#[track_caller]
pub(crate) fn golden<M>(message: &M, expected: &str)
where
    M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = rmp_serde::to_vec_named(message).unwrap();
    assert_eq!(show(&bytes), show(&parse(expected)));
    assert_eq!(&rmp_serde::from_slice::<M>(&bytes).unwrap(), message);
}

/// Bytes from the notation of [`golden`].
pub(crate) fn parse(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in notation.split_whitespace() {
        let (hex, word) = token.split_once('\'').unwrap_or((token, ""));
        let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
        bytes.extend(digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()));
        bytes.extend(word.bytes());
    }
    bytes
}

fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(|c: char| !c.is_ascii_graphic(), ".");
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text} | {}", hex.join(" "))
}
