//! Appending what a leader has. Batches keep the offsets and the epochs that they have there, byte for byte, so that two
//! replicas have the same log; producers and epochs follow from the batches alone, in a follower as in a recovery.

use std::rc::Rc;

use model::{BatchError, LeaderEpoch, Offset, RecordBatch};
use runtime::Effects;

use crate::commit::journal;
use crate::log::leader_epoch_cache::LeaderEpochCache;
use crate::log::origin::AppendOrigin;
use crate::log::{Log, LogState};
use crate::producer::budget::ChargedProducers;
use crate::records::invalid;
use crate::{AppendError, LogConfig};

impl<E: Effects> Log<E> {
    /// Appends whole batches of the leader of `leader_epoch`, in memory, and wakes the commit loop; for a follower, with what
    /// its leader sends. Where the log is compacted offsets may be missing. Yields where the log ends then: that is before the
    /// end of `batches` if there was memory for some of them only.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was stored. [`AppendError::UnexpectedOffset`] if they do not go on where the log ends.
    pub fn append_as_follower(
        self: &Rc<Self>,
        batches: &[u8],
        leader_epoch: LeaderEpoch,
        now_unix_ms: i64,
    ) -> Result<Offset, AppendError> {
        self.check_writable(AppendOrigin::Replication)?;
        let config = self.config();
        check_replicated(batches, self.log_end_offset(), leader_epoch, config.compact)?;
        let (mut count, mut size) = (0, 0);
        let outcome = {
            let mut state = self.state.borrow_mut();
            model::batches(batches).filter_map(Result::ok).try_for_each(|batch| {
                self.store_as_is(&mut state, &batch, &config, now_unix_ms)?;
                (count, size) = (count + 1, size + batch.size());
                Ok(())
            })
        };
        if matches!(outcome, Err(AppendError::OverBudget)) {
            journal::empty(&self.shard);
        }
        if count == 0 {
            outcome?;
        }
        self.note_appended(count, size);
        Ok(self.log_end_offset())
    }

    /// Puts a batch at the end of the log as it is, in a new segment if it belongs there.
    fn store_as_is(
        &self,
        state: &mut LogState<E>,
        batch: &RecordBatch<'_>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let (base, times) = (batch.base_offset(), batch.max_timestamp());
        let active =
            self.segment_for(state, batch.size(), times, base..=batch.last_offset(), config, now_ms)?;
        let mut segment = active.state.borrow_mut();
        let (header, interval) = (&batch.bytes()[..RecordBatch::HEADER_SIZE], config.index_interval_bytes);
        segment.append(batch, header, base, times, interval);
        state.log_end = segment.next_offset;
        let LogState { producers, epochs, .. } = state;
        state.epochs_dirty |= note_stored(batch, Some(producers), epochs, now_ms);
        Ok(())
    }
}

/// Notes what a batch that stands in the log says of producers, unless a snapshot has that, and of epochs; says whether
/// its epoch is news.
pub(crate) fn note_stored(
    batch: &RecordBatch<'_>,
    producers: Option<&mut ChargedProducers>,
    epochs: &mut LeaderEpochCache,
    now_ms: i64,
) -> bool {
    if let Some(producers) = producers {
        producers.record(batch, batch.base_offset(), batch.max_timestamp(), now_ms);
    }
    epochs.assign(batch.leader_epoch(), batch.base_offset())
}

/// Checks that `batches` are whole, undamaged, and go on at `log_end`. What else a leader takes is its own business: it may
/// have other settings, or have had them when it took it.
fn check_replicated(
    batches: &[u8],
    log_end: Offset,
    leader_epoch: LeaderEpoch,
    gaps: bool,
) -> Result<(), AppendError> {
    if batches.is_empty() {
        return Err(invalid("no record batch"));
    }
    let mut expected = log_end;
    for batch in model::batches(batches) {
        let batch = batch.map_err(AppendError::Corrupt)?;
        batch.verify_crc().map_err(AppendError::Corrupt)?;
        let (first, last) = (batch.base_offset(), batch.last_offset());
        if batch.last_offset_delta() < 0 || last.0.checked_add(1).is_none() {
            return Err(AppendError::Corrupt(BatchError::Inconsistent("its last offset")));
        }
        if first < expected || (first > expected && !gaps) {
            return Err(AppendError::UnexpectedOffset { first, last, expected });
        }
        if batch.leader_epoch() > leader_epoch {
            let epoch = batch.leader_epoch();
            return Err(invalid(format!("a batch of epoch {epoch} from the leader of epoch {leader_epoch}")));
        }
        expected = batch.next_offset();
    }
    Ok(())
}
