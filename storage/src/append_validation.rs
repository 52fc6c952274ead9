//! The rules a batch must keep before it is appended, in Kafka's order (`LogValidator`,
//! `UnifiedLog.analyzeAndValidateRecords`), and the header it gets. Looks at nothing behind the header.

use model::{BatchError, Compression, LeaderEpoch, Offset, RecordBatch, TimestampType};

use crate::{AppendError, AppendOrigin, LogConfig};

/// The header of a batch as it goes to disk; the records behind it stay as they are.
pub(crate) type Header = [u8; RecordBatch::HEADER_SIZE];

/// Parses the batches of one append and checks each; the checksum last, since it costs most.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    origin: AppendOrigin,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Vec<RecordBatch<'a>>, AppendError> {
    let batches = match origin {
        AppendOrigin::Client => vec![client_batch(bytes)?],
        AppendOrigin::Internal => {
            model::batches(bytes).collect::<Result<_, _>>().map_err(AppendError::Corrupt)?
        }
    };
    if batches.is_empty() {
        return Err(invalid("no record batch"));
    }
    for batch in &batches {
        check(batch, origin, config, now_ms)?;
    }
    let size = batches.iter().map(RecordBatch::size).sum();
    if u64::try_from(size).unwrap_or(u64::MAX) > config.segment_bytes {
        return Err(AppendError::LargerThanSegment { size, max: config.segment_bytes });
    }
    Ok(batches)
}

/// The one batch that a client may send. The beginning of another behind it is left out, as in Kafka.
fn client_batch(bytes: &[u8]) -> Result<RecordBatch<'_>, AppendError> {
    let Some(batch) = whole_batch(bytes)? else { return Err(invalid("no whole record batch")) };
    match whole_batch(&bytes[batch.size()..])? {
        None => Ok(batch),
        Some(_) => Err(invalid("more than one record batch for a partition")),
    }
}

/// The batch at the start of `bytes`, unless it is cut off.
fn whole_batch(bytes: &[u8]) -> Result<Option<RecordBatch<'_>>, AppendError> {
    match RecordBatch::parse(bytes) {
        Ok(batch) => Ok(Some(batch)),
        Err(BatchError::Truncated { .. }) => Ok(None),
        Err(BatchError::Magic(magic @ 0..2)) => Err(AppendError::UnsupportedMagic(magic)),
        Err(other) => Err(AppendError::Corrupt(other)),
    }
}

fn check(
    batch: &RecordBatch<'_>,
    origin: AppendOrigin,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    let count = batch.record_count();
    if batch.last_offset_delta() < 0 || count <= 0 {
        return Err(invalid(format!("invalid reported count for record batch: {count}")));
    }
    if i64::from(count) != i64::from(batch.last_offset_delta()) + 1 {
        let last = batch.last_offset_delta();
        return Err(invalid(format!("inconsistent batch offset range [0, {last}] and count {count}")));
    }
    if batch.compression().is_none() {
        return Err(AppendError::UnsupportedCompression(batch.attributes() & 7));
    }
    if batch.size() > config.max_message_bytes {
        return Err(AppendError::TooLarge { size: batch.size(), max: config.max_message_bytes });
    }
    batch.verify_crc().map_err(AppendError::Corrupt)?;
    if origin == AppendOrigin::Client {
        check_client(batch, config, now_ms)?;
    }
    Ok(())
}

fn check_client(batch: &RecordBatch<'_>, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    if batch.base_offset() != Offset::ZERO {
        let base = batch.base_offset();
        return Err(invalid(format!("the baseOffset of the record batch should be 0, but it is {base}")));
    }
    if batch.is_control() {
        return Err(invalid("clients are not allowed to write control records"));
    }
    if batch.producer_id().is_some() && batch.base_sequence().0 < 0 {
        let (sequence, id) = (batch.base_sequence(), batch.producer_id());
        return Err(invalid(format!("invalid sequence number {sequence} of producer {id}")));
    }
    if config.compact && batch.compression() == Some(Compression::None) {
        check_keys(batch)?;
    }
    check_times(batch, config, now_ms)
}

/// Every record of a compacted topic has a key. Only checked where the records can be read without unpacking them.
fn check_keys(batch: &RecordBatch<'_>) -> Result<(), AppendError> {
    for (index, record) in (0..).zip(batch.iter()) {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        if record.key.is_none() {
            let message = "a compacted topic cannot accept a record without a key".to_owned();
            return Err(AppendError::InvalidRecord { record_index: Some(index), message });
        }
    }
    Ok(())
}

