//! A batch sent again after the restart is recognised as a duplicate, with its old offset; a gap in the
//! sequence is refused (KIP-98).

use std::rc::Rc;

use model::LeaderEpoch;
use runtime::{Clock, Effects};
use storage::{AppendError, AppendOrigin};

use super::{Broken, Content};
use crate::oracle::Oracle;
use crate::server::{Server, SimLog};
use crate::workload::batch;

pub(super) fn check(
    server: &Server,
    log: &Rc<SimLog>,
    oracle: &Oracle,
    content: &Content,
) -> Result<(), Broken> {
    let now = server.effects.clock().unix_ms();
    let append = |bytes: &[u8]| log.append(bytes, AppendOrigin::Client, LeaderEpoch(0), now);
    let known = oracle.known();
    for (id, producer) in &known.producers {
        let Some(first) = producer.last_batch.filter(|first| *first >= content.log_start) else { continue };
        let sent = &known.sent[&first];
        match append(&sent.bytes) {
            Ok(info)
                if info.duplicate && (info.first_offset, info.last_offset) == (first, sent.last_offset) => {}
            other => return Err(Broken::Wrong(format!("the last batch of {id} sent again: {other:?}"))),
        }
        let gap = batch(*id, producer.next_sequence + 1, 1, 10, now);
        match append(&gap) {
            Err(AppendError::OutOfOrderSequence { .. }) => {}
            other => return Err(Broken::Wrong(format!("a gap in the sequence of {id}: {other:?}"))),
        }
    }
    Ok(())
}
