//! Request frames: whatever decodes can be walked over, encoded, and decodes to the same again.

use bytes::BytesMut;
use net::protocol::{RequestHeader, Segment, Writer, decode_request};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let (schema, version, body) = super::sample(mutator, &["request"]);
    let mut frame = schema.key.expect("requests have a key").to_be_bytes().to_vec();
    frame.extend(version.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 2, b'm', b'e']);
    frame.extend(schema.is_flexible(version).then_some(0));
    frame.extend(body);
    mutator.mutate(&mut frame);

    let Ok((header, body)) = RequestHeader::decode(&frame) else { return };
    let version = header.api_version;
    let Ok(request) = decode_request(header.api_key, version, body) else { return };
    let walked = format!("{request:?}");
    let mut writer = Writer::new(BytesMut::new(), version, header.api_key.is_flexible(version));
    writer.put(&request);
    let segments = writer.finish().expect("what was decoded can be encoded");
    let [Segment::Bytes(again)] = &segments[..] else {
        return assert!(segments.is_empty(), "a request is one piece");
    };
    let request = decode_request(header.api_key, version, again).expect("what was encoded decodes");
    assert_eq!(format!("{request:?}"), walked);
}
