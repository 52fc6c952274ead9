//! The hand-written part of the protocol: headers, frames, holes for records, the fallback of `ApiVersions`, and the
//! values that a version cannot express.

use std::borrow::Cow;

use bytes::Bytes;

use super::*;

fn flat(segments: &[Segment]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in segments {
        match segment {
            Segment::Bytes(more) => bytes.extend_from_slice(more),
            Segment::External { token, length } => {
                bytes.extend(vec![u8::try_from(*token).unwrap(); *length as usize])
            }
        }
    }
    bytes
}

#[test]
fn request_headers_are_read_by_the_rules_of_their_api() {
    let rows = [
        (&b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x02me"[..], ApiKey::ApiVersions, 0, Some("me"), 0),
        (&b"\x00\x12\x00\x03\x00\x00\x00\x07\xff\xff\x00body"[..], ApiKey::ApiVersions, 3, None, 4),
        (
            &b"\x00\x12\x00\x63\x00\x00\x00\x07\x00\x00\x01\x05\x01xbody"[..],
            ApiKey::ApiVersions,
            99,
            Some(""),
            4,
        ),
        (&b"\x00\x00\x00\x08\x00\x00\x00\x07\x00\x02mebody"[..], ApiKey::Produce, 8, Some("me"), 4),
        (&b"\x00\x00\x00\x09\x00\x00\x00\x07\x00\x02me\x00body"[..], ApiKey::Produce, 9, Some("me"), 4),
        (&b"\x00\x00\x00\x08\x00\x00\x00\x07\x00\x02\xffebody"[..], ApiKey::Produce, 8, Some("\u{fffd}e"), 4),
        (&b"\x00\x11\x00\x7f\x00\x00\x00\x07\x00\x02mebody"[..], ApiKey::SaslHandshake, 127, Some("me"), 4),
    ];
    for (frame, api_key, api_version, client_id, body) in rows {
        let header = RequestHeader {
            api_key,
            api_version,
            correlation_id: 7,
            client_id: client_id.map(Cow::Borrowed),
        };
        let (read, rest) = RequestHeader::decode(frame).unwrap();
        assert_eq!((read, rest.len()), (header, body));
        for cut in 0..frame.len() - body {
            assert!(RequestHeader::decode(&frame[..cut]).is_err(), "{api_key:?} cut at {cut}");
        }
    }
    for unknown in [-1, 4, 5, 6, 7, 52, 1000] {
        let frame = [&i16::to_be_bytes(unknown)[..], &[0; 20]].concat();
        assert_eq!(RequestHeader::decode(&frame), Err(DecodeError::UnknownApiKey(unknown)));
    }
}

#[test]
fn versions_are_those_of_kafka() {
    let rows = [
        (ApiKey::Produce, 0, 3, 13, Some(9)),
        (ApiKey::Fetch, 1, 4, 18, Some(12)),
        (ApiKey::Metadata, 3, 0, 13, Some(9)),
        (ApiKey::SaslHandshake, 17, 0, 1, None),
        (ApiKey::ApiVersions, 18, 0, 5, Some(3)),
        (ApiKey::InitProducerId, 22, 0, 5, Some(2)),
        (ApiKey::ShareFetch, 78, 1, 2, Some(0)),
    ];
    for (key, code, min, max, flexible) in rows {
        assert_eq!((key.code(), key.min_version(), key.max_version()), (code, min, max));
        assert_eq!(key.first_flexible_version(), flexible);
    }
    assert_eq!(ApiKey::InitProducerId.max_version_unstable(), 6);
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::try_from(key.code()), Ok(*key));
        let header =
            (key.request_header_version(key.max_version()), key.response_header_version(key.max_version()));
        match key {
            ApiKey::ApiVersions => assert_eq!(header, (2, 0)),
            ApiKey::SaslHandshake | ApiKey::OffsetDelete => assert_eq!(header, (1, 0)),
            _ => assert_eq!(header, (2, 1)),
        }
    }
}

