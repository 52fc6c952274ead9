//! Builds a batch record by record: for the logs that the broker itself writes, and for tests.

use bytes::Bytes;

use crate::record::{put_nullable, put_varlong};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordBatch, Sequence};

/// Collects records and lays a checked batch of message format 2 around them, uncompressed.
#[derive(Debug, Clone)]
pub struct RecordBatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: i16,
    producer: (ProducerId, ProducerEpoch, Sequence),
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
}

impl RecordBatchBuilder {
    /// An empty batch whose first record will have `base_offset`.
    #[must_use]
    pub const fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            leader_epoch: LeaderEpoch(0),
            attributes: 0,
            producer: (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE),
            base_timestamp: 0,
            max_timestamp: -1,
            count: 0,
            records: Vec::new(),
        }
    }

    /// Sets the attribute bits; the codec must stay 0, since records are written plain.
    #[must_use]
    pub const fn attributes(mut self, attributes: i16) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the leader epoch.
    #[must_use]
    pub const fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Names the idempotent producer and the sequence of the first record.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Adds a record without headers; `timestamp` in ms since 1970.
    #[must_use]
    pub fn record(self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp, key, value, &[])
    }

    /// Adds a record; `timestamp` in ms since 1970.
    #[must_use]
    pub fn record_with_headers(
        mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Self {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let mut body = vec![0];
        put_varlong(&mut body, timestamp - self.base_timestamp);
        put_varlong(&mut body, i64::from(self.count));
        put_nullable(&mut body, key);
        put_nullable(&mut body, value);
        put_varlong(&mut body, i64::try_from(headers.len()).unwrap_or(i64::MAX));
        for (key, value) in headers {
            put_nullable(&mut body, Some(key.as_bytes()));
            put_nullable(&mut body, *value);
        }
        put_varlong(&mut self.records, i64::try_from(body.len()).unwrap_or(i64::MAX));
        self.records.extend_from_slice(&body);
        self.count += 1;
        self
    }

    /// How many records the batch has by now.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// The bytes that [`RecordBatchBuilder::build`] will return.
    #[must_use]
    pub fn size(&self) -> usize {
        RecordBatch::HEADER_SIZE + self.records.len()
    }

    /// The finished batch.
    #[must_use]
    pub fn build(self) -> Bytes {
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(&self.base_offset.0.to_be_bytes());
        let length = i32::try_from(self.size() - RecordBatch::LOG_OVERHEAD).unwrap_or(i32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        out.push(2);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.attributes.to_be_bytes());
        out.extend_from_slice(&(self.count - 1).to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer.0.0.to_be_bytes());
        out.extend_from_slice(&self.producer.1.0.to_be_bytes());
        out.extend_from_slice(&self.producer.2.0.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.records);
        let crc = crc32c::crc32c(&out[RecordBatch::CRC_START..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchError, Record, RecordHeader, batches};

    fn sample() -> Bytes {
        RecordBatchBuilder::new(Offset(40))
            .producer(ProducerId(7), ProducerEpoch(1), Sequence(100))
            .record(1_000, Some(b"k"), Some(b"v"))
            .record_with_headers(990, None, None, &[("h", Some(b"1")), ("h", None)])
            .build()
    }

    #[test]
    fn a_built_batch_reads_back() {
        let bytes = sample();
        let batch = RecordBatch::parse(&bytes).expect("parses");
        assert_eq!(batch.verify_crc(), Ok(()));
        assert_eq!((batch.base_offset(), batch.last_offset()), (Offset(40), Offset(41)));
        assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (1_000, 1_000));
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (Sequence(100), Sequence(101)));
        let records: Result<Vec<Record<'_>>, _> = batch.iter().collect();
        let headers =
            vec![RecordHeader { key: "h", value: Some(b"1") }, RecordHeader { key: "h", value: None }];
        assert_eq!(
            records.expect("records parse"),
            [
                Record {
                    offset: Offset(40),
                    timestamp: 1_000,
                    key: Some(b"k"),
                    value: Some(b"v"),
                    headers: vec![]
                },
                Record { offset: Offset(41), timestamp: 990, key: None, value: None, headers },
            ]
        );
    }

    #[test]
    fn every_flipped_bit_behind_the_crc_is_noticed() {
        let bytes = sample();
        for at in RecordBatch::CRC_START..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            let batch = RecordBatch::parse(&bad).expect("the length is intact");
            assert!(matches!(batch.verify_crc(), Err(BatchError::Crc { .. })), "byte {at}");
        }
    }

    #[test]
    fn cut_off_batches_are_errors() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert!(RecordBatch::parse(&bytes[..end]).is_err(), "{end}");
        }
        let two = [bytes.clone(), bytes.slice(..bytes.len() - 1)].concat();
        let parsed: Vec<bool> = batches(&two).map(|batch| batch.is_ok()).collect();
        assert_eq!(parsed, [true, false]);
    }

    #[test]
    fn mangled_records_are_errors_never_panics() {
        let bytes = sample();
        for at in RecordBatch::HEADER_SIZE..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = bytes.to_vec();
                bad[at] = value;
                let batch = RecordBatch::parse(&bad).expect("the header is intact");
                assert!(batch.iter().count() <= 3);
            }
        }
    }
}
