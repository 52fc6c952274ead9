//! Responses, as the peer client will read them: whatever decodes can be encoded and decodes to the same again.

use bytes::BytesMut;
use net::protocol::{ApiKey, Segment, Writer, decode_response};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let (schema, version, mut body) = super::sample(mutator, &["response"]);
    mutator.mutate(&mut body);
    let key = ApiKey::try_from(schema.key.expect("responses have a key")).expect("a key of the schemas");
    let Ok(response) = decode_response(key, version, &body) else { return };
    let mut writer = Writer::new(BytesMut::new(), version, key.is_flexible(version));
    writer.put(&response);
    let segments = writer.finish().expect("what was decoded can be encoded");
    let again: Vec<u8> = segments.iter().flat_map(bytes_of).copied().collect();
    let again = decode_response(key, version, &again).expect("what was encoded decodes");
    assert_eq!(format!("{again:?}"), format!("{response:?}"));
}

fn bytes_of(segment: &Segment) -> &[u8] {
    match segment {
        Segment::Bytes(bytes) => bytes,
        Segment::External { .. } => unreachable!("decoding makes no external parts"),
    }
}
