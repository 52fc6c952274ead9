//! What the records of internal topics mean, for `dump-log`.

use net::protocol::records::{GroupRecord, MetadataRecord};

use crate::coordination::directory::GROUP_TOPIC;
use crate::metadata::CLUSTER_METADATA;

/// A record in words, if it is of an internal topic.
#[must_use]
pub fn describe(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<String> {
    match topic {
        GROUP_TOPIC => Some(match GroupRecord::decode(key?, value) {
            Ok(record) => format!("{record:?}"),
            Err(error) => format!("not understood: {error}"),
        }),
        CLUSTER_METADATA => Some(match MetadataRecord::decode(value?) {
            Ok(record) => format!("{record:?}"),
            Err(error) => format!("not understood: {error}"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use net::protocol::records::offset_commit::OffsetCommitKey;
    use net::protocol::records::topic_record::TopicRecord;
    use net::protocol::{RecordKey, encode_metadata};

    use super::*;

    #[test]
    fn records_of_internal_topics_are_told_in_words() {
        let key = OffsetCommitKey { group: "readers".to_owned(), topic: "orders".to_owned(), partition: 3 };
        let key = key.encode().unwrap();
        let told = describe(GROUP_TOPIC, Some(&key), None).unwrap();
        for word in ["OffsetCommit", "readers", "orders", "3", "None"] {
            assert!(told.contains(word), "{word} is not in {told}");
        }
        let topic = TopicRecord { name: "orders".to_owned(), ..TopicRecord::default() };
        let told = describe(CLUSTER_METADATA, None, Some(&encode_metadata(&topic, 0).unwrap())).unwrap();
        assert!(told.contains("Topic") && told.contains("orders"), "{told}");
        let told = describe(GROUP_TOPIC, Some(b"\xff\xff"), None).unwrap();
        assert!(told.starts_with("not understood"), "{told}");
        assert_eq!(describe("orders", Some(b"k"), Some(b"v")), None);
    }
}
