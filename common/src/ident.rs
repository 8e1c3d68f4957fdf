//! Who a node is: an opaque id for programs, a name for people, and where it
//! can be reached.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::MAX_NODE_NAME;

/// Defines a type of 32 opaque bytes: 64 hexadecimal digits for people and
/// JSON, a byte string on the wire.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight digits: enough for a person to tell a few apart.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ident::NotAnId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::ident::parse_hex(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::ident::serialize_bytes32(&self.0, self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::ident::deserialize_bytes32(from).map(Self)
            }
        }
    };
}
pub(crate) use bytes32;

/// A text that should have been 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: 64 hexadecimal digits are expected")]
pub struct NotAnId(String);

pub(crate) fn parse_hex(text: &str) -> Result<[u8; 32], NotAnId> {
    let wrong = || NotAnId(text.chars().take(80).collect());
    if text.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

pub(crate) fn serialize_bytes32<S: Serializer>(
    bytes: &[u8; 32],
    text: &impl fmt::Display,
    to: S,
) -> Result<S::Ok, S::Error> {
    if to.is_human_readable() { to.collect_str(text) } else { to.serialize_bytes(bytes) }
}

pub(crate) fn deserialize_bytes32<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<[u8; 32], D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = [u8; 32];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("32 bytes, or 64 hexadecimal digits")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse_hex(text).map_err(E::custom)
        }
    }

    if from.is_human_readable() {
        from.deserialize_str(Visitor)
    } else {
        from.deserialize_bytes(Visitor)
    }
}

bytes32! {
    /// Who a node is, for programs: 32 random bytes, made once and kept on its
    /// disk. Never an address: several nodes may share one.
    NodeId
}

impl NodeId {
    /// A new id from the system's random numbers.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// Who a node is, for people: unique in its network.
///
/// 1 to [`MAX_NODE_NAME`] ASCII letters, digits, `-`, `_` and `.`, beginning
/// with a letter or a digit. Not a whole number and not `all`, which mean
/// something else where an owner is chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

/// A text that can't name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can't name a node: 1 to {MAX_NODE_NAME} letters, digits, `-`, `_` and `.`, \
     beginning with a letter or a digit, not a number and not `all`"
)]
pub struct NotANodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to a text such as a host name: what is not
    /// allowed becomes `-`.
    pub fn from_lossy(text: &str) -> Self {
        let cleaned: String = text
            .chars()
            .map(|c| if is_name_char(c) { c } else { '-' })
            .take(MAX_NODE_NAME)
            .collect();
        let cleaned = cleaned.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        cleaned.parse().unwrap_or_else(|_| {
            let kept = MAX_NODE_NAME - "node-".len();
            let rest: String = cleaned.chars().take(kept).collect();
            Self(format!("node-{rest}").trim_end_matches('-').to_owned())
        })
    }

    /// This name with `-number` behind it, shortened where it must be.
    pub fn with_suffix(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let kept: String = self.0.chars().take(MAX_NODE_NAME - suffix.len()).collect();
        Self(kept + &suffix)
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

impl FromStr for NodeName {
    type Err = NotANodeName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() <= MAX_NODE_NAME
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(is_name_char)
            && !text.chars().all(|c| c.is_ascii_digit())
            && !text.eq_ignore_ascii_case("all");
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotANodeName(text.escape_debug().take(80).collect()))
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A node as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub id: NodeId,
    /// Its name, unique in the network.
    pub name: NodeName,
    /// Where it answers searches.
    #[serde(with = "address")]
    pub search: SocketAddr,
    /// Where it serves content.
    #[serde(with = "address")]
    pub download: SocketAddr,
    /// Its join number: the smaller, the longer it is in the network. 0 if it is
    /// known otherwise than by a tracker.
    #[serde(default, skip_serializing_if = "is_none")]
    pub joined: u64,
}

/// Whether a number stands for none.
#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
pub(crate) fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Peer {
    /// Whether others could reach these addresses: not port 0, not an address
    /// that stands for "any" or for a group.
    pub fn is_reachable(&self) -> bool {
        [self.search, self.download]
            .iter()
            .all(|at| at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast())
    }
}

/// An address as `"ip:port"`, in JSON and on the wire alike.
pub mod address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// For `#[serde(with = "address")]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    /// For `#[serde(with = "address")]`.
    ///
    /// # Errors
    /// The text is no address.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hex_for_people() {
        let id = NodeId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.short(), "abababab");
        assert_eq!("AB".repeat(32).parse(), Ok(id));
        for wrong in ["", "ab", &"ab".repeat(33), &"+b".repeat(32), &"é".repeat(32)] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn node_names() {
        for right in ["a", "node1", "9lives", "my_host.lan", &"x".repeat(63)] {
            assert!(right.parse::<NodeName>().is_ok(), "{right}");
        }
        for wrong in
            ["", "-a", ".a", "42", "all", "All", "a b", "é", "a/b", "a\u{1b}[0m", &"x".repeat(64)]
        {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_host_name_becomes_a_node_name() {
        for (host, name) in [
            ("laptop", "laptop"),
            ("123456", "node-123456"),
            ("", "node"),
            ("все", "node"),
            ("bob's mac", "bob-s-mac"),
            ("all", "node-all"),
        ] {
            let made = NodeName::from_lossy(host);
            assert_eq!(made.as_str(), name);
            assert!(made.as_str().parse::<NodeName>().is_ok());
        }
        let long = NodeName::from_lossy(&"y".repeat(100)).with_suffix(12);
        assert_eq!(long.as_str().len(), MAX_NODE_NAME);
        assert!(long.as_str().ends_with("-12"));
    }
}
