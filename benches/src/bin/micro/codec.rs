//! The hot messages: requests decoded and walked over, responses encoded around their records.

use bytes::{Bytes, BytesMut};
use net::protocol::{
    Array, Request, RequestHeader, Response, Segment, encode_request, encode_response_into, fetch, metadata,
    produce,
};

use crate::stopwatch::Results;

pub(crate) fn run(results: &mut Results) {
    let records = vec![0x5a; 16 << 10];
    for count in [1, 100] {
        produce_request(results, count, &records);
        fetch_request(results, count);
        let length = usize::try_from(count).expect("small");

        let answer = produce::PartitionProduceResponse { base_offset: 77, ..Default::default() };
        let topic =
            produce::TopicProduceResponse { partition_responses: vec![answer; length], ..Default::default() };
        let response = produce::ProduceResponse { responses: vec![topic], ..Default::default() };
        let name = format!("Produce response encode, {count} partitions");
        results.measure(&name, || encode(13, &response));

        let part = Bytes::from(records.clone());
        let data = fetch::PartitionData { records: Some(part.into()), ..Default::default() };
        let topic = fetch::FetchableTopicResponse { partitions: vec![data; length], ..Default::default() };
        let response = fetch::FetchResponse { responses: vec![topic], ..Default::default() };
        results.measure(&format!("Fetch response encode, {count} partitions"), || encode(17, &response));

        let partition = metadata::MetadataResponsePartition {
            replica_nodes: vec![1, 2, 3],
            isr_nodes: vec![1, 2, 3],
            ..Default::default()
        };
        let topic = metadata::MetadataResponseTopic {
            name: Some("topic".to_owned()),
            partitions: vec![partition; length],
            ..Default::default()
        };
        let response = metadata::MetadataResponse { topics: vec![topic], ..Default::default() };
        results.measure(&format!("Metadata response encode, {count} partitions"), || encode(12, &response));
    }
    let topic = [metadata::MetadataRequestTopic { name: Some("topic"), ..Default::default() }];
    let request = metadata::MetadataRequest { topics: Some(Array::Slice(&topic)), ..Default::default() };
    let frame = flat(&encode_request(12, 1, Some("client"), &request).expect("encodes"));
    results.measure("Metadata request decode, 1 topic", || {
        let (header, body) = RequestHeader::decode(&frame[4..]).expect("decodes");
        let request = metadata::MetadataRequest::decode(header.api_version, body).expect("decodes");
        request.topics.map_or(0, |topics| topics.iter().filter_map(|topic| topic.name).map(str::len).sum())
    });
}

fn produce_request(results: &mut Results, count: i32, records: &[u8]) {
    let data = |index| produce::PartitionProduceData { index, records: Some(records) };
    let partitions: Vec<_> = (0..count).map(data).collect();
    let topic_data = [produce::TopicProduceData {
        topic_id: model::Uuid([7; 16]),
        partition_data: Array::Slice(&partitions),
        ..Default::default()
    }];
    let request = produce::ProduceRequest { topic_data: Array::Slice(&topic_data), ..Default::default() };
    let frame = flat(&encode_request(13, 1, Some("client"), &request).expect("encodes"));
    results.measure(&format!("Produce request decode, {count} partitions"), || {
        let (header, body) = RequestHeader::decode(&frame[4..]).expect("decodes");
        let request = produce::ProduceRequest::decode(header.api_version, body).expect("decodes");
        let partitions = request.topic_data.iter().flat_map(|topic| topic.partition_data);
        partitions.map(|partition| partition.records.map_or(0, <[u8]>::len)).sum::<usize>()
    });
}

fn fetch_request(results: &mut Results, count: i32) {
    let data = |partition| fetch::FetchPartition { partition, fetch_offset: 77, ..Default::default() };
    let partitions: Vec<_> = (0..count).map(data).collect();
    let topics = [fetch::FetchTopic {
        topic_id: model::Uuid([7; 16]),
        partitions: Array::Slice(&partitions),
        ..Default::default()
    }];
    let request = fetch::FetchRequest { topics: Array::Slice(&topics), ..Default::default() };
    let frame = flat(&encode_request(17, 1, Some("client"), &request).expect("encodes"));
    results.measure(&format!("Fetch request decode, {count} partitions"), || {
        let (header, body) = RequestHeader::decode(&frame[4..]).expect("decodes");
        let request = fetch::FetchRequest::decode(header.api_version, body).expect("decodes");
        let partitions = request.topics.iter().flat_map(|topic| topic.partitions);
        partitions.map(|partition| partition.fetch_offset).sum::<i64>()
    });
}

fn encode<R: Response>(version: i16, response: &R) -> usize {
    let buffer = BytesMut::with_capacity(4_096);
    let encoded = encode_response_into(buffer, version, 1, response).expect("encodes");
    encoded.segments.iter().map(Segment::len).sum()
}

fn flat(segments: &[Segment]) -> Vec<u8> {
    let bytes = |segment: &Segment| match segment {
        Segment::Bytes(bytes) => bytes.to_vec(),
        Segment::External { .. } => unreachable!("requests are one piece"),
    };
    segments.iter().flat_map(bytes).collect()
}