fn check_times(batch: &RecordBatch<'_>, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    // The header does not tell which of several records it is.
    let record_index = (batch.record_count() == 1).then_some(0);
    if config.timestamp_type == TimestampType::LogAppendTime {
        // Where the producers' times do not count, Kafka still minds their claim that these are the broker's.
        return match batch.timestamp_type() {
            TimestampType::CreateTime => Ok(()),
            TimestampType::LogAppendTime => {
                let message = "producers must not set the timestamp type to LogAppendTime".to_owned();
                Err(AppendError::InvalidTimestamp { record_index, message })
            }
        };
    }
    let oldest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let newest = now_ms.saturating_add(config.timestamp_after_max_ms);
    for timestamp in [batch.base_timestamp(), batch.max_timestamp()] {
        if timestamp != -1 && !(oldest..=newest).contains(&timestamp) {
            let message =
                format!("timestamp {timestamp} is out of range: it should be within [{oldest}, {newest}]");
            return Err(AppendError::InvalidTimestamp { record_index, message });
        }
    }
    Ok(())
}

/// Whose time a batch has in the log, and the largest: the broker's where that is wanted, else the producer's.
pub(crate) fn stored_times(batch: &RecordBatch<'_>, log_append_time: Option<i64>) -> (TimestampType, i64) {
    match log_append_time {
        Some(now_ms) => (TimestampType::LogAppendTime, now_ms),
        // Less than the first record's time cannot be true, and would hide the batch from a search by time.
        None => (TimestampType::CreateTime, batch.max_timestamp().max(batch.base_timestamp())),
    }
}

