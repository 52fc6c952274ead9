//! Kafka's UUID: 16 bytes, printed in base64url without padding (`org.apache.kafka.common.Uuid`).

use std::fmt;
use std::str::FromStr;

/// A 128-bit identifier of a topic, a directory or a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// A log directory's identity (KIP-858): another disk has another, even in the same broker.
pub type DirectoryId = Uuid;

impl Uuid {
    /// Kafka's "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// A version 4 identifier from 128 random bits. Never one that prints with a leading dash, as
    /// Kafka avoids those too: command-line tools would take it for an option.
    #[must_use]
    pub fn from_random(mut bits: [u8; 16]) -> Self {
        bits[6] = (bits[6] & 0x0f) | 0x40;
        bits[8] = (bits[8] & 0x3f) | 0x80;
        // The first printed character is the top six bits; 62 prints as '-'.
        if bits[0] >> 2 == 62 {
            bits[0] &= 0x7f;
        }
        Self(bits)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        // 22 characters carry 132 bits: 128 of ours, then four zero bits.
        for i in 0..22u32 {
            let shift = 122i64 - 6 * i64::from(i);
            let six = if shift >= 0 { bits >> shift } else { bits << -shift } & 63;
            let index = usize::try_from(six).unwrap_or(0);
            text.push(char::from(ALPHABET[index]));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// The text is not a base64url UUID of 22 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a base64url UUID of 22 characters: {0:?}")]
pub struct ParseUuidError(pub String);

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseUuidError(text.to_owned());
        let text = text.trim_end_matches('=');
        if text.len() != 22 {
            return Err(bad());
        }
        let mut bits = 0u128;
        for (i, byte) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|&a| a == byte).ok_or_else(bad)? as u128;
            if i < 21 {
                bits = (bits << 6) | six;
            } else {
                bits = (bits << 2) | (six >> 4);
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kafkas() {
        // Printed by org.apache.kafka.common.Uuid for the same bytes.
        for (bytes, text) in [
            ([0; 16], "AAAAAAAAAAAAAAAAAAAAAA"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "AAAAAAAAAAAAAAAAAAAAAQ"),
            (*b"0123456789abcdef", "MDEyMzQ1Njc4OWFiY2RlZg"),
            ([255; 16], "_____________________w"),
        ] {
            assert_eq!(Uuid(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(Uuid(bytes)));
        }
        assert!("short".parse::<Uuid>().is_err());
        assert!("MDEyMzQ1Njc4OWFiY2Rl!g".parse::<Uuid>().is_err());
    }

    #[test]
    fn random_ids_never_print_a_leading_dash() {
        for first in 0..=255u8 {
            let id = Uuid::from_random([first; 16]);
            assert!(!id.to_string().starts_with('-'), "{id}");
        }
    }
}
