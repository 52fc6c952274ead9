//! Batches follow each other without gap or overlap from the start of the log to its end (Kafka's rule for
//! a log that is not compacted).

use super::{Broken, Content};

pub(crate) fn check(content: &Content) -> Result<(), Broken> {
    let mut next = None;
    for batch in content.batches() {
        if next.is_some_and(|next| next != batch.base_offset()) || batch.verify_crc().is_err() {
            return Err(Broken::Wrong(format!("{batch:?} where {next:?} should be")));
        }
        if next.is_none() && batch.base_offset() > content.log_start {
            return Err(Broken::Lost(format!("the log starts at {} with {batch:?}", content.log_start)));
        }
        next = Some(batch.next_offset());
    }
    let end = next.unwrap_or(content.log_start);
    if end == content.log_end {
        Ok(())
    } else {
        Err(Broken::Lost(format!("batches end at {end}, the log at {}", content.log_end)))
    }
}
