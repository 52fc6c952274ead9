//! Produce v9 on the wire: requests patched from a template, responses parsed in place.

use anyhow::{Result, ensure};

use crate::batch::{self, BatchShape, BatchTemplate, Stamp};
use crate::codec::Compression;
use crate::wire::{self, Cursor};

/// The one version spoken: topic names, flexible.
pub(crate) const PRODUCE_VERSION: i16 = 9;
/// API key of Produce.
pub(crate) const PRODUCE_KEY: i16 = 0;

/// Builds the produce requests of one connection in one reused buffer.
#[derive(Debug)]
pub(crate) struct ProduceEncoder {
    template: BatchTemplate,
    compression: Compression,
    head: Vec<u8>,
    /// Length of one request, when all are equal (no compression).
    request_len: usize,
    /// Places of the batches in one request, when all are equal.
    batch_at: Vec<usize>,
    /// Requests built and not yet taken by the socket.
    out: Vec<u8>,
    /// How much of `out` is in use.
    used: usize,
    scratch: Scratch,
    rng: fastrand::Rng,
}

/// Buffers of the compressed path.
#[derive(Debug, Default)]
struct Scratch {
    plain: Vec<u8>,
    packed: Vec<u8>,
}

/// What stays the same in all requests of a connection.
#[derive(Debug, Clone)]
pub(crate) struct ProduceShape {
    /// Topic written to.
    pub(crate) topic: String,
    /// -1, 0 or 1.
    pub(crate) acks: i16,
    /// Batches (partitions) per request.
    pub(crate) batches: usize,
    /// What each batch looks like.
    pub(crate) batch: BatchShape,
    /// Codec of each batch.
    pub(crate) compression: Compression,
}

impl ProduceEncoder {
    /// Prepares room for as many requests as may be gathered into one write.
    pub(crate) fn new(shape: &ProduceShape, gather_max: usize, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let template = BatchTemplate::new(&shape.batch, &mut rng);
        let head = request_head(shape);
        let mut encoder = Self {
            template,
            compression: shape.compression,
            head,
            request_len: 0,
            batch_at: Vec::new(),
            out: Vec::new(),
            used: 0,
            scratch: Scratch::default(),
            rng,
        };
        if shape.compression == Compression::None {
            encoder.lay_out_copies(shape.batches, gather_max);
        }
        encoder
    }

    /// Records in each batch.
    pub(crate) fn records_per_batch(&self) -> u64 {
        self.template.records()
    }

    /// Whether another request may be gathered before the buffer is written.
    pub(crate) fn has_room(&self) -> bool {
        if self.compression == Compression::None {
            self.used + self.request_len <= self.out.len()
        } else {
            self.used < GATHER_BYTES
        }
    }

    /// Builds one request with one batch per stamp (as many as the shape says, without compression).
    pub(crate) fn push(&mut self, correlation: i32, stamps: &[Stamp]) -> Result<()> {
        if self.compression == Compression::None {
            self.push_patched(correlation, stamps);
            Ok(())
        } else {
            self.push_compressed(correlation, stamps)
        }
    }

