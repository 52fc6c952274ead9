//! Newtypes of the numbers that Kafka passes around, so that an offset is never taken for an epoch.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number, as it stands on the wire.
            #[must_use]
            pub const fn value(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// The position of a record in a partition's log; 0 is the first record ever.
    Offset(i64)
}
number! {
    /// The generation of a partition's leader (KIP-101); rises by one with every election.
    LeaderEpoch(i32)
}
number! {
    /// The version of a partition's record in the metadata; rises by one with every change of it (KIP-497).
    PartitionEpoch(i32)
}
number! {
    /// A broker's `node.id`.
    NodeId(i32)
}
number! {
    /// The incarnation of a broker: the metadata offset of its registration (KIP-631, KIP-903).
    BrokerEpoch(i64)
}
number! {
    /// The index of a partition within its topic.
    PartitionId(i32)
}
number! {
    /// The identity that InitProducerId gives to an idempotent producer (KIP-98).
    ProducerId(i64)
}
number! {
    /// The generation of a producer id; a higher one fences the lower ones.
    ProducerEpoch(i16)
}
number! {
    /// The number of a record within one producer's stream to one partition; wraps to 0 after `i32::MAX`.
    Sequence(i32)
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// The offset `count` records further on.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl LeaderEpoch {
    /// Kafka's "no epoch known".
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// Kafka's "no producer id": the batch does not take part in deduplication.
    pub const NONE: Self = Self(-1);

    /// Whether this is a real producer id.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl ProducerEpoch {
    /// Kafka's "no producer epoch".
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// Kafka's "no sequence".
    pub const NONE: Self = Self(-1);

    /// The sequence `increment` records after this one, wrapping to 0 after `i32::MAX`
    /// (Kafka's `DefaultRecordBatch.incrementSequence`).
    #[must_use]
    pub const fn plus(self, increment: i32) -> Self {
        // Wrapping, because both numbers may come from a batch that nobody has checked yet.
        if self.0 > i32::MAX.wrapping_sub(increment) {
            Self(increment.wrapping_sub(i32::MAX.wrapping_sub(self.0)).wrapping_sub(1))
        } else {
            Self(self.0.wrapping_add(increment))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        for (from, by, expect) in
            [(0, 1, 1), (i32::MAX, 1, 0), (i32::MAX - 1, 1, i32::MAX), (i32::MAX - 1, 5, 3), (7, 0, 7)]
        {
            assert_eq!(Sequence(from).plus(by), Sequence(expect), "{from} + {by}");
        }
    }
}
