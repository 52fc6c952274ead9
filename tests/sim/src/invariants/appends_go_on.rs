//! A restarted log takes appends and acknowledges them.

use std::rc::Rc;

use model::ProducerId;

use super::Broken;
use crate::oracle::Oracle;
use crate::server::{Server, SimLog};
use crate::workload::append;

pub(super) async fn check(server: &Server, log: &Rc<SimLog>, oracle: &Rc<Oracle>) -> Result<(), Broken> {
    append(server, log, oracle, ProducerId(1), 1, 50).await?;
    log.flush().await.map_err(|error| Broken::Stuck(error.to_string()))?;
    if oracle.known().acked == log.log_end_offset() {
        Ok(())
    } else {
        Err(Broken::Stuck("flushed and not acknowledged".into()))
    }
}
