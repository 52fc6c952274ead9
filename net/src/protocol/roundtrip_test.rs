//! Every message in every version: what an independent encoder writes is read, and written back byte for byte; what is
//! cut, changed or lies about its lengths is refused without a panic.

use bytes::BytesMut;

use super::samples::{Schema, Shape, schemas};
use super::*;

/// Decodes a body by the generated code and encodes it again.
fn reencode(schema: &Schema, version: i16, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let key = || ApiKey::try_from(schema.key.unwrap()).unwrap();
    let mut writer = Writer::new(BytesMut::new(), version, schema.is_flexible(version));
    match schema.kind.as_str() {
        "request" => writer.put(&decode_request(key(), version, body)?),
        "response" => writer.put(&decode_response(key(), version, body)?),
        _ => return Ok(records::any::reencode(&schema.name, version, body).unwrap()?.to_vec()),
    }
    let segments = writer.finish().unwrap_or_else(|error| panic!("{} v{version}: {error}", schema.name));
    Ok(segments.iter().flat_map(bytes_of).copied().collect())
}

/// As [`reencode`], but only walks over what was decoded.
fn decodes(schema: &Schema, version: i16, body: &[u8]) -> Result<(), DecodeError> {
    let key = || ApiKey::try_from(schema.key.unwrap()).unwrap();
    let text = match schema.kind.as_str() {
        "request" => format!("{:?}", decode_request(key(), version, body)?),
        "response" => format!("{:?}", decode_response(key(), version, body)?),
        _ => format!("{:?}", records::any::reencode(&schema.name, version, body).unwrap()?),
    };
    assert!(!text.is_empty());
    Ok(())
}

fn bytes_of(segment: &Segment) -> &[u8] {
    match segment {
        Segment::Bytes(bytes) => bytes,
        Segment::External { .. } => panic!("decoding makes no external parts"),
    }
}

/// Runs `check` on every message, every version and the given shapes.
fn for_each(shapes: &[(Shape, u64)], mut check: impl FnMut(&Schema, i16, u64, Shape)) {
    let schemas = schemas();
    assert!(schemas.len() > 200, "the schemas are there");
    for schema in &schemas {
        for version in schema.versions.clone() {
            for (shape, seeds) in shapes {
                (0..*seeds).for_each(|seed| check(schema, version, seed, *shape));
            }
        }
    }
}

#[test]
fn every_message_in_every_version_comes_back_byte_for_byte() {
    for_each(
        &[(Shape::Smallest, 1), (Shape::Fullest, 1), (Shape::Random, 10)],
        |schema, version, seed, shape| {
            let sample = schema.sample(version, seed, shape, false);
            let again = reencode(schema, version, &sample.bytes);
            assert_eq!(
                again.as_deref(),
                Ok(&sample.bytes[..]),
                "{} v{version} {shape:?} {seed}",
                schema.name
            );
        },
    );
}

#[test]
fn tagged_fields_from_the_future_are_skipped() {
    for_each(&[(Shape::Fullest, 1), (Shape::Random, 2)], |schema, version, seed, shape| {
        let with = schema.sample(version, seed, shape, true);
        let without = schema.sample(version, seed, shape, false);
        assert_eq!(reencode(schema, version, &with.bytes), Ok(without.bytes), "{} v{version}", schema.name);
    });
}

#[test]
fn every_cut_is_an_error() {
    for_each(&[(Shape::Fullest, 1)], |schema, version, seed, shape| {
        let mut sample = schema.sample(version, seed, shape, true).bytes;
        for cut in 0..sample.len() {
            assert!(decodes(schema, version, &sample[..cut]).is_err(), "{} v{version} at {cut}", schema.name);
        }
        sample.push(0);
        // Clients do send requests with bytes behind them, and Kafka does not mind.
        let surplus = if schema.kind == "request" { Ok(()) } else { Err(DecodeError::TrailingBytes(1)) };
        assert_eq!(decodes(schema, version, &sample), surplus, "{} v{version}", schema.name);
    });
}

#[test]
fn no_changed_byte_makes_a_panic() {
    for_each(&[(Shape::Fullest, 1)], |schema, version, seed, shape| {
        let sample = schema.sample(version, seed, shape, false).bytes;
        let mut changed = sample.clone();
        for place in 0..sample.len() {
            for mask in [0x01, 0x80, 0xff] {
                changed[place] = sample[place] ^ mask;
                // Either is right: many changes give another valid message.
                let _ = decodes(schema, version, &changed);
            }
            changed[place] = sample[place];
        }
    });
}

/// Were memory reserved for what a length claims, two thousand million elements would end the test.
#[test]
fn array_lengths_beyond_the_frame_are_refused() {
    let classic: &[&[u8]] =
        &[&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xfe], &[0x80, 0, 0, 0], &[0, 0x10, 0, 0]];
    let compact: &[&[u8]] = &[
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x1f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff; 10],
    ];
    let mut arrays = 0;
    for_each(&[(Shape::Fullest, 1)], |schema, version, seed, shape| {
        let sample = schema.sample(version, seed, shape, false);
        let lies = if schema.is_flexible(version) { compact } else { classic };
        for range in &sample.array_lengths {
            arrays += 1;
            for lie in lies {
                let bytes = [&sample.bytes[..*range.start()], lie, &sample.bytes[range.end() + 1..]].concat();
                assert!(decodes(schema, version, &bytes).is_err(), "{} v{version} {lie:x?}", schema.name);
            }
        }
    });
    assert!(arrays > 500, "the samples have arrays");
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for schema in schemas() {
        for version in [i16::MIN, -1, schema.versions.start() - 1, schema.versions.end() + 1, i16::MAX] {
            let error = decodes(&schema, version, &[]).unwrap_err();
            assert!(
                matches!(error, DecodeError::UnsupportedVersion { version: v, .. } if v == version),
                "{error}"
            );
        }
    }
}