#[test]
fn error_codes_are_those_of_kafka() {
    let rows = [
        (ErrorCode::UnknownServerError, -1, "UNKNOWN_SERVER_ERROR", false),
        (ErrorCode::None, 0, "NONE", false),
        (ErrorCode::NotLeaderOrFollower, 6, "NOT_LEADER_OR_FOLLOWER", true),
        (ErrorCode::UnsupportedVersion, 35, "UNSUPPORTED_VERSION", false),
        (ErrorCode::KafkaStorageError, 56, "KAFKA_STORAGE_ERROR", true),
        (ErrorCode::RebootstrapRequired, 129, "REBOOTSTRAP_REQUIRED", false),
    ];
    for (code, number, name, retriable) in rows {
        assert_eq!((code.code(), code.name(), code.is_retriable()), (number, name, retriable));
    }
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::try_from(code.code()), Ok(*code));
    }
    assert_eq!(ErrorCode::try_from(12345), Err(UnknownErrorCode(12345)));
}

/// The bytes that Apache Kafka 4.3.1 sent, with this release's highest version.
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let segments = unsupported_api_versions_response(0x01020304).unwrap().segments;
    assert_eq!(
        flat(&segments),
        b"\x00\x00\x00\x10\x01\x02\x03\x04\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x05"
    );
}

fn fetch_response(records: Records) -> fetch::FetchResponse {
    let partition = fetch::PartitionData { records: Some(records), ..Default::default() };
    let topic = fetch::FetchableTopicResponse {
        partitions: vec![partition.clone(), partition],
        ..Default::default()
    };
    fetch::FetchResponse { responses: vec![topic], ..Default::default() }
}

#[test]
fn record_bytes_are_not_copied_into_a_response() {
    let memory = Bytes::from(vec![7; 300]);
    for version in fetch::FetchResponse::MIN_VERSION..=fetch::FetchResponse::MAX_VERSION {
        let external = RecordsPart::External { token: 7, length: 200 };
        let parts = [RecordsPart::Memory(memory.clone()), external, RecordsPart::Memory(Bytes::new())];
        let with_holes =
            encode_response(version, 1, &fetch_response(parts.into_iter().collect())).unwrap().segments;
        let shared =
            with_holes.iter().filter(|s| matches!(s, Segment::Bytes(b) if b.as_ptr() == memory.as_ptr()));
        assert_eq!(shared.count(), 2, "both partitions send the same memory");
        let frame = flat(&with_holes);
        let plain =
            encode_response(version, 1, &fetch_response(Bytes::from(vec![7; 500]).into())).unwrap().segments;
        assert_eq!(frame, flat(&plain), "version {version}");
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        let (correlation, back) =
            decode_response_frame::<fetch::FetchResponse>(version, &frame[4..]).unwrap();
        assert_eq!(correlation, 1);
        assert_eq!(back.responses[0].partitions[1].records.as_ref().unwrap().len(), 500);
    }
}

#[test]
fn a_response_can_answer_another_request() {
    for version in [9, 16] {
        let response = fetch_response(Bytes::from(vec![7; 500]).into());
        let encoded = |correlation_id| encode_response(version, correlation_id, &response).unwrap();
        let other = encoded(1).for_request(-2);
        assert_eq!(flat(&other.segments), flat(&encoded(-2).segments), "version {version}");
        assert_eq!(other.errors, encoded(-2).errors);
    }
}

#[test]
fn a_request_that_was_built_reads_back_the_same() {
    let partitions = [produce::PartitionProduceData { index: 3, records: Some(b"batch") }];
    let topics = [produce::TopicProduceData {
        name: "t",
        partition_data: Array::Slice(&partitions),
        ..Default::default()
    }];
    let request =
        produce::ProduceRequest { acks: -1, topic_data: Array::Slice(&topics), ..Default::default() };
    for version in 3..=12 {
        let frame = flat(&encode_request(version, 9, Some("me"), &request).unwrap());
        let (header, body) = RequestHeader::decode(&frame[4..]).unwrap();
        assert_eq!(
            (header.api_key, header.api_version, header.correlation_id),
            (ApiKey::Produce, version, 9)
        );
        let read = produce::ProduceRequest::decode(version, body).unwrap();
        assert_eq!(read, request);
        let records =
            read.topic_data.iter().next().unwrap().partition_data.iter().next().unwrap().records.unwrap();
        assert!(frame.as_ptr_range().contains(&records.as_ptr()), "a view of the frame");
    }
}

