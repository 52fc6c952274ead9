//! Proves that the two files of a snapshot bring back the producers, and that damage to either costs no more than it must.

use super::*;
use model::{RecordBatch, RecordBatchBuilder};

fn record(state: &mut ProducerState, id: i64, epoch: i16, sequence: i32, offset: i64) {
    let builder = RecordBatchBuilder::new(Offset(0)).record(1_000 + offset, None, Some(b"v"));
    let bytes = builder.producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence)).build();
    state.record(&RecordBatch::parse(&bytes).unwrap(), Offset(offset), 1_000 + offset, 2_000 + offset);
}

/// Producers with one batch to many.
fn producers() -> ProducerState {
    let mut state = ProducerState::default();
    let mut offset = 0;
    for id in 0..200i64 {
        for sequence in 0..=i32::try_from(id % 8).unwrap() {
            record(&mut state, id, 2, sequence, offset);
            offset += 1;
        }
    }
    state
}

fn encoded(state: &ProducerState) -> SnapshotFiles {
    let world = runtime::sim::SimWorld::new(1);
    world.block_on(encode(state))
}

#[test]
fn all_batches_come_back() {
    let state = producers();
    let SnapshotFiles { snapshot, batches } = encoded(&state);
    assert_eq!(snapshot.len(), 10 + 200 * 46);
    assert_eq!(decode(&snapshot, batches.as_deref()), Some(state));
    let empty = encoded(&ProducerState::default());
    assert_eq!((empty.batches, decode(&empty.snapshot, None)), (None, Some(ProducerState::default())));
}

/// As with a snapshot of Kafka's.
#[test]
fn without_the_second_file_each_producer_has_its_last_batch() {
    let state = producers();
    let SnapshotFiles { snapshot, batches } = encoded(&state);
    let back = decode(&snapshot, None).unwrap();
    for ((id, entry), (found, reduced)) in state.producers.iter().zip(back.producers.iter()) {
        assert_eq!((id, entry.epoch), (found, reduced.epoch));
        assert_eq!(reduced.batches.as_slice(), &[entry.newest()]);
        assert_eq!(reduced.last_append_ms, -1);
    }
    let SnapshotFiles { snapshot: again, .. } = encoded(&back);
    assert_eq!(again, snapshot);
    let batches = batches.unwrap();
    for end in (0..batches.len()).step_by(7) {
        assert_eq!(decode(&snapshot, Some(&batches[..end])), Some(back.clone()), "cut at {end}");
    }
    for bit in (0..batches.len() * 8).step_by(11) {
        let mut bad = batches.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&snapshot, Some(&bad)), Some(back.clone()), "bit {bit}");
    }
}

#[test]
fn what_does_not_fit_the_snapshot_is_passed_over() {
    let old = producers();
    let SnapshotFiles { batches: stale, .. } = encoded(&old);
    let mut state = ProducerState::default();
    // Goes on behind what the stale file knows; leaves a gap; has another epoch; is not in it.
    record(&mut state, 3, 2, 3, 900);
    record(&mut state, 11, 2, 40, 901);
    record(&mut state, 19, 3, 0, 902);
    record(&mut state, 777, 0, 5, 903);
    let SnapshotFiles { snapshot, .. } = encoded(&state);
    let back = decode(&snapshot, stale.as_deref()).unwrap();
    let batches = |id| back.producers.get(ProducerId(id)).map(|entry| entry.batches.as_slice().len());
    assert_eq!([3, 11, 19, 777, 4].map(batches), [Some(4), Some(1), Some(1), Some(1), None]);
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut state = ProducerState::default();
    record(&mut state, 1, 0, 0, 0);
    let SnapshotFiles { snapshot, .. } = encoded(&state);
    for end in 0..snapshot.len() {
        assert_eq!(decode(&snapshot[..end], None), None, "cut at {end}");
    }
    for bit in 0..snapshot.len() * 8 {
        let mut bad = snapshot.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bad, None), None, "bit {bit}");
    }
}
