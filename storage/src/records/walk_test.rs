//! The walk says the same however the records are cut into pieces, and takes exactly what is well formed.

use super::*;
use model::{Offset, RecordBatch, RecordBatchBuilder};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen(Vec<(i32, i64, bool)>);

impl Visit for Seen {
    fn record(&mut self, index: i32, timestamp: i64, has_key: bool) {
        self.0.push((index, timestamp, has_key));
    }
}

fn walk<'a>(count: i32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Seen, &'static str> {
    let mut walk = Walk::new(count, 1_000, Seen::default());
    for piece in pieces {
        walk.feed(piece).map_err(|malformed| malformed.problem)?;
    }
    walk.finish().map_err(|malformed| malformed.problem)
}

/// What the walk says of the bytes in one piece; asserted to be the same in single bytes and in any two pieces. Which
/// problem is named may differ: what is seen of a record whose end is not there is less.
fn check(count: i32, bytes: &[u8]) -> Result<Seen, &'static str> {
    let whole = walk(count, [bytes]);
    let single = walk(count, bytes.chunks(1));
    assert_eq!(whole.clone().ok(), single.ok(), "in single bytes: {bytes:02x?}");
    for at in 0..bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(whole.clone().ok(), walk(count, [a, b]).ok(), "cut at {at}: {bytes:02x?}");
    }
    whole
}

fn sample() -> (i32, Vec<u8>) {
    let batch = RecordBatchBuilder::new(Offset(0))
        .record(1_000, Some(b"key"), Some(&[7; 200]))
        .record(700_000, None, None)
        .record_with_headers(-1, Some(b""), Some(b""), &[("h", Some(b"1")), ("", None), ("h", Some(b""))])
        .record(2_000, None, Some(b"v"))
        .build();
    (4, batch[RecordBatch::HEADER_SIZE..].to_vec())
}

/// A record of these bytes behind its length.
fn record(body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap() << 1;
    assert!(length < 0x80);
    [&[length], body].concat()
}

#[test]
fn well_formed_records_are_seen_in_order_in_any_pieces() {
    let (count, bytes) = sample();
    let seen = check(count, &bytes).expect("they are well formed");
    assert_eq!(seen.0, [(0, 1_000, true), (1, 700_000, false), (2, -1, true), (3, 2_000, false)]);
    assert_eq!(check(0, &[]), Ok(Seen::default()));
}

#[test]
fn each_broken_rule_is_noticed() {
    let (count, bytes) = sample();
    let two = [record(&[0, 0, 0, 1, 1, 0]), record(&[0, 0, 2, 1, 1, 0])].concat();
    assert!(check(2, &two).is_ok());
    let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let rows: Vec<(i32, Vec<u8>, &str)> = vec![
        (count + 1, bytes.clone(), "the batch has fewer records than its header says"),
        (i32::MAX, two.clone(), "the batch has fewer records than its header says"),
        (1, two.clone(), "bytes are left over behind the records that the header counts"),
        (2, [&two[..], &[0]].concat(), "bytes are left over behind the records that the header counts"),
        (2, two[..two.len() - 1].to_vec(), "it is cut off"),
        (1, vec![], "the batch has fewer records than its header says"),
        (1, vec![0], BEYOND),
        (1, vec![9], NEGATIVE_LENGTH),
        (1, vec![0xff; 20], "a number is too long"),
        (1, [0xff, 0xff, 0xff, 0xff, 0x1f].to_vec(), "a number is too long"),
        (1, [0x8c, 0x80, 0x80, 0x80, 0x80, 0x00].to_vec(), "a number is too long"),
        (1, record(&[0, 0, 2, 1, 1, 0]), OFFSET),
        (1, record(&[0, 0, 1, 1, 1, 0]), OFFSET),
        (2, [record(&[0, 0, 0, 1, 1, 0]), record(&[0, 0, 0, 1, 1, 0])].concat(), OFFSET),
        (1, record(&[0, 0, 0, 3, 1, 0]), NEGATIVE_LENGTH),
        (1, record(&[0, 0, 0, 1, 3, 0]), NEGATIVE_LENGTH),
        (1, record(&[0, 0, 0, 1, 1, 1]), HEADER_COUNT),
        (1, record(&[0, 0, 0, 1, 1, 2]), HEADER_COUNT),
        (1, record(&[&[0, 0, 0, 1, 1][..], &huge].concat()), HEADER_COUNT),
        (1, record(&[0, 0, 0, 1, 1, 2, 1, 1]), NULL_HEADER_KEY),
        (1, record(&[0, 0, 0, 1, 1, 2, 4, b'h', 1]), BEYOND),
        (1, record(&[0, 0, 0, 1, 1, 2, 2, b'h', 4]), BEYOND),
        (1, record(&[0, 0, 0, 1, 1, 2, 2, b'h', 3]), NEGATIVE_LENGTH),
        (1, record(&[0, 0, 0, 4, b'k', 1, 0]), BEYOND),
        (1, record(&[&[0, 0, 0, 1][..], &huge, &[0]].concat()), BEYOND),
        (1, record(&[0, 0, 0, 1, 1, 0, 0]), LEFT_OVER),
        (1, record(&[0, 0, 0, 1, 1]), BEYOND),
        (1, record(&[0, 0x80]), BEYOND),
        (1, record(&[0]), BEYOND),
    ];
    for (row, (count, bytes, problem)) in rows.iter().enumerate() {
        assert_eq!(check(*count, bytes), Err(*problem), "row {row}");
    }
    let first = Walk::new(1, 0, Seen::default()).feed(&two).unwrap_err();
    assert_eq!(first.index, 1);
}

#[test]
fn a_timestamp_may_have_all_its_bits_and_wraps_as_for_consumers() {
    let minimum =
        [&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0, 1, 1, 0]].concat();
    assert_eq!(check(1, &record(&minimum)).unwrap().0, [(0, 1_000i64.wrapping_add(i64::MIN), false)]);
    let longer =
        [&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03][..], &[0, 1, 1, 0]].concat();
    assert_eq!(check(1, &record(&longer)), Err("a number is too long"));
}

#[test]
fn mutated_records_are_refused_or_seen_alike_in_any_pieces() {
    let (count, bytes) = sample();
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 3, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(2)] {
            let mut mutated = bytes.clone();
            mutated[at] = value;
            let whole = walk(count, [&mutated[..]]).ok();
            assert_eq!(whole, walk(count, mutated.chunks(1)).ok(), "byte {at} is {value}");
            assert_eq!(whole, walk(count, mutated.chunks(7)).ok(), "byte {at} is {value}");
        }
    }
}
