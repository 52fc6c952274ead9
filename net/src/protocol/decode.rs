//! How each type of field is read. Generated structs implement [`Decode`] field by field with `reader.get()?`.

use bytes::Bytes;
use model::Uuid;

use super::error::DecodeError;
use super::reader::Reader;
#[cfg(any(test, feature = "client"))]
use super::record_parts::Records;

/// A type that can be read from the wire.
pub trait Decode<'a>: Sized {
    /// The encoded size when it is the same for every value; lets arrays of numbers be skipped in one step.
    const FIXED_SIZE: Option<usize> = None;

    /// Reads one value.
    ///
    /// # Errors
    /// When the bytes are not a valid value.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// A type of which the wire knows a null. `Option<T>` is how a nullable field of the type is written in structs.
pub trait Nullable<'a>: Sized {
    /// Reads a value or null.
    ///
    /// # Errors
    /// When the bytes are neither.
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError>;
}

impl<'a, T: Nullable<'a>> Decode<'a> for Option<T> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        T::read_nullable(reader)
    }
}

/// Reads a field whose type has a null that this field does not allow.
#[inline]
pub(super) fn not_null<'a, T: Nullable<'a>>(reader: &mut Reader<'a>) -> Result<T, DecodeError> {
    T::read_nullable(reader)?.ok_or(DecodeError::UnexpectedNull)
}

/// Reads a nullable struct: one byte says whether it follows.
///
/// # Errors
/// When the marker or the struct is invalid.
pub(super) fn nullable_struct<'a, T: Decode<'a>>(reader: &mut Reader<'a>) -> Result<Option<T>, DecodeError> {
    match reader.get::<i8>()? {
        marker if marker < 0 => Ok(None),
        _ => Ok(Some(reader.get()?)),
    }
}

macro_rules! decode_not_null {
    ($(($($generics:tt)*) $nullable:ty),* $(,)?) => {$(
        impl<'a, $($generics)*> Decode<'a> for $nullable {
            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                not_null(reader)
            }
        }
    )*};
}

macro_rules! decode_number {
    ($($number:ty),*) => {$(
        impl<'a> Decode<'a> for $number {
            const FIXED_SIZE: Option<usize> = Some(size_of::<$number>());

            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.take_array()?))
            }
        }
    )*};
}

decode_number!(i8, i16, u16, i32, u32, i64, f64);

impl<'a> Decode<'a> for bool {
    const FIXED_SIZE: Option<usize> = Some(1);

    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [byte] = reader.take_array()?;
        Ok(byte != 0)
    }
}

impl<'a> Decode<'a> for Uuid {
    const FIXED_SIZE: Option<usize> = Some(16);

    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.uuid()
    }
}

impl<'a> Nullable<'a> for &'a str {
    #[inline]
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        reader.text()
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    #[inline]
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let Some(length) = reader.long_length()? else { return Ok(None) };
        Ok(Some(reader.take(length)?))
    }
}

impl<'a> Nullable<'a> for String {
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        Ok(reader.get::<Option<&str>>()?.map(Self::from))
    }
}

impl<'a> Nullable<'a> for Bytes {
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        Ok(reader.get::<Option<&[u8]>>()?.map(Self::copy_from_slice))
    }
}

#[cfg(any(test, feature = "client"))]
impl<'a> Nullable<'a> for Records {
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        Ok(reader.get::<Option<Bytes>>()?.map(Self::from))
    }
}

#[cfg(any(test, feature = "client"))]
decode_not_null!(() Records);

impl<'a, T: Decode<'a>> Nullable<'a> for Vec<T> {
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let Some(length) = reader.array_length()? else { return Ok(None) };
        // Grown as elements arrive: a false length must not reserve memory.
        let mut elements = Self::with_capacity(length.min(PREALLOCATED_MAX) as usize);
        for _ in 0..length {
            elements.push(reader.get()?);
        }
        Ok(Some(elements))
    }
}

decode_not_null!(() &'a str, () &'a [u8], () String, () Bytes, (T: Decode<'a>) Vec<T>);

/// Elements for which an owned array reserves memory before it has seen them.
const PREALLOCATED_MAX: u32 = 64;
