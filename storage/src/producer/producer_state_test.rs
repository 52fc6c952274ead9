//! Proves that producers are treated as Kafka treats them, row by row.

use super::*;
use model::RecordBatchBuilder;

fn batch(epoch: i16, sequence: i32, records: i32) -> bytes::Bytes {
    let mut builder =
        RecordBatchBuilder::new(Offset(0)).producer(ProducerId(7), ProducerEpoch(epoch), Sequence(sequence));
    for _ in 0..records {
        builder = builder.record(1_000, None, Some(b"v"));
    }
    builder.build()
}

fn apply(state: &mut ProducerState, next: &mut Offset, step: (i16, i32, i32)) -> &'static str {
    let bytes = batch(step.0, step.1, step.2);
    let parsed = RecordBatch::parse(&bytes).unwrap();
    let outcome = match state.check(&parsed, *next) {
        Ok(None) => {
            state.record(&parsed, *next, parsed.max_timestamp(), 1_000);
            *next = next.plus(i64::from(step.2));
            "new"
        }
        Ok(Some(known)) => {
            assert_eq!(known.last_offset.0 - known.first_offset().0, i64::from(step.2) - 1);
            "duplicate"
        }
        Err(AppendError::OutOfOrderSequence { .. }) => "gap",
        Err(AppendError::InvalidProducerEpoch { .. }) => "fenced",
        Err(error) => panic!("{error}"),
    };
    state.check_invariants();
    outcome
}

#[test]
fn sequences_are_judged_as_kafka_judges_them() {
    // (epoch, first sequence, records) -> outcome, in order on one log.
    type Step = ((i16, i32, i32), &'static str);
    let rows: &[&[Step]] = &[
        &[
            ((0, 0, 1), "new"),
            ((0, 1, 3), "new"),
            ((0, 4, 1), "new"),
            ((0, 1, 3), "duplicate"),
            ((0, 4, 1), "duplicate"),
        ],
        // An unknown producer may start anywhere; then it must go on without a gap.
        &[
            ((0, 10, 1), "new"),
            ((0, 12, 1), "gap"),
            ((0, 11, 1), "new"),
            ((0, 11, 2), "gap"),
            ((0, 9, 1), "gap"),
        ],
        // A new epoch starts at 0; the old one is fenced, even for duplicates.
        &[
            ((3, 0, 1), "new"),
            ((4, 5, 1), "gap"),
            ((4, 0, 1), "new"),
            ((3, 0, 1), "fenced"),
            ((3, 1, 1), "fenced"),
            ((4, 1, 1), "new"),
        ],
        // Five batches are remembered, the sixth last is not.
        &[
            ((0, 0, 1), "new"),
            ((0, 1, 1), "new"),
            ((0, 2, 1), "new"),
            ((0, 3, 1), "new"),
            ((0, 4, 1), "new"),
            ((0, 0, 1), "duplicate"),
            ((0, 5, 1), "new"),
            ((0, 0, 1), "gap"),
            ((0, 1, 1), "duplicate"),
        ],
        // Sequences wrap to 0 behind the largest, between batches and within one.
        &[((0, i32::MAX, 1), "new"), ((0, 0, 1), "new"), ((0, i32::MAX, 1), "duplicate")],
        &[
            ((0, i32::MAX - 1, 5), "new"),
            ((0, 3, 1), "new"),
            ((0, i32::MAX - 1, 5), "duplicate"),
            ((0, 3, 1), "duplicate"),
        ],
    ];
    for (row, steps) in rows.iter().enumerate() {
        let (mut state, mut next) = (ProducerState::default(), Offset(0));
        for (i, (step, expect)) in steps.iter().enumerate() {
            assert_eq!(apply(&mut state, &mut next, *step), *expect, "row {row}, step {i}");
        }
    }
}

#[test]
fn silent_producers_expire() {
    let (mut state, mut next) = (ProducerState::default(), Offset(0));
    apply(&mut state, &mut next, (0, 0, 1));
    let all = ProducerId(i64::MIN);
    assert_eq!((state.expire_some(all, 1_999, 1_000), state.len()), (None, 1));
    assert_eq!((state.expire_some(all, 2_000, 1_000), state.len()), (None, 0));
}

/// What clients say of the time of their records does not count, if it is in the past.
#[test]
fn a_producer_of_old_records_does_not_expire_at_once() {
    let (mut state, bytes) = (ProducerState::default(), batch(0, 0, 1));
    state.record(&RecordBatch::parse(&bytes).unwrap(), Offset(0), 1_000, 1_000_000);
    state.expire_some(ProducerId(i64::MIN), 1_000_999, 1_000);
    assert_eq!(state.len(), 1);
    state.expire_some(ProducerId(i64::MIN), 1_001_000, 1_000);
    assert_eq!(state.len(), 0);
}
