//! Record batches as producers send them: what a parsed batch says about itself stays within its bytes.

use model::{Offset, RecordBatchBuilder, batches};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let mut bytes = Vec::new();
    for batch in 0..=mutator.below(3) {
        let mut builder = RecordBatchBuilder::new(Offset(i64::try_from(batch).expect("small")));
        for record in 0..=mutator.below(4) {
            let value = vec![0x5a; mutator.below(100)];
            let value = (record % 3 != 1).then_some(&value[..]);
            builder = builder.record(1_700_000_000_000, Some(b"key"), value);
        }
        bytes.extend(builder.build());
    }
    mutator.mutate(&mut bytes);
    let mut total = 0;
    for batch in batches(&bytes) {
        let Ok(batch) = batch else { return };
        // Either answer is right; only a panic is wrong.
        let _ = batch.verify_crc();
        let _ = (batch.last_offset(), batch.next_offset(), batch.last_sequence(), batch.compression());
        total += batch.records().len();
        assert!(total <= bytes.len());
        for record in batch.iter() {
            if record.is_err() {
                break;
            }
        }
    }
}
