//! Free space of the disk: appends of clients end at the reserve, and what met a full disk is written when there is room.

use std::rc::Rc;
use std::time::Duration;

use runtime::{Clock, Disk, Effects};

use crate::StorageError;
use crate::shard::{SPACE_CREDIT_MIN, StorageShard};

/// How often free space is looked at.
const SPACE_CHECK: Duration = Duration::from_secs(1);

/// Looks at free space now and then; takes writes up again when a full disk has room.
pub(crate) async fn watch<E: Effects>(shard: Rc<StorageShard<E>>) {
    let clock = shard.effects.clock().clone();
    let weak = Rc::downgrade(&shard);
    drop(shard);
    loop {
        clock.sleep_until(clock.now() + SPACE_CHECK).await;
        let Some(shard) = weak.upgrade() else { return };
        if shard.closing.get() {
            return;
        }
        if let Err(error) = check(&shard).await {
            tracing::warn!(%error, "free space could not be read");
        }
    }
}

/// Looks at it as soon as so much was appended that it may be short, until the shard closes.
pub(crate) async fn watch_spent<E: Effects>(shard: Rc<StorageShard<E>>) {
    loop {
        shard.space_spent.notified().await;
        if shard.closing.get() {
            return;
        }
        if let Err(error) = check(&shard).await {
            tracing::warn!(%error, "free space could not be read");
        }
    }
}

/// Compares free space with the reserve and says how much may be appended before the next look.
pub(crate) async fn check<E: Effects>(shard: &Rc<StorageShard<E>>) -> Result<(), StorageError> {
    let path = shard.dir.path();
    let space = shard.effects.disk().space(path).await;
    let space = space.map_err(|error| StorageError::io("stat", path, &error))?;
    let reserve = shard.options.disk_reserve_bytes;
    {
        let mut stats = shard.stats.borrow_mut();
        stats.disk_available_bytes = space.available;
        stats.disk_total_bytes = space.total;
        stats.disk_reserve_bytes = reserve;
    }
    let credit = space.available.saturating_sub(reserve) / SPACE_SHARES;
    shard.space_credit.set(credit.max(SPACE_CREDIT_MIN));
    let was_full = shard.disk_full.get().is_some();
    // After a full disk a little more than nothing must be there before it is tried again.
    let enough = if was_full { reserve.max(MARGIN_BYTES) } else { reserve };
    if space.available < enough {
        shard.note_short_of_room(space.available);
        return Ok(());
    }
    if was_full {
        tracing::info!(path = %path.display(), available = space.available, "the disk has room again");
        shard.disk_full.set(None);
        shard.retention_due.forget_short();
    }
    let stalled = std::mem::take(&mut *shard.stalled.borrow_mut());
    for log in stalled {
        log.commit.resume();
        log.queue_commit();
    }
    Ok(())
}

/// What must be free before a full disk is tried again.
const MARGIN_BYTES: u64 = 1 << 20;
/// A shard may append this part of what is free above the reserve without a look: others append to the same disk.
const SPACE_SHARES: u64 = 16;
