//! Record batches on their way into a log, their checksum right whatever they hold, so that every check behind it is
//! reached: an append is refused, or what was appended reads back.

use std::rc::Rc;

use model::{LeaderEpoch, Offset};
use runtime::sim::{SimEffects, SimWorld};
use storage::{AppendOrigin, Log};

use super::batches::damaged_batch;
use super::data_directory::{TIMESTAMP, open, read_all};
use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let world = SimWorld::new(mutator.next());
    let node = world.node("a");
    world.block_on(async {
        let opened = open(&node).await.expect("a fresh directory opens");
        let log = &opened.log;
        let mut appended = 0;
        for _ in 0..8 {
            let mut batch = damaged_batch(mutator);
            if mutator.below(3) == 0 {
                appended += follow(mutator, log, &mut batch);
                continue;
            }
            let origin =
                *mutator.pick(&[AppendOrigin::Client, AppendOrigin::Client, AppendOrigin::Coordinator]);
            let end = log.log_end_offset();
            match log.append(&batch, origin, LeaderEpoch(0), TIMESTAMP) {
                Ok(info) if !info.duplicate => {
                    assert_eq!(info.first_offset, end);
                    assert!(info.last_offset >= info.first_offset);
                    appended += model::batches(&batch).count();
                }
                Ok(_) | Err(_) => assert_eq!(log.log_end_offset(), end),
            }
            log.check_invariants();
        }
        log.flush().await.expect("the disk is good");
        let (found, outcome) = read_all(log, Offset(0)).await;
        outcome.expect("what was appended can be read");
        assert_eq!(found.len(), appended);
    });
    world.end();
}

/// Has the log follow a leader that sends these bytes, mostly as what goes on; how many batches that were.
fn follow(mutator: &mut Mutator, log: &Rc<Log<SimEffects>>, batch: &mut [u8]) -> usize {
    let end = log.log_end_offset();
    if let (Some(base), 1..) = (batch.first_chunk_mut::<8>(), mutator.below(4)) {
        *base = end.0.to_be_bytes();
    }
    let appended = log.append_as_follower(batch, LeaderEpoch(0), TIMESTAMP);
    log.check_invariants();
    assert_eq!(log.log_end_offset() > end, appended.is_ok());
    if appended.is_ok() { model::batches(batch).count() } else { 0 }
}
