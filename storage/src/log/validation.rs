//! What a topic's settings ask of a batch before it is appended, and the header it gets in the log.

use model::{LeaderEpoch, Offset, RecordBatch, TimestampType};

use crate::records::{ClientBatch, Facts, RecordRules, check_counts, invalid};
use crate::{AppendError, LogConfig};

/// The header of a batch as it goes to disk; the records behind it stay as they are.
pub(crate) type Header = [u8; RecordBatch::HEADER_SIZE];

/// A batch that may be appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appendable<'a> {
    pub(crate) batch: RecordBatch<'a>,
    /// The largest timestamp of its records.
    pub(crate) largest: i64,
}

/// The batch of a client, if the topic takes it. The rules are asked in Kafka's order: size, checksum, header, records.
pub(crate) fn client<'a>(
    sent: &'a ClientBatch,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Appendable<'a>, AppendError> {
    if let Ok(size) = RecordBatch::peek_size(sent.bytes())
        && size <= sent.bytes().len()
    {
        check_size(size, config)?;
    }
    let (batch, facts) = sent.checked()?;
    let rules = RecordRules::new(config, now_ms);
    if !rules.allow(&facts, batch.timestamp_type()) {
        return Err(AppendError::RecordsRefused(rules));
    }
    check_segment(batch.size(), config)?;
    Ok(Appendable { batch, largest: facts.largest })
}

/// The batches that the broker itself writes: what they say of their records is believed.
pub(crate) fn believed<'a>(bytes: &'a [u8], config: &LogConfig) -> Result<Vec<Appendable<'a>>, AppendError> {
    let mut batches = Vec::with_capacity(1);
    for batch in model::batches(bytes) {
        let batch = batch.map_err(AppendError::Corrupt)?;
        check_counts(&batch)?;
        check_size(batch.size(), config)?;
        batch.verify_crc().map_err(AppendError::Corrupt)?;
        let largest = Facts::of_header(batch.base_timestamp(), batch.max_timestamp()).largest;
        batches.push(Appendable { batch, largest });
    }
    if batches.is_empty() {
        return Err(invalid("no record batch"));
    }
    check_segment(bytes.len(), config)?;
    Ok(batches)
}

fn check_size(size: usize, config: &LogConfig) -> Result<(), AppendError> {
    let max = config.max_message_bytes;
    if size > max { Err(AppendError::TooLarge { size, max }) } else { Ok(()) }
}

fn check_segment(size: usize, config: &LogConfig) -> Result<(), AppendError> {
    let max = config.segment_bytes;
    let fits = u64::try_from(size).is_ok_and(|size| size <= max);
    if fits { Ok(()) } else { Err(AppendError::LargerThanSegment { size, max }) }
}

