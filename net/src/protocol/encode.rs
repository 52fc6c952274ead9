//! How each type of field is written. Generated structs implement [`Encode`] field by field with `writer.put(&field)`.

use bytes::Bytes;
use model::Uuid;

use super::array::Array;
use super::decode::Decode;
use super::record_parts::Records;
use super::writer::Writer;

/// A type that can be written to the wire.
pub trait Encode {
    /// Writes the value. What cannot be written is noted in the writer, which reports it at its end.
    fn write(&self, writer: &mut Writer);
}

/// A type of which the wire knows a null. `Option<T>` is how a nullable field of the type is written in structs.
pub trait EncodeNullable {
    /// Writes the value, or null.
    fn write_nullable(value: Option<&Self>, writer: &mut Writer);
}

impl<T: EncodeNullable> Encode for Option<T> {
    #[inline]
    fn write(&self, writer: &mut Writer) {
        T::write_nullable(self.as_ref(), writer);
    }
}

/// Writes a nullable struct: one byte says whether it follows.
pub(super) fn put_nullable_struct<T: Encode>(value: Option<&T>, writer: &mut Writer) {
    match value {
        None => writer.put(&-1_i8),
        Some(value) => {
            writer.put(&1_i8);
            writer.put(value);
        }
    }
}

/// Writes a field that is null in no version below some; a null there is an error that names the field.
pub(super) fn put_not_null<T: Encode>(value: Option<&T>, field: &'static str, writer: &mut Writer) {
    match value {
        Some(value) => writer.put(value),
        None => writer.not_in_version(field),
    }
}

macro_rules! encode_number {
    ($($number:ty),*) => {$(
        impl Encode for $number {
            #[inline]
            fn write(&self, writer: &mut Writer) {
                writer.put_raw(&self.to_be_bytes());
            }
        }
    )*};
}

encode_number!(i8, i16, u16, i32, u32, i64, f64);

impl Encode for bool {
    #[inline]
    fn write(&self, writer: &mut Writer) {
        writer.put(&i8::from(*self));
    }
}

impl Encode for Uuid {
    #[inline]
    fn write(&self, writer: &mut Writer) {
        writer.put_raw(&self.0);
    }
}

impl EncodeNullable for &str {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put_string_length(value.map(|text| text.len()));
        writer.put_raw(value.map_or(&[], |text| text.as_bytes()));
    }
}

impl EncodeNullable for String {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put(&value.map(Self::as_str));
    }
}

impl EncodeNullable for &[u8] {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put_long_length(value.map(|bytes| bytes.len()));
        writer.put_raw(value.copied().unwrap_or_default());
    }
}

impl EncodeNullable for Bytes {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put(&value.map(|bytes| &bytes[..]));
    }
}

impl EncodeNullable for Records {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put_records(value);
    }
}

impl<T: Encode> EncodeNullable for Vec<T> {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put_long_length(value.map(Self::len));
        for element in value.into_iter().flatten() {
            writer.put(element);
        }
    }
}

impl<'a, T: Decode<'a> + Encode + Copy> EncodeNullable for Array<'a, T> {
    fn write_nullable(value: Option<&Self>, writer: &mut Writer) {
        writer.put_long_length(value.map(Self::len));
        for element in value.into_iter().flatten() {
            writer.put(&element);
        }
    }
}

macro_rules! encode_not_null {
    ($(($($generics:tt)*) $nullable:ty),* $(,)?) => {$(
        impl<$($generics)*> Encode for $nullable {
            #[inline]
            fn write(&self, writer: &mut Writer) {
                EncodeNullable::write_nullable(Some(self), writer);
            }
        }
    )*};
}

encode_not_null!(
    () &str,
    () String,
    () &[u8],
    () Bytes,
    () Records,
    (T: Encode) Vec<T>,
    ('a, T: Decode<'a> + Encode + Copy) Array<'a, T>,
);