    /// The requests built so far.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.out[..self.used]
    }

    /// Forgets the requests built so far: the socket has them.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        if self.compression != Compression::None {
            self.out.clear();
        }
    }

    fn lay_out_copies(&mut self, batches: usize, gather_max: usize) {
        let mut request = self.head.clone();
        let batch_bytes = self.template.bytes();
        put_partition_count(&mut request, batches);
        for _ in 0..batches {
            request.extend_from_slice(&[0; 4]);
            wire::put_uvarint(&mut request, wire::len_u32(batch_bytes.len()) + 1);
            self.batch_at.push(request.len());
            request.extend_from_slice(batch_bytes);
            request.push(0);
        }
        request.extend_from_slice(&[0, 0]);
        wire::finish_request(&mut request, 0);
        self.request_len = request.len();
        let copies = (GATHER_BYTES / request.len()).clamp(1, gather_max.max(1));
        self.out = request.repeat(copies);
    }

    fn push_patched(&mut self, correlation: i32, stamps: &[Stamp]) {
        assert_eq!(stamps.len(), self.batch_at.len(), "a fixed layout holds a fixed number of batches");
        let request = &mut self.out[self.used..self.used + self.request_len];
        request[wire::CORRELATION_AT..wire::CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        let batch_len = self.template.bytes().len();
        let index_gap = 4 + uvarint_len(wire::len_u32(batch_len) + 1);
        for (stamp, &at) in stamps.iter().zip(&self.batch_at) {
            let index_at = at - index_gap;
            request[index_at..index_at + 4].copy_from_slice(&stamp.stream.partition.to_be_bytes());
            self.template.stamp(&mut request[at..at + batch_len], stamp, &mut self.rng);
        }
        self.used += self.request_len;
    }

    fn push_compressed(&mut self, correlation: i32, stamps: &[Stamp]) -> Result<()> {
        let start = self.out.len();
        self.out.extend_from_slice(&self.head);
        let correlation_at = start + wire::CORRELATION_AT;
        self.out[correlation_at..correlation_at + 4].copy_from_slice(&correlation.to_be_bytes());
        put_partition_count(&mut self.out, stamps.len());
        for stamp in stamps {
            self.scratch.plain.clear();
            self.scratch.plain.extend_from_slice(self.template.bytes());
            self.template.stamp_records(&mut self.scratch.plain, stamp, &mut self.rng);
            let (header, records) = self.scratch.plain.split_at(batch::HEADER_LEN);
            self.scratch.packed.clear();
            self.scratch.packed.extend_from_slice(header);
            self.compression.compress(records, &mut self.scratch.packed)?;
            seal_compressed(&mut self.scratch.packed, stamp, self.compression);
            self.out.extend_from_slice(&stamp.stream.partition.to_be_bytes());
            wire::put_uvarint(&mut self.out, wire::len_u32(self.scratch.packed.len()) + 1);
            self.out.extend_from_slice(&self.scratch.packed);
            self.out.push(0);
        }
        self.out.extend_from_slice(&[0, 0]);
        wire::finish_request(&mut self.out, start);
        self.used = self.out.len();
        Ok(())
    }
}

fn seal_compressed(packed: &mut [u8], stamp: &Stamp, compression: Compression) {
    let batch_length = wire::len_i32(packed.len() - 12);
    packed[batch::BATCH_LENGTH_AT..batch::BATCH_LENGTH_AT + 4].copy_from_slice(&batch_length.to_be_bytes());
    let attributes = compression as i16;
    packed[batch::ATTRIBUTES_AT..batch::ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch::stamp_header(packed, stamp);
    batch::seal(packed);
}

/// Everything up to the partition array.
fn request_head(shape: &ProduceShape) -> Vec<u8> {
    let mut head = Vec::new();
    wire::begin_request(&mut head, PRODUCE_KEY, PRODUCE_VERSION, 0);
    head.push(0); // No transactional id.
    head.extend_from_slice(&shape.acks.to_be_bytes());
    head.extend_from_slice(&REQUEST_TIMEOUT_MS.to_be_bytes());
    wire::put_uvarint(&mut head, 2); // One topic.
    wire::put_compact_string(&mut head, &shape.topic);
    head
}

fn put_partition_count(out: &mut Vec<u8>, count: usize) {
    wire::put_uvarint(out, wire::len_u32(count) + 1);
}

fn uvarint_len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// The broker's answer for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionAck {
    /// Partition index.
    pub(crate) partition: u32,
    /// Kafka error code, 0 for success.
    pub(crate) error: i16,
    /// Offset of the batch's first record.
    pub(crate) base_offset: i64,
}

/// Parses a response frame (after its size field): calls `each` per partition, returns the correlation id.
pub(crate) fn parse_produce_response(frame: &[u8], mut each: impl FnMut(PartitionAck)) -> Result<i32> {
    let mut cursor = Cursor::new(frame);
    let correlation = cursor.i32()?;
    cursor.skip_tags()?;
    for _ in 0..cursor.compact_len()? {
        cursor.compact_bytes()?;
        for _ in 0..cursor.compact_len()? {
            let partition = cursor.u32()?;
            let error = cursor.i16()?;
            let base_offset = cursor.i64()?;
            cursor.take(16)?; // Log append time and log start offset.
            for _ in 0..cursor.compact_len()? {
                cursor.i32()?;
                cursor.compact_bytes()?;
                cursor.skip_tags()?;
            }
            cursor.compact_bytes()?; // Error message.
            cursor.skip_tags()?;
            each(PartitionAck { partition, error, base_offset });
        }
        cursor.skip_tags()?;
    }
    cursor.i32()?; // Throttle time.
    cursor.skip_tags()?;
    ensure!(cursor.rest().is_empty(), "{} bytes after the end of a Produce response", cursor.rest().len());
    Ok(correlation)
}

