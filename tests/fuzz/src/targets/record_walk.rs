//! What a producer sends, walked over in the broker: what is taken for a batch is one to another decoder too, which reads
//! it as a whole, and its header in the log says what its records say.

use std::io::Read as _;

use bytes::Bytes;
use model::{Compression, LeaderEpoch, Offset, RecordBatch, RecordIter, TimestampType};
use runtime::sim::SimWorld;
use storage::RecordChecker;

use super::batches::damaged_batch;
use super::data_directory::{TIMESTAMP, open, read_all};
use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let world = SimWorld::new(mutator.next());
    let node = world.node("a");
    world.block_on(async {
        let opened = open(&node).await.expect("a fresh directory opens");
        let log = &opened.log;
        let checker = RecordChecker::new(node.clone(), false);
        let mut taken = 0;
        for _ in 0..8 {
            let sent = checker.check(Bytes::from(damaged_batch(mutator))).await;
            let Ok(info) = log.append_checked(&sent, LeaderEpoch(0), TIMESTAMP) else { continue };
            if info.duplicate {
                continue;
            }
            taken += 1;
            read_by_another(&RecordBatch::parse(sent.bytes()).expect("it was taken"), info.max_timestamp);
        }
        log.flush().await.expect("the disk is good");
        let (found, outcome) = read_all(log, Offset(0)).await;
        outcome.expect("what was appended can be read");
        assert_eq!(found.len(), taken);
    });
    world.end();
}

/// Unpacks the batch with the codec's own means and decodes every record of it.
fn read_by_another(batch: &RecordBatch<'_>, stored_max_timestamp: i64) {
    let records = batch.records();
    let mut plain = Vec::new();
    let unpacked = match batch.compression().expect("a known codec") {
        Compression::None => records.to_vec(),
        Compression::Gzip => {
            let mut decoder = flate2::read::MultiGzDecoder::new(records);
            decoder.read_to_end(&mut plain).expect("gzip");
            plain
        }
        Compression::Snappy => match snap::raw::Decoder::new().decompress_vec(records) {
            Ok(plain) => plain,
            // Damage may have made it look like snappy-java's stream, which this decoder does not know.
            Err(error) => panic!("snappy: {error}"),
        },
        Compression::Lz4 => {
            let mut decoder = lz4_flex::frame::FrameDecoder::new(records);
            decoder.read_to_end(&mut plain).expect("lz4");
            plain
        }
        Compression::Zstd => zstd::decode_all(records).expect("zstd"),
    };
    let walk = RecordIter::new(&unpacked, batch.record_count(), Offset(0), batch.base_timestamp());
    let (mut count, mut largest) = (0, -1);
    for record in walk {
        let record = match record {
            Ok(record) => record,
            // Kafka takes the name of a header for text without looking; this decoder does look.
            Err(error) if error.0 == "header key is not UTF-8" => return,
            Err(error) => panic!("record {count}: {error}"),
        };
        assert_eq!(record.offset, Offset(count));
        count += 1;
        largest = record.timestamp.max(largest);
    }
    assert_eq!(count, i64::from(batch.record_count()));
    assert_eq!(count, i64::from(batch.last_offset_delta()) + 1);
    if batch.timestamp_type() == TimestampType::CreateTime {
        assert_eq!(stored_max_timestamp, largest);
    }
}
