//! What is wrong with a frame or a message, and whose fault it is.

use core::fmt;

/// Why a frame is not a message: the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON; the column is where the parser stopped.
    Syntax {
        /// From 1, within its line; 0 where the parser cannot tell.
        column: usize,
    },
    /// JSON, but not of a message's shape.
    Shape {
        /// From 1, within its line; 0 where the parser cannot tell.
        column: usize,
    },
    /// A binary frame ends before the fields that its header announces.
    Truncated,
    /// A binary frame of a kind that this side does not receive.
    UnknownKind(u8),
    /// A binary frame under vsn 1.0.0, which has none.
    UnexpectedBinary,
    /// A header field of a binary frame is not UTF-8.
    NotUtf8,
    /// Larger than `Limits::frame_bytes`.
    TooLarge {
        /// The frame's size in bytes.
        len: usize,
    },
    /// A reply without a status.
    NotAReply,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { column } => write!(f, "not JSON (column {column})"),
            Self::Shape { column } => write!(f, "JSON, but not a message (column {column})"),
            Self::Truncated => f.write_str("a binary frame that is cut short"),
            Self::UnknownKind(kind) => write!(f, "a binary frame of the unknown kind {kind}"),
            Self::UnexpectedBinary => f.write_str("a binary frame, which vsn 1.0.0 does not have"),
            Self::NotUtf8 => f.write_str("a header field that is not UTF-8"),
            Self::TooLarge { len } => write!(f, "a frame of {len} bytes, which is over the limit"),
            Self::NotAReply => f.write_str("a phx_reply without a status"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a message cannot be put into a frame: the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// vsn 1.0.0 has no binary frames.
    BinaryNeedsV2,
    /// A broadcast that has to go as text has a payload of raw bytes.
    BinaryAsText,
    /// The metadata of a user event are raw bytes.
    BinaryMetadata,
    /// A binary header counts a field's UTF-8 bytes in one byte.
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes; at most 255 are possible.
        len: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BinaryNeedsV2 => f.write_str("binary payloads need vsn 2.0.0"),
            Self::BinaryAsText => f.write_str("a broadcast sent as text cannot have a binary payload; send JSON"),
            Self::BinaryMetadata => f.write_str("the metadata of a broadcast must be JSON, not raw bytes"),
            Self::FieldTooLong { field, len } => {
                write!(f, "the {field} has {len} bytes; a binary frame can say at most 255")
            }
        }
    }
}

impl core::error::Error for EncodeError {}