#[test]
fn what_a_version_cannot_express_is_an_error() {
    let produced = |partition| produce::ProduceResponse {
        responses: vec![produce::TopicProduceResponse {
            partition_responses: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let leader = produce::LeaderIdAndEpoch { leader_id: 1, leader_epoch: 1 };
    let moved = produced(produce::PartitionProduceResponse { current_leader: leader, ..Default::default() });
    assert!(encode_response(10, 1, &moved).is_ok());
    let error = EncodeError::NotInVersion { field: "current_leader", version: 9 };
    assert_eq!(encode_response(9, 1, &moved), Err(error));
    let message = Some("why".to_owned());
    let refused =
        produced(produce::PartitionProduceResponse { error_message: message, ..Default::default() });
    let accepted = produced(produce::PartitionProduceResponse::default());
    assert_eq!(encode_response(7, 1, &refused), encode_response(7, 1, &accepted), "an ignorable field");

    let request = fetch::FetchRequest {
        session_id: 5,
        forgotten_topics_data: Array::Slice(&[fetch::ForgottenTopic::default()]),
        ..Default::default()
    };
    let error = EncodeError::NotInVersion { field: "forgotten_topics_data", version: 6 };
    assert_eq!(encode_request(6, 1, None, &request), Err(error));
    assert!(encode_request(7, 1, None, &request).is_ok());

    let joined = join_group::JoinGroupResponse { protocol_name: None, ..Default::default() };
    let error = EncodeError::NotInVersion { field: "protocol_name", version: 6 };
    assert_eq!(encode_response(6, 1, &joined), Err(error));
    assert!(encode_response(7, 1, &joined).is_ok());

    let long = find_coordinator::FindCoordinatorResponse { host: "x".repeat(40_000), ..Default::default() };
    assert_eq!(encode_response(3, 1, &long), Err(EncodeError::TooLong { length: 40_000 }));
    let error = EncodeError::UnsupportedVersion { message: "FindCoordinatorResponse", version: 7 };
    assert_eq!(encode_response(7, 1, &long), Err(error));
}

#[test]
fn error_codes_are_counted_as_they_are_written() {
    let partition = |code: ErrorCode| fetch::PartitionData { error_code: code.code(), ..Default::default() };
    let codes = [
        ErrorCode::None,
        ErrorCode::OffsetOutOfRange,
        ErrorCode::KafkaStorageError,
        ErrorCode::OffsetOutOfRange,
    ];
    let topic =
        fetch::FetchableTopicResponse { partitions: codes.map(partition).into(), ..Default::default() };
    let response = fetch::FetchResponse {
        error_code: ErrorCode::FetchSessionIdNotFound.code(),
        responses: vec![topic],
        ..Default::default()
    };
    let counted = |version| {
        let errors = encode_response(version, 1, &response).unwrap().errors;
        let mut counts: Vec<_> = errors.iter().collect();
        counts.sort_unstable();
        counts
    };
    let of_partitions = [(ErrorCode::OffsetOutOfRange, 2), (ErrorCode::KafkaStorageError, 1)];
    assert_eq!(counted(6), of_partitions, "this version has no code for the whole");
    assert_eq!(counted(7), [of_partitions[0], of_partitions[1], (ErrorCode::FetchSessionIdNotFound, 1)]);
    assert!(encode_response(7, 1, &fetch::FetchResponse::default()).unwrap().errors.is_empty());
    let strange = heartbeat::HeartbeatResponse { error_code: i16::MAX, ..Default::default() };
    let errors = encode_response(4, 1, &strange).unwrap().errors;
    assert_eq!(errors.iter().collect::<Vec<_>>(), [(ErrorCode::UnknownServerError, 1)]);
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    // ApiVersions v3: two empty strings, then the tagged fields under test.
    let body = |tags: &[u8]| [b"\x01\x01", tags].concat();
    let read = |tags: &[u8]| api_versions::ApiVersionsRequest::decode(3, &body(tags)).map(|_| ());
    assert_eq!(read(b"\x00"), Ok(()));
    assert_eq!(read(b"\x01\x09\x02ab"), Ok(()));
    assert!(matches!(read(b"\x01\x09\x03ab"), Err(DecodeError::Truncated { needed: 3, remaining: 2 })));
    assert!(read(b"\xff\xff\xff\xff\x0f").is_err(), "a count of fields that are not there");
    // Fetch v12 knows tag 0, a string; here it has one byte more than its content.
    let fetch = b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01";
    let surplus = [&fetch[..], b"\x01\x00\x03\x02ab"].concat();
    assert_eq!(
        fetch::FetchRequest::decode(12, &surplus),
        Err(DecodeError::TaggedFieldSize { tag: 0, surplus: 1 })
    );
    let exact = [&fetch[..], b"\x01\x00\x02\x02a"].concat();
    assert_eq!(fetch::FetchRequest::decode(12, &exact).unwrap().cluster_id, Some("a"));
}

#[test]
fn strings_are_utf8_and_at_most_32767_bytes() {
    let find = |key: &[u8]| {
        find_coordinator::FindCoordinatorRequest::decode(0, key).map(|request| request.key.len())
    };
    assert_eq!(find(b"\x00\x02ok"), Ok(2));
    assert_eq!(find(b"\x00\x02\xff\xfe"), Err(DecodeError::InvalidUtf8));
    assert_eq!(find(b"\xff\xff"), Err(DecodeError::UnexpectedNull));
    assert_eq!(find(b"\xff\xfe"), Err(DecodeError::InvalidLength(-2)));
    let long = [&b"\x81\x80\x02"[..], &[b'x'; 32_768], &[0, 0]].concat();
    let error = find_coordinator::FindCoordinatorRequest::decode(3, &long).unwrap_err();
    assert_eq!(error, DecodeError::InvalidLength(32_768));
}

#[test]
fn records_of_internal_logs_carry_type_and_version() {
    use super::records::offset_commit::{OffsetCommitKey, OffsetCommitValue};
    use super::records::{GroupRecord, MetadataRecord, topic_record::TopicRecord};

    let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2 };
    let bytes = key.encode().unwrap();
    assert_eq!(&bytes[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x02");
    let value = OffsetCommitValue { offset: 5, leader_epoch: 1, ..Default::default() };
    let value_bytes = value.encode(3).unwrap();
    assert_eq!(value_bytes[..2], [0, 3]);
    let record = GroupRecord::decode(&bytes, Some(&value_bytes)).unwrap();
    assert_eq!(record, GroupRecord::OffsetCommit(key.clone(), Some(value)));
    assert_eq!(GroupRecord::decode(&bytes, None), Ok(GroupRecord::OffsetCommit(key, None)));
    assert_eq!(GroupRecord::decode(&[0, 99], None), Err(DecodeError::UnknownRecordType(99)));

    let topic = MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id: model::Uuid([9; 16]) });
    let bytes = topic.encode(0).unwrap();
    assert_eq!(bytes[..3], [1, 2, 0], "frame version, type, version");
    assert_eq!(MetadataRecord::decode(&bytes), Ok(topic));
    assert_eq!(MetadataRecord::decode(&[2, 2, 0]), Err(DecodeError::UnknownFrameVersion(2)));
    assert_eq!(MetadataRecord::decode(&[1, 100, 0]), Err(DecodeError::UnknownRecordType(100)));
}

#[test]
fn varints_have_at_most_32_bits() {
    let rows: &[(&[u8], Result<u32, DecodeError>)] = &[
        (b"\x00", Ok(0)),
        (b"\x80\x01", Ok(128)),
        (b"\xff\xff\xff\xff\x0f", Ok(u32::MAX)),
        // One more than fits would be read as 1 if the surplus bits were dropped.
        (b"\x81\x80\x80\x80\x10", Err(DecodeError::VarintOverflow)),
        (b"\x80\x80\x80\x80\x80\x01", Err(DecodeError::VarintOverflow)),
        (b"\x80", Err(DecodeError::Truncated { needed: 1, remaining: 0 })),
    ];
    for (bytes, expect) in rows {
        assert_eq!(Reader::new(bytes, 0, true).varint(), *expect, "{bytes:x?}");
    }
}

#[test]
fn an_array_that_cannot_fit_is_refused_before_its_elements() {
    let groups = |body: &'static [u8]| describe_groups::DescribeGroupsRequest::decode(0, body).map(|_| ());
    assert_eq!(
        groups(b"\x00\x00\x00\x03\x00\x00"),
        Err(DecodeError::ArrayTooLong { claimed: 3, remaining: 2 })
    );
    assert_eq!(groups(b"\xff\xff\xff\xff"), Err(DecodeError::UnexpectedNull));
    assert_eq!(groups(b"\xff\xff\xff\xfe"), Err(DecodeError::InvalidLength(-2)));
    assert_eq!(groups(b"\x00\x00\x00\x01\x00\x00"), Ok(()));
}