/// Whose time a batch has in the log, and the largest: the broker's where that is wanted, else that of its records.
pub(crate) const fn stored_times(
    appendable: &Appendable<'_>,
    log_append_time: Option<i64>,
) -> (TimestampType, i64) {
    match log_append_time {
        Some(now_ms) => (TimestampType::LogAppendTime, now_ms),
        None => (TimestampType::CreateTime, appendable.largest),
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
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

    /// What becomes of bytes that a client sends.
    fn outcome(bytes: &[u8], config: &LogConfig) -> &'static str {
        let sent = ClientBatch::check(Bytes::copy_from_slice(bytes));
        client(&sent, config, NOW).as_ref().map_or_else(name, |_| "ok")
    }

    fn name(error: &AppendError) -> &'static str {
        match error {
            AppendError::Corrupt(_) => "corrupt",
            AppendError::UnsupportedMagic(_) => "magic",
            AppendError::InvalidRecord { .. } => "batch",
            AppendError::RecordsRefused(_) => "records",
            AppendError::UnsupportedCompression(_) => "codec",
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
        let compact = LogConfig { compact: true, ..LogConfig::default() };
        let default = LogConfig::default();
        let negative = builder(NOW).producer(ProducerId(1), ProducerEpoch(0), Sequence(-1)).build().to_vec();
        let mut flipped = good.clone();
        flipped[70] ^= 1;
        let rows: Vec<(Vec<u8>, &LogConfig, &str)> = vec![
            (good.clone(), &default, "ok"),
            (good[..good.len() - 1].to_vec(), &default, "batch"),
            (good[..5].to_vec(), &default, "batch"),
            ([&good[..], &good[..good.len() - 1]].concat(), &default, "ok"),
            ([&good[..], &[0; 11]].concat(), &default, "ok"),
            ([&good[..], &[0; 12]].concat(), &default, "corrupt"),
            (vec![], &default, "batch"),
            ([good.clone(), good.clone()].concat(), &default, "batch"),
            (flipped, &default, "corrupt"),
            (patched(16, &[1]), &default, "magic"),
            (patched(16, &[3]), &default, "corrupt"),
            (patched(22, &[5]), &default, "codec"),
            (patched(22, &[1]), &default, "batch"),
            (patched(61, &[0x7e]), &default, "batch"),
            (patched(27, &(NOW + 3_600_001).to_be_bytes()), &default, "records"),
            (builder(NOW).build().to_vec(), &compact, "records"),
            (builder(NOW).build().to_vec(), &small, "large"),
            (patched(22, &[0x20]), &default, "batch"),
            (patched(22, &[0x08]), &default, "ok"),
            (patched(22, &[0x08]), &stamped, "records"),
            (patched(35, &0i64.to_be_bytes()), &default, "ok"),
            (patched(57, &0i32.to_be_bytes()), &default, "batch"),
            (patched(57, &2i32.to_be_bytes()), &default, "batch"),
            (patched(23, &(-1i32).to_be_bytes()), &default, "batch"),
            (patched_count(i32::MAX, i32::MAX), &default, "batch"),
            (patched(0, &5i64.to_be_bytes()), &default, "batch"),
            (negative, &default, "batch"),
            (good.clone(), &small, "large"),
            (good, &short, "segment"),
            (builder(NOW + 3_600_000).build().to_vec(), &default, "ok"),
            (builder(NOW + 3_600_001).build().to_vec(), &default, "records"),
            (builder(NOW - 1000).build().to_vec(), &past, "ok"),
            (builder(NOW - 1001).build().to_vec(), &past, "records"),
            (builder(NOW - 1001).build().to_vec(), &stamped, "ok"),
            (builder(-1).build().to_vec(), &past, "ok"),
        ];
        for (row, (bytes, config, expect)) in rows.iter().enumerate() {
            assert_eq!(outcome(bytes, config), *expect, "row {row}");
        }
    }

    #[test]
    fn the_broker_may_write_several_batches_and_control_records() {
        let bytes = [patched(22, &[0x20]), patched(0, &5i64.to_be_bytes())].concat();
        let batches = believed(&bytes, &LogConfig::default()).unwrap();
        assert_eq!(batches.len(), 2);
    }

    #[test]
    fn the_header_in_the_log_says_what_the_records_say() {
        let early = patched(35, &(NOW - 1).to_be_bytes());
        let late = patched(35, &(NOW + 1).to_be_bytes());
        let unset = patched(35, &(-1i64).to_be_bytes());
        for bytes in [patched(35, &NOW.to_be_bytes()), early, late, unset, patched(22, &[0x08])] {
            for time in [None, Some(77)] {
                let sent = ClientBatch::check(Bytes::copy_from_slice(&bytes));
                let one = client(&sent, &LogConfig::default(), NOW).unwrap();
                let mut stored = bytes.clone();
                let times = stored_times(&one, time);
                stored[..61].copy_from_slice(&header(&one.batch, Offset(40), LeaderEpoch(3), times));
                let stored = RecordBatch::parse(&stored).unwrap();
                assert_eq!(stored.verify_crc(), Ok(()));
                assert_eq!((stored.base_offset(), stored.leader_epoch()), (Offset(40), LeaderEpoch(3)));
                let expected = match time {
                    None => (TimestampType::CreateTime, NOW),
                    Some(now) => (TimestampType::LogAppendTime, now),
                };
                assert_eq!((stored.timestamp_type(), stored.max_timestamp()), expected);
                assert_eq!(stored.records(), one.batch.records());
            }
        }
    }

    #[test]
    fn what_the_broker_writes_is_believed() {
        let garbage = patched(61, &[0x7e]);
        assert_eq!(believed(&garbage, &LogConfig::default()).unwrap()[0].largest, NOW);
    }
}
