//! Every acknowledged record is there, once, at its offset, with its bytes; what is there beside that was
//! sent, in that order (the durability contract on one node).

use super::{Broken, Content};
use crate::oracle::Known;

pub(super) fn check(content: &Content, known: &Known) -> Result<(), Broken> {
    if content.log_end < known.acked {
        return Err(Broken::Lost(format!(
            "acknowledged to {}, the log ends at {}",
            known.acked, content.log_end
        )));
    }
    if content.log_start > known.log_start {
        let (start, told) = (content.log_start, known.log_start);
        return Err(Broken::Lost(format!("the log starts at {start}, retention went only to {told}")));
    }
    for batch in content.batches() {
        let Some(sent) = known.sent.get(&batch.base_offset()) else {
            return Err(Broken::Wrong(format!("{batch:?} was never sent")));
        };
        // Offset and leader epoch are the log's; everything from the magic on is the client's.
        if batch.bytes()[16..] != sent.bytes[16..] || batch.last_offset() != sent.last_offset {
            return Err(Broken::Wrong(format!("{batch:?} is not what was sent")));
        }
    }
    Ok(())
}