/// The header that the batch gets in the log: offset, epoch, and [`stored_times`].
pub(crate) fn header(
    batch: &RecordBatch<'_>,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    (timestamp_type, max_timestamp): (TimestampType, i64),
) -> Header {
    let mut header: Header = [0; RecordBatch::HEADER_SIZE];
    header.copy_from_slice(&batch.bytes()[..RecordBatch::HEADER_SIZE]);
    header[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    if (timestamp_type, max_timestamp) != (batch.timestamp_type(), batch.max_timestamp()) {
        let attributes = match timestamp_type {
            TimestampType::CreateTime => batch.attributes() & !0x08,
            TimestampType::LogAppendTime => batch.attributes() | 0x08,
        };
        header[21..23].copy_from_slice(&attributes.to_be_bytes());
        header[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
        let crc = crc32c::crc32c(&header[RecordBatch::CRC_START..]);
        let crc = crc32c::crc32c_append(crc, batch.records());
        header[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    header
}

/// A rule about the batch as a whole.
fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord { record_index: None, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence};

    const NOW: i64 = 1_000_000_000;

    fn builder(timestamp: i64) -> RecordBatchBuilder {
        RecordBatchBuilder::new(Offset(0)).record(timestamp, None, Some(b"value"))
    }

    /// Overwrites bytes and makes the checksum right again.
    fn patched(at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = builder(NOW).build().to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// A batch that claims this distance to its last offset and this many records.
    fn patched_count(last_offset_delta: i32, count: i32) -> Vec<u8> {
        let mut bytes = patched(23, &last_offset_delta.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn name(error: &AppendError) -> &'static str {
        match error {
            AppendError::Corrupt(_) => "corrupt",
            AppendError::UnsupportedMagic(_) => "magic",
            AppendError::InvalidRecord { .. } => "record",
            AppendError::UnsupportedCompression(_) => "codec",
            AppendError::InvalidTimestamp { .. } => "timestamp",
            AppendError::TooLarge { .. } => "large",
            AppendError::LargerThanSegment { .. } => "segment",
            _ => "other",
        }
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        let good = builder(NOW).build().to_vec();
        let small = LogConfig { max_message_bytes: 60, ..LogConfig::default() };
        let short = LogConfig { segment_bytes: 60, ..LogConfig::default() };
        let past = LogConfig { timestamp_before_max_ms: 1000, ..LogConfig::default() };
        let stamped = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..past.clone() };
        let default = LogConfig::default();
        let negative = builder(NOW).producer(ProducerId(1), ProducerEpoch(0), Sequence(-1)).build().to_vec();
        let mut flipped = good.clone();
        flipped[70] ^= 1;
        let rows: Vec<(Vec<u8>, &LogConfig, &str)> = vec![
            (good.clone(), &default, "ok"),
            (good[..good.len() - 1].to_vec(), &default, "record"),
            (good[..5].to_vec(), &default, "record"),
            ([&good[..], &good[..good.len() - 1]].concat(), &default, "ok"),
            ([&good[..], &[0; 11]].concat(), &default, "ok"),
            ([&good[..], &[0; 12]].concat(), &default, "corrupt"),
            (vec![], &default, "record"),
            ([good.clone(), good.clone()].concat(), &default, "record"),
            (flipped, &default, "corrupt"),
            (patched(16, &[1]), &default, "magic"),
            (patched(16, &[3]), &default, "corrupt"),
            (patched(22, &[5]), &default, "codec"),
            (patched(22, &[0x20]), &default, "record"),
            (patched(22, &[0x08]), &default, "ok"),
            (patched(22, &[0x08]), &stamped, "timestamp"),
            (patched(35, &0i64.to_be_bytes()), &default, "ok"),
            (patched(57, &0i32.to_be_bytes()), &default, "record"),
            (patched(57, &2i32.to_be_bytes()), &default, "record"),
            (patched(23, &(-1i32).to_be_bytes()), &default, "record"),
            (patched_count(i32::MAX, i32::MAX), &default, "record"),
            (patched(0, &5i64.to_be_bytes()), &default, "record"),
            (negative, &default, "record"),
            (good.clone(), &small, "large"),
            (good, &short, "segment"),
            (builder(NOW + 3_600_000).build().to_vec(), &default, "ok"),
            (builder(NOW + 3_600_001).build().to_vec(), &default, "timestamp"),
            (builder(NOW - 1000).build().to_vec(), &past, "ok"),
            (builder(NOW - 1001).build().to_vec(), &past, "timestamp"),
            (builder(NOW - 1001).build().to_vec(), &stamped, "ok"),
            (builder(-1).build().to_vec(), &past, "ok"),
        ];
        for (row, (bytes, config, expect)) in rows.iter().enumerate() {
            let outcome = parse(bytes, AppendOrigin::Client, config, NOW);
            assert_eq!(outcome.as_ref().map_or_else(name, |_| "ok"), *expect, "row {row}");
        }
    }

    #[test]
    fn the_broker_may_write_several_batches_and_control_records() {
        let bytes = [patched(22, &[0x20]), patched(0, &5i64.to_be_bytes())].concat();
        let batches = parse(&bytes, AppendOrigin::Internal, &LogConfig::default(), NOW).unwrap();
        assert_eq!(batches.len(), 2);
    }

    #[test]
    fn the_new_header_keeps_the_checksum_true() {
        let bytes = builder(NOW).build();
        let batch = RecordBatch::parse(&bytes).unwrap();
        for time in [None, Some(77)] {
            let mut patched = bytes.to_vec();
            patched[..61].copy_from_slice(&header(
                &batch,
                Offset(40),
                LeaderEpoch(3),
                stored_times(&batch, time),
            ));
            let back = RecordBatch::parse(&patched).unwrap();
            assert_eq!(back.verify_crc(), Ok(()));
            assert_eq!((back.base_offset(), back.leader_epoch()), (Offset(40), LeaderEpoch(3)));
            assert_eq!(back.max_timestamp(), time.unwrap_or(NOW));
        }
    }

    #[test]
    fn what_a_client_says_of_times_is_put_right() {
        let early = patched(35, &(NOW - 1).to_be_bytes());
        for bytes in [early, patched(35, &(-1i64).to_be_bytes()), patched(22, &[0x08])] {
            let batch = RecordBatch::parse(&bytes).unwrap();
            let mut stored = bytes.clone();
            stored[..61].copy_from_slice(&header(
                &batch,
                Offset(0),
                LeaderEpoch(0),
                stored_times(&batch, None),
            ));
            let stored = RecordBatch::parse(&stored).unwrap();
            assert_eq!((stored.timestamp_type(), stored.max_timestamp()), (TimestampType::CreateTime, NOW));
            assert_eq!(stored.verify_crc(), Ok(()));
        }
    }

    #[test]
    fn an_error_names_the_record_only_where_it_is_known() {
        let compact = LogConfig { compact: true, ..LogConfig::default() };
        let keyed = |timestamp| RecordBatchBuilder::new(Offset(0)).record(timestamp, Some(b"k"), None);
        let late = NOW + 3_600_001;
        let mut cut = keyed(NOW).build().to_vec();
        cut[61] += 2;
        let crc = crc32c::crc32c(&cut[RecordBatch::CRC_START..]);
        cut[17..21].copy_from_slice(&crc.to_be_bytes());
        let rows: [(Vec<u8>, &str, Option<i32>); 7] = [
            (keyed(NOW).build().to_vec(), "ok", None),
            (builder(NOW).build().to_vec(), "record", Some(0)),
            (keyed(NOW).record(NOW, None, None).build().to_vec(), "record", Some(1)),
            (cut, "record", None),
            (patched(22, &[1]), "ok", None),
            (keyed(late).build().to_vec(), "timestamp", Some(0)),
            (keyed(NOW).record(late, Some(b"k"), None).build().to_vec(), "timestamp", None),
        ];
        for (row, (bytes, expect, index)) in rows.iter().enumerate() {
            let outcome = parse(bytes, AppendOrigin::Client, &compact, NOW);
            assert_eq!(outcome.as_ref().map_or_else(name, |_| "ok"), *expect, "row {row}");
            if let Err(
                AppendError::InvalidRecord { record_index, .. }
                | AppendError::InvalidTimestamp { record_index, .. },
            ) = outcome
            {
                assert_eq!(record_index, *index, "row {row}");
            }
        }
    }
}