/// How long the broker may wait for replicas.
const REQUEST_TIMEOUT_MS: i32 = 30_000;
/// Small requests are gathered into writes of about this size.
const GATHER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};
    use kafka_protocol::messages::{ProduceRequest, RequestHeader};
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::batch::{Keys, ProducerIdentity};
    use crate::record::{self, StreamKey};

    fn shape(batches: usize, compression: Compression) -> ProduceShape {
        ProduceShape {
            topic: "t".into(),
            acks: -1,
            batches,
            batch: BatchShape { records: 10, value_len: 300, keys: Keys::Sequential },
            compression,
        }
    }

    fn stamps(batches: u32, first_sequence: u64) -> Vec<Stamp> {
        (0..batches)
            .map(|partition| Stamp {
                stream: StreamKey { run: 5, producer: 0, partition },
                first_sequence,
                sent_ns: 1_000_000_000,
                identity: ProducerIdentity::NONE,
            })
            .collect()
    }

    /// Splits `pending` into requests and decodes each with the independent codec.
    fn decode(mut pending: Bytes) -> Vec<(i32, ProduceRequest)> {
        let mut requests = Vec::new();
        while pending.has_remaining() {
            let size = usize::try_from(pending.get_i32()).unwrap();
            let mut frame = pending.split_to(size);
            let header = RequestHeader::decode(&mut frame, 2).unwrap();
            assert_eq!((header.request_api_key, header.request_api_version), (0, 9));
            requests.push((header.correlation_id, ProduceRequest::decode(&mut frame, 9).unwrap()));
            assert!(!frame.has_remaining());
        }
        requests
    }

    #[test]
    fn an_independent_decoder_reads_gathered_requests() {
        for compression in [Compression::None, Compression::Zstd, Compression::Snappy] {
            for batches in [1u32, 3] {
                let mut encoder = ProduceEncoder::new(&shape(batches as usize, compression), 4, 1);
                encoder.push(7, &stamps(batches, 0)).unwrap();
                assert!(encoder.has_room());
                encoder.push(8, &stamps(batches, 10)).unwrap();
                let requests = decode(Bytes::copy_from_slice(encoder.pending()));
                assert_eq!(requests.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [7, 8]);
                for (_, request) in &requests {
                    assert_eq!((request.acks, request.transactional_id.clone()), (-1, None));
                    let topic = &request.topic_data[0];
                    assert_eq!(topic.name.0.as_str(), "t");
                    let indexes: Vec<i32> = topic.partition_data.iter().map(|p| p.index).collect();
                    assert_eq!(indexes, (0..i32::try_from(batches).unwrap()).collect::<Vec<_>>());
                }
                encoder.clear();
                assert!(encoder.pending().is_empty());
            }
        }
    }

    #[test]
    fn a_second_round_through_the_buffer_overwrites_the_first() {
        let mut encoder = ProduceEncoder::new(&shape(1, Compression::None), 2, 1);
        for round in 0..3u64 {
            encoder.push(1, &stamps(1, round * 10)).unwrap();
            let requests = decode(Bytes::copy_from_slice(encoder.pending()));
            let mut records = requests[0].1.topic_data[0].partition_data[0].records.clone().unwrap();
            let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut records).unwrap();
            let id = record::parse(set.records[9].value.as_ref().unwrap()).unwrap();
            assert_eq!(id.sequence, round * 10 + 9);
            encoder.clear();
        }
    }

    #[test]
    fn responses_of_the_independent_codec_are_parsed() {
        use kafka_protocol::messages::produce_response::{
            BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
        };
        use kafka_protocol::messages::{ResponseHeader, TopicName};
        use kafka_protocol::protocol::{Encodable, StrBytes};

        let mut bad = PartitionProduceResponse::default().with_index(4).with_error_code(10);
        bad.error_message = Some(StrBytes::from_static_str("too large"));
        bad.record_errors = vec![BatchIndexAndErrorMessage::default().with_batch_index(1)];
        let good = PartitionProduceResponse::default().with_index(1).with_base_offset(99);
        let topic = TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_responses(vec![good, bad]);
        let mut frame = Vec::new();
        ResponseHeader::default().with_correlation_id(12).encode(&mut frame, 1).unwrap();
        ProduceResponse::default().with_responses(vec![topic]).encode(&mut frame, 9).unwrap();

        let mut acks = Vec::new();
        assert_eq!(parse_produce_response(&frame, |ack| acks.push(ack)).unwrap(), 12);
        assert_eq!(acks[0], PartitionAck { partition: 1, error: 0, base_offset: 99 });
        assert_eq!((acks[1].partition, acks[1].error), (4, 10));
        for len in 0..frame.len() {
            assert!(parse_produce_response(&frame[..len], |_| ()).is_err(), "cut at {len}");
        }
    }
}
