//! Batches of the metadata log: what can be read makes an image, and anything else is an error.

use broker::metadata::ImageBuilder;
use model::{Offset, RecordBatch, RecordBatchBuilder};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let mut builder = RecordBatchBuilder::new(Offset(0));
    for _ in 0..=mutator.below(6) {
        let (schema, version, body) = super::sample(mutator, &["metadata"]);
        let key = schema.key.and_then(|key| u8::try_from(key).ok()).unwrap_or(0);
        let version = u8::try_from(version).expect("versions are small");
        let mut frame = [&[1, key, version][..], &body].concat();
        if mutator.below(4) == 0 {
            mutator.mutate(&mut frame);
        }
        builder = builder.record(0, None, Some(&frame));
    }
    let mut bytes = builder.build().to_vec();
    if mutator.below(4) == 0 {
        mutator.mutate(&mut bytes);
    }
    let Ok(batch) = RecordBatch::parse(&bytes) else { return };
    let mut image = ImageBuilder::default();
    // Either answer is right; only a panic is wrong.
    let _ = image.apply_batch(&batch);
    let image = image.build();
    for topic in image.topics() {
        assert_eq!(image.topic(&topic.name).map(|found| found.id), Some(topic.id));
    }
}
