//! Arrays of requests, read where they lie.

use std::fmt;

use super::decode::{Decode, Nullable, not_null};
use super::error::DecodeError;
use super::reader::Reader;

/// An array inside a request. From the wire it is a validated view of the frame whose elements are decoded as they
/// are asked for; a request that is to be sent borrows a slice instead.
///
/// Invariant: `Wire` is only made by decoding, which has decoded every element once without error.
#[derive(Clone, Copy)]
pub enum Array<'a, T> {
    /// Elements as they came off the wire.
    Wire(WireArray<'a>),
    /// Elements of a request that is being built.
    Slice(&'a [T]),
}

/// The encoded elements of an [`Array`]. Only decoding makes one.
#[derive(Clone, Copy)]
pub struct WireArray<'a> {
    /// At the first element; runs on to the end of the message.
    elements: Reader<'a>,
    count: u32,
}

impl<'a, T: Decode<'a> + Copy> Array<'a, T> {
    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Wire(wire) => wire.count as usize,
            Self::Slice(slice) => slice.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in order.
    #[must_use]
    pub const fn iter(&self) -> ArrayIter<'a, T> {
        ArrayIter { rest: *self }
    }
}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a, T> From<&'a [T]> for Array<'a, T> {
    fn from(elements: &'a [T]) -> Self {
        Self::Slice(elements)
    }
}

impl<'a, T: Decode<'a> + Copy> IntoIterator for Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Decode<'a> + Copy> IntoIterator for &Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Decode<'a> + Copy + fmt::Debug> fmt::Debug for Array<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Decode<'a> + Copy + PartialEq> PartialEq for Array<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Decode<'a>> Nullable<'a> for Array<'a, T> {
    fn read_nullable(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.array_length()? else { return Ok(None) };
        let elements = *reader;
        if let Some(size) = T::FIXED_SIZE {
            reader.take((count as usize).saturating_mul(size))?;
        } else {
            for _ in 0..count {
                T::read(reader)?;
            }
        }
        Ok(Some(Self::Wire(WireArray { elements, count })))
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Array<'a, T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        not_null(reader)
    }
}

/// Iterator over the elements of an [`Array`].
#[derive(Clone)]
pub struct ArrayIter<'a, T> {
    rest: Array<'a, T>,
}

impl<'a, T: Decode<'a> + Copy> Iterator for ArrayIter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.rest {
            Array::Wire(wire) => {
                wire.count = wire.count.checked_sub(1)?;
                // Cannot fail: decoding the array went over these very bytes. Were it to, the array ends here.
                let element = T::read(&mut wire.elements);
                debug_assert!(element.is_ok(), "a validated element decodes again");
                element.ok()
            }
            Array::Slice(slice) => {
                let (first, rest) = slice.split_first()?;
                *slice = rest;
                Some(*first)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.rest.len();
        (len, Some(len))
    }
}

impl<'a, T: Decode<'a> + Copy> ExactSizeIterator for ArrayIter<'a, T> {}
