//! The rules a batch must keep before it is appended, in Kafka's order (`LogValidator`,
//! `UnifiedLog.analyzeAndValidateRecords`), and the header it gets. Looks at nothing behind the header.

use model::{BatchError, LeaderEpoch, Offset, RecordBatch, TimestampType};

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
    let mut batches = Vec::with_capacity(1);
    let mut rest = bytes;
    while !rest.is_empty() {
        let batch = RecordBatch::parse(rest).map_err(|error| match error {
            BatchError::Magic(magic @ 0..2) => AppendError::UnsupportedMagic(magic),
            other => AppendError::Corrupt(other),
        })?;
        rest = &rest[batch.size()..];
        batches.push(batch);
        if origin == AppendOrigin::Client && batches.len() > 1 {
            return Err(invalid(0, "more than one record batch for a partition"));
        }
    }
    if batches.is_empty() {
        return Err(invalid(0, "no record batch"));
    }
    for (index, batch) in batches.iter().enumerate() {
        check(batch, i32::try_from(index).unwrap_or(i32::MAX), origin, config, now_ms)?;
    }
    let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if total > config.segment_bytes {
        return Err(AppendError::LargerThanSegment { size: bytes.len(), max: config.segment_bytes });
    }
    Ok(batches)
}

fn check(
    batch: &RecordBatch<'_>,
    batch_index: i32,
    origin: AppendOrigin,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    let count = batch.record_count();
    if batch.last_offset_delta() < 0 || count <= 0 {
        return Err(invalid(batch_index, format!("invalid reported count for record batch: {count}")));
    }
    if i64::from(count) != i64::from(batch.last_offset_delta()) + 1 {
        let last = batch.last_offset_delta();
        return Err(invalid(
            batch_index,
            format!("inconsistent batch offset range [0, {last}] and count {count}"),
        ));
    }
    if batch.compression().is_none() {
        return Err(AppendError::UnsupportedCompression(batch.attributes() & 7));
    }
    if batch.size() > config.max_message_bytes {
        return Err(AppendError::TooLarge { size: batch.size(), max: config.max_message_bytes });
    }
    batch.verify_crc().map_err(AppendError::Corrupt)?;
    if origin == AppendOrigin::Client {
        check_client(batch, batch_index, config, now_ms)?;
    }
    Ok(())
}

fn check_client(
    batch: &RecordBatch<'_>,
    batch_index: i32,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    if batch.base_offset() != Offset::ZERO {
        let base = batch.base_offset();
        return Err(invalid(
            batch_index,
            format!("the baseOffset of the record batch should be 0, but it is {base}"),
        ));
    }
    if batch.is_control() {
        return Err(invalid(batch_index, "clients are not allowed to write control records"));
    }
    if batch.producer_id().is_some() && batch.base_sequence().0 < 0 {
        let (sequence, id) = (batch.base_sequence(), batch.producer_id());
        return Err(invalid(batch_index, format!("invalid sequence number {sequence} of producer {id}")));
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        let message = "producers must not set the timestamp type to LogAppendTime".to_owned();
        return Err(AppendError::InvalidTimestamp { batch_index, message });
    }
    let oldest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let newest = now_ms.saturating_add(config.timestamp_after_max_ms);
    for timestamp in [batch.base_timestamp(), batch.max_timestamp()] {
        if timestamp != -1 && !(oldest..=newest).contains(&timestamp) {
            let message =
                format!("timestamp {timestamp} is out of range: it should be within [{oldest}, {newest}]");
            return Err(AppendError::InvalidTimestamp { batch_index, message });
        }
    }
    Ok(())
}

/// The header that the batch gets in the log: offset, epoch, and the broker's time where that is wanted.
pub(crate) fn header(
    batch: &RecordBatch<'_>,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    log_append_time: Option<i64>,
) -> Header {
    let mut header: Header = [0; RecordBatch::HEADER_SIZE];
    header.copy_from_slice(&batch.bytes()[..RecordBatch::HEADER_SIZE]);
    header[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    if let Some(now_ms) = log_append_time {
        let attributes = batch.attributes() | 0x08;
        header[21..23].copy_from_slice(&attributes.to_be_bytes());
        header[35..43].copy_from_slice(&now_ms.to_be_bytes());
        let crc = crc32c::crc32c(&header[RecordBatch::CRC_START..]);
        let crc = crc32c::crc32c_append(crc, batch.records());
        header[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    header
}

fn invalid(batch_index: i32, message: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord { batch_index, message: message.into() }
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
            (good[..good.len() - 1].to_vec(), &default, "corrupt"),
            (good[..5].to_vec(), &default, "corrupt"),
            (vec![], &default, "record"),
            ([good.clone(), good.clone()].concat(), &default, "record"),
            (flipped, &default, "corrupt"),
            (patched(16, &[1]), &default, "magic"),
            (patched(16, &[3]), &default, "corrupt"),
            (patched(22, &[5]), &default, "codec"),
            (patched(22, &[0x20]), &default, "record"),
            (patched(22, &[0x08]), &default, "timestamp"),
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
            patched[..61].copy_from_slice(&header(&batch, Offset(40), LeaderEpoch(3), time));
            let back = RecordBatch::parse(&patched).unwrap();
            assert_eq!(back.verify_crc(), Ok(()));
            assert_eq!((back.base_offset(), back.leader_epoch()), (Offset(40), LeaderEpoch(3)));
            assert_eq!(back.max_timestamp(), time.unwrap_or(NOW));
        }
    }
}
