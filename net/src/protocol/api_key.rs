//! What is known about each API: versions, and which header goes with which version.

use super::error::DecodeError;
use super::generated::ApiKey;

/// The facts about one API; the generated table has one for each key.
#[derive(Debug)]
pub(crate) struct ApiInfo {
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) known_max: i16,
    pub(crate) first_flexible: Option<i16>,
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The lowest version that Kafka 4 still knows.
    #[must_use]
    pub const fn min_version(self) -> i16 {
        self.info().min
    }

    /// The highest stable version.
    #[must_use]
    pub const fn max_version(self) -> i16 {
        self.info().max
    }

    /// The highest version that can be decoded: above [`ApiKey::max_version`] when the latest one is unstable.
    #[must_use]
    pub const fn max_version_unstable(self) -> i16 {
        self.info().known_max
    }

    /// The first version with compact lengths and tagged fields, if there is one.
    #[must_use]
    pub const fn first_flexible_version(self) -> Option<i16> {
        self.info().first_flexible
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.info().first_flexible {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// The version of the request header before a body of `version`.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header before a body of `version`. That of `ApiVersions` is always 0, because a
    /// client reads it before it knows what the broker speaks.
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = DecodeError;

    fn try_from(code: i16) -> Result<Self, DecodeError> {
        Self::from_code(code).ok_or(DecodeError::UnknownApiKey(code))
    }
}
