//! Prints what the codec costs: nanoseconds for each message of the two hot APIs.
//! `cargo run --release -p millrace-net --features client --example codec_cost`

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use net::protocol::*;

fn main() {
    let batch = vec![0x5a; 64 << 10];
    for count in [1, 6, 100] {
        let index = |index| produce::PartitionProduceData { index, records: Some(&batch) };
        let partitions: Vec<_> = (0..count).map(index).collect();
        let topic_data = [produce::TopicProduceData {
            topic_id: model::Uuid([7; 16]),
            partition_data: Array::Slice(&partitions),
            ..Default::default()
        }];
        let request = produce::ProduceRequest { topic_data: Array::Slice(&topic_data), ..Default::default() };
        let frame = flat(&encode_request(13, 1, Some("client"), &request).expect("encodes"));
        measure(&format!("Produce request, {count} partitions: decode and walk"), || walk(&frame[4..]));

        let answer = produce::PartitionProduceResponse { base_offset: 77, ..Default::default() };
        let answers = vec![answer; usize::try_from(count).expect("small")];
        let topic = produce::TopicProduceResponse { partition_responses: answers, ..Default::default() };
        let response = produce::ProduceResponse { responses: vec![topic], ..Default::default() };
        measure(&format!("Produce response, {count} partitions: encode"), || encode(13, &response));

        let records = Bytes::from(batch.clone());
        let data = fetch::PartitionData { records: Some(records.into()), ..Default::default() };
        let partitions = vec![data; usize::try_from(count).expect("small")];
        let topic = fetch::FetchableTopicResponse { partitions, ..Default::default() };
        let response = fetch::FetchResponse { responses: vec![topic], ..Default::default() };
        measure(&format!("Fetch response, {count} partitions: encode"), || encode(17, &response));
    }
}

fn walk(frame: &[u8]) -> usize {
    let (header, body) = RequestHeader::decode(frame).expect("decodes");
    let request = produce::ProduceRequest::decode(header.api_version, body).expect("decodes");
    let partitions = request.topic_data.iter().flat_map(|topic| topic.partition_data);
    partitions.map(|partition| partition.records.map_or(0, <[u8]>::len)).sum()
}

fn encode<R: Response>(version: i16, response: &R) -> usize {
    let encoded = encode_response_into(BytesMut::with_capacity(4096), version, 1, response).expect("encodes");
    encoded.segments.iter().map(Segment::len).sum()
}

fn flat(segments: &[Segment]) -> Vec<u8> {
    let bytes = |segment: &Segment| match segment {
        Segment::Bytes(bytes) => bytes.to_vec(),
        Segment::External { .. } => Vec::new(),
    };
    segments.iter().flat_map(bytes).collect()
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch reads the clock")]
fn measure(what: &str, mut work: impl FnMut() -> usize) {
    const ROUNDS: u32 = 100_000;
    for _ in 0..ROUNDS / 10 {
        black_box(work());
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(work());
    }
    println!("{:>8.0} ns  {what}", start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
}
