//! One message as bytes, and back.
//!
//! A frame is the length of the message (`u32`, big endian), the Lamport time of
//! its sending (`u64`, big endian) where the two sides keep time, and the message.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ConnectionError;
use crate::limits::MAX_NESTING;

/// Bytes of a frame's length.
const LENGTH: usize = size_of::<u32>();

/// Bytes in front of the message, with or without a time.
pub(super) const fn prefix(timed: bool) -> usize {
    if timed { LENGTH + size_of::<u64>() } else { LENGTH }
}

/// Puts the frame of a message behind `frames`: maps with named fields, so that
/// fields can be added. After an error `frames` is as before.
pub(super) fn encode<M: Serialize>(
    message: &M,
    bound: usize,
    time: Option<u64>,
    frames: &mut Vec<u8>,
) -> Result<(), ConnectionError> {
    let start = frames.len();
    let encoded = try_encode(message, bound, time, frames);
    if encoded.is_err() {
        frames.truncate(start);
    }
    encoded
}

fn try_encode<M: Serialize>(
    message: &M,
    bound: usize,
    time: Option<u64>,
    frames: &mut Vec<u8>,
) -> Result<(), ConnectionError> {
    let start = frames.len();
    frames.extend([0; LENGTH]);
    frames.extend(time.map(u64::to_be_bytes).into_iter().flatten());
    let body = frames.len();
    rmp_serde::encode::write_named(frames, message)
        .map_err(|error| ConnectionError::Malformed(error.to_string()))?;
    let length = frames.len() - body;
    let too_long = ConnectionError::TooLong { length, bound };
    if length > bound {
        return Err(too_long);
    }
    let announced = u32::try_from(length).map_err(|_| too_long)?.to_be_bytes();
    for (to, from) in frames.iter_mut().skip(start).zip(announced) {
        *to = from;
    }
    Ok(())
}

/// What is in front of a message: its length, and the time, if one is given.
///
/// # Errors
/// No frame is so long.
pub(super) fn announce(
    length: usize,
    time: Option<u64>,
) -> Result<[u8; prefix(true)], ConnectionError> {
    let bound = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    let announced =
        u32::try_from(length).map_err(|_| ConnectionError::TooLong { length, bound })?;
    let mut prefix = [0; prefix(true)];
    let time = time.unwrap_or_default().to_be_bytes();
    let bytes = announced.to_be_bytes().into_iter().chain(time);
    prefix.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    Ok(prefix)
}

/// The length of the message at the front of `bytes`, once that is known.
///
/// # Errors
/// It is over `bound`.
pub(super) fn length(bytes: &[u8], bound: usize) -> Result<Option<usize>, ConnectionError> {
    let Some(announced) = bytes.first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*announced)).unwrap_or(usize::MAX);
    if length > bound {
        return Err(ConnectionError::TooLong { length, bound });
    }
    Ok(Some(length))
}

/// The time in the frame at the front of `bytes`, which is one with a time.
pub(super) fn time(bytes: &[u8]) -> u64 {
    let time = bytes.get(LENGTH..).and_then(<[u8]>::first_chunk);
    time.map_or(0, |time| u64::from_be_bytes(*time))
}

/// The message of a frame. Fields it does not know are passed over, but no
/// deeper than [`MAX_NESTING`]; so are bytes after the message.
pub(super) fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, ConnectionError> {
    let mut from = rmp_serde::Deserializer::from_read_ref(body);
    from.set_max_depth(MAX_NESTING);
    M::deserialize(&mut from).map_err(|error| ConnectionError::Malformed(quoted(&error)))
}

/// What is wrong with a message, on one short line. The text may quote a
/// stranger's words, which must not look like lines of the log.
fn quoted(error: &rmp_serde::decode::Error) -> String {
    error.to_string().escape_debug().take(200).collect()
}
