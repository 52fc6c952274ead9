//! Records of internal logs, with and without the type and version before them.

use net::protocol::records::{GroupRecord, MetadataRecord, ShareRecord, TransactionRecord, any};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let kinds = ["coordinator-key", "coordinator-value", "metadata", "data"];
    let (schema, version, mut body) = super::sample(mutator, &kinds);
    mutator.mutate(&mut body);
    if let Ok(again) = any::reencode(&schema.name, version, &body).expect("a record of the schemas") {
        let twice = any::reencode(&schema.name, version, &again).expect("the same record");
        assert_eq!(twice.expect("what was encoded decodes"), again);
    }

    let prefix = schema.key.unwrap_or(0).to_be_bytes();
    let mut key = [&prefix[..], &body].concat();
    let mut value = [&version.to_be_bytes()[..], &body].concat();
    mutator.mutate(&mut key);
    mutator.mutate(&mut value);
    // Either answer is right; only a panic is wrong.
    let _ = GroupRecord::decode(&key, Some(&value));
    let _ = TransactionRecord::decode(&key, Some(&value));
    let _ = ShareRecord::decode(&key, Some(&value));
    let mut frame = [&[1, prefix[1], 0][..], &body].concat();
    mutator.mutate(&mut frame);
    let _ = MetadataRecord::decode(&frame);
}
