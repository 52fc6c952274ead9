//! What can be wrong with bytes that claim to be a Kafka message, and with a message that is to become bytes.

/// Why a frame, a message or a record could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field needs more bytes than the message has left.
    #[error("truncated: {needed} bytes needed, {remaining} left")]
    Truncated {
        /// Bytes that the field asked for.
        needed: usize,
        /// Bytes that were there.
        remaining: usize,
    },
    /// A length that is negative where null is not allowed, or beyond what its type permits.
    #[error("invalid length {0}")]
    InvalidLength(i64),
    /// An array claims more elements than bytes are left.
    #[error("array of {claimed} elements in {remaining} bytes")]
    ArrayTooLong {
        /// The claimed number of elements.
        claimed: u32,
        /// Bytes that were there.
        remaining: usize,
    },
    /// More elements in all arrays of a request than its API allows.
    #[error("{claimed} elements in the arrays of a request, at most {max} are allowed")]
    TooManyElements {
        /// The elements until then.
        claimed: u32,
        /// The limit.
        max: u32,
    },
    /// Null where the schema of this version has no null.
    #[error("null in a field that is not nullable")]
    UnexpectedNull,
    /// A string that is not UTF-8.
    #[error("string is not valid UTF-8")]
    InvalidUtf8,
    /// A varint of more than 32 bits.
    #[error("varint does not fit 32 bits")]
    VarintOverflow,
    /// A tagged field whose content is shorter than its announced size.
    #[error("tagged field {tag} has {surplus} surplus bytes")]
    TaggedFieldSize {
        /// The field's tag.
        tag: u32,
        /// Announced bytes that the field did not use.
        surplus: usize,
    },
    /// Bytes left over after the message.
    #[error("{0} bytes after the end of the message")]
    TrailingBytes(usize),
    /// An API key that this build does not know.
    #[error("unknown API key {0}")]
    UnknownApiKey(i16),
    /// A version outside the known range of a message.
    #[error("unsupported version {version} of {message}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A record type that this build does not know, in a coordinator's log or in the metadata log.
    #[error("unknown record type {0}")]
    UnknownRecordType(i32),
    /// A frame version of the metadata log other than 1.
    #[error("unknown metadata frame version {0}")]
    UnknownFrameVersion(u32),
}

/// Why a message could not be encoded in the wanted version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field holds a value that says something, and the version has no place for it.
    #[error("{field} cannot be expressed in version {version}")]
    NotInVersion {
        /// Name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A version outside the known range of a message.
    #[error("unsupported version {version} of {message}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string, byte string, array or frame beyond what its length prefix can say.
    #[error("{length} is too long for its length prefix")]
    TooLong {
        /// The length.
        length: usize,
    },
}
