//! Fetch v12 on the wire: sessionless requests by topic name, responses parsed in place.

use anyhow::{Result, ensure};

use crate::wire::{self, Cursor};

/// The one version spoken.
pub(crate) const FETCH_VERSION: i16 = 12;
/// API key of Fetch.
pub(crate) const FETCH_KEY: i16 = 1;

/// Limits of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// How long the broker may wait for `bytes_min`.
    pub(crate) wait_ms_max: i32,
    /// Fewer bytes than this are worth waiting for.
    pub(crate) bytes_min: i32,
    /// Bytes of a whole response.
    pub(crate) bytes_max: i32,
    /// Bytes of one partition.
    pub(crate) partition_bytes_max: i32,
}

/// Appends a request for `positions` (partition and offset) to `out`.
pub(crate) fn put_fetch_request(
    out: &mut Vec<u8>,
    correlation: i32,
    topic: &str,
    limits: &FetchLimits,
    positions: impl ExactSizeIterator<Item = (u32, i64)>,
) {
    let start = wire::begin_request(out, FETCH_KEY, FETCH_VERSION, correlation);
    out.extend_from_slice(&(-1i32).to_be_bytes()); // An ordinary consumer.
    for limit in [limits.wait_ms_max, limits.bytes_min, limits.bytes_max] {
        out.extend_from_slice(&limit.to_be_bytes());
    }
    out.push(0); // Read uncommitted.
    out.extend_from_slice(&0i32.to_be_bytes()); // No session,
    out.extend_from_slice(&(-1i32).to_be_bytes()); // and none wanted.
    wire::put_uvarint(out, 2);
    wire::put_compact_string(out, topic);
    wire::put_uvarint(out, wire::len_u32(positions.len()) + 1);
    for (partition, offset) in positions {
        out.extend_from_slice(&partition.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes()); // Leader epoch unknown.
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes()); // Last fetched epoch.
        out.extend_from_slice(&(-1i64).to_be_bytes()); // Log start offset of a follower.
        out.extend_from_slice(&limits.partition_bytes_max.to_be_bytes());
        out.push(0);
    }
    out.extend_from_slice(&[0, 1, 1, 0]); // Tags, nothing forgotten, no rack, tags.
    wire::finish_request(out, start);
}

/// One partition's part of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchedPartition<'a> {
    /// Partition index.
    pub(crate) partition: u32,
    /// Kafka error code, 0 for success.
    pub(crate) error: i16,
    /// Record batches, the last one perhaps cut off.
    pub(crate) records: &'a [u8],
}

/// Parses a response frame (after its size field): calls `each` per partition, returns correlation id and top-level error.
pub(crate) fn parse_fetch_response<'a>(
    frame: &'a [u8],
    mut each: impl FnMut(FetchedPartition<'a>) -> Result<()>,
) -> Result<(i32, i16)> {
    let mut cursor = Cursor::new(frame);
    let correlation = cursor.i32()?;
    cursor.skip_tags()?;
    cursor.i32()?; // Throttle time.
    let error = cursor.i16()?;
    cursor.i32()?; // Session.
    for _ in 0..cursor.compact_len()? {
        cursor.compact_bytes()?;
        for _ in 0..cursor.compact_len()? {
            let partition = cursor.u32()?;
            let error = cursor.i16()?;
            // High watermark, last stable offset, log start offset. Apache Kafka takes the first before it reads, so a
            // record may lie above it.
            cursor.take(24)?;
            for _ in 0..cursor.compact_len()? {
                cursor.take(16)?;
                cursor.skip_tags()?;
            }
            cursor.i32()?; // Preferred replica.
            let records = cursor.compact_bytes()?;
            cursor.skip_tags()?;
            each(FetchedPartition { partition, error, records })?;
        }
        cursor.skip_tags()?;
    }
    cursor.skip_tags()?;
    ensure!(cursor.rest().is_empty(), "{} bytes after the end of a Fetch response", cursor.rest().len());
    Ok((correlation, error))
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::{FetchRequest, RequestHeader, ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    #[test]
    fn an_independent_decoder_reads_requests() {
        let limits =
            FetchLimits { wait_ms_max: 100, bytes_min: 1, bytes_max: 5_000, partition_bytes_max: 1_000 };
        let mut out = Vec::new();
        put_fetch_request(&mut out, 9, "topic", &limits, [(3, 17), (4, 0)].into_iter());
        let mut frame = Bytes::from(out);
        assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
        let header = RequestHeader::decode(&mut frame, 2).unwrap();
        assert_eq!((header.request_api_key, header.correlation_id), (FETCH_KEY, 9));
        let request = FetchRequest::decode(&mut frame, FETCH_VERSION).unwrap();
        assert!(!frame.has_remaining());
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (100, 1, 5_000));
        assert_eq!((request.session_id, request.session_epoch), (0, -1));
        let asked = &request.topics[0].partitions;
        assert_eq!((asked[0].partition, asked[0].fetch_offset), (3, 17));
        assert_eq!((asked[1].partition, asked[1].partition_max_bytes), (4, 1_000));
    }

    #[test]
    fn responses_of_the_independent_codec_are_parsed() {
        let partition = PartitionData::default()
            .with_partition_index(6)
            .with_high_watermark(44)
            .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
            .with_records(Some(Bytes::from_static(b"abc")));
        let empty = PartitionData::default().with_partition_index(7).with_error_code(1);
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition, empty]);
        let mut frame = Vec::new();
        ResponseHeader::default().with_correlation_id(3).encode(&mut frame, 1).unwrap();
        FetchResponse::default().with_responses(vec![topic]).encode(&mut frame, FETCH_VERSION).unwrap();

        let mut seen = Vec::new();
        let parsed = parse_fetch_response(&frame, |part| {
            seen.push((part.partition, part.error, part.records.to_vec()));
            Ok(())
        });
        assert_eq!(parsed.unwrap(), (3, 0));
        assert_eq!(seen, [(6, 0, b"abc".to_vec()), (7, 1, Vec::new())]);
        for len in 0..frame.len() {
            assert!(parse_fetch_response(&frame[..len], |_| Ok(())).is_err(), "cut at {len}");
        }
    }
}
