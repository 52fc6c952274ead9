//! The commit loop of a shard: takes all logs with pending bytes and writes each with one durable write;
//! while those fly the next group collects. No timer: at low load a batch waits for one device write, at high load
//! writes grow until the device is busy.
//!
//! Each log has at most one write to its segment in flight, and is acknowledged either by that or by entries of the journal,
//! which are acknowledged in order; so its bytes become durable in order. Logs do not wait for each other, unless they share
//! an entry.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use model::Offset;
use runtime::buffer::ChunkSlice;
use runtime::{Clock, Effects, File, WriteMode};

use crate::commit::journal;
use crate::commit::state::Turn;
use crate::log::Log;
use crate::segment::prewrite::prewrite_step;
use crate::segment::tail::to_u64;
use crate::segment::{FileOf, LogSegment, page_down, page_up};
use crate::shard::StorageShard;
use crate::{CommitMode, StorageError};

/// Runs until the shard closes.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    while !shard.closing.get() {
        let group = std::mem::take(&mut *shard.commit_queue.borrow_mut());
        if group.is_empty() && !shard.journal.is_due() {
            shard.commit_wake.notified().await;
            continue;
        }
        if !group.is_empty() {
            shard.stats.borrow_mut().commit_group_logs.record(to_u64(group.len()));
        }
        for log in group {
            if journal::takes(&log) {
                shard.journal.join(log);
            } else {
                start_commit(&shard, log);
            }
        }
        if shard.journal.is_due() {
            journal::commit(&shard);
        }
    }
}

/// Has a log write to its segments what it has pending, unless it is in an entry of the journal under way: the end of that
/// queues it again. Tasks that are started in one turn hand their writes to the kernel as one batch.
pub(crate) fn start_commit<E: Effects>(shard: &Rc<StorageShard<E>>, log: Rc<Log<E>>) {
    if log.commit.begin_commit() {
        shard.spawn(commit(log));
    }
}

/// What a log needs next.
enum Step<E: Effects> {
    Open(Rc<LogSegment<E>>),
    Write(Write<E>),
    /// Nothing to write, or a flush or a prewrite has to finish first.
    Nothing,
}

/// One write: whole pages of one segment.
struct Write<E: Effects> {
    segment: Rc<LogSegment<E>>,
    file: FileOf<E>,
    pages: Vec<ChunkSlice>,
    position: u64,
    end: u64,
}

/// Writes what the log has pending, until nothing is, or little: then it may share an entry of the journal.
async fn commit<E: Effects>(log: Rc<Log<E>>) {
    loop {
        let done = match next_step(&log) {
            Step::Nothing => {
                finish_commit(&log);
                if let Some(error) = log.shard.dir_failure() {
                    // Another shard may have met it: whoever waits for this log has to hear of it, too.
                    log.notify_failed(&error);
                }
                return;
            }
            Step::Open(segment) => open_active(&log, &segment).await,
            Step::Write(write) => {
                let written = write_pages(&log, write).await;
                log.commit.finish_write();
                written
            }
        };
        let Err(error) = done else {
            if journal::takes(&log) {
                finish_commit(&log);
                log.queue_commit();
                return;
            }
            continue;
        };
        finish_commit(&log);
        // It may have been deleted meanwhile, and its files with it.
        if !log.is_closed() {
            stall_or_fail(&log, &error);
        }
        return;
    }
}

fn finish_commit<E: Effects>(log: &Log<E>) {
    log.commit.finish_commit();
    log.notify_idle();
}

/// Takes an error of a write to a log that nobody has: it passes, and the same bytes are written again a little later, or it
/// fails the directory.
fn stall_or_fail<E: Effects>(log: &Rc<Log<E>>, error: &StorageError) {
    if !error.is_passing() {
        log.shard.fail(error);
        return;
    }
    if error.is_disk_full() {
        log.shard.note_disk_full();
    } else {
        tracing::warn!(partition = %log.tp, %error, "could not be written now, is tried again");
    }
    log.commit.stall();
    log.shard.stalled.borrow_mut().push(Rc::clone(log));
    log.progress.notify_all();
}

/// Has written to the segment what the journal has of it, in the background, unless a write is under way already: that
/// one's end is heard of.
pub(crate) fn start_flush<E: Effects>(log: &Rc<Log<E>>) {
    if log.commit.is_writing() || log.offline().is_some() {
        return;
    }
    let Some(write) = journaled_pages(log) else { return };
    if !log.commit.begin_flush() {
        return;
    }
    let log = Rc::clone(log);
    let shard = Rc::clone(&log.shard);
    shard.spawn(async move {
        let written = write_pages(&log, write).await;
        log.commit.finish_flush();
        match written {
            // What came meanwhile and was too much for the journal has waited.
            Ok(()) if log.durable_end() < log.log_end_offset() => log.queue_commit(),
            Ok(()) => {}
            Err(_) if log.is_closed() => {}
            // Whoever has the log now tries it again.
            Err(error) if error.is_passing() && log.commit.turn() != Turn::Resting => {}
            Err(error) => stall_or_fail(&log, &error),
        }
        log.progress.notify_all();
    });
}

/// What the journal has and the first segment has not.
fn journaled_pages<E: Effects>(log: &Log<E>) -> Option<Write<E>> {
    let segment = log.state.borrow().first_dirty()?;
    let file = segment.writer.borrow().clone()?;
    let write = {
        let mut state = segment.state.borrow_mut();
        let (start, journaled) = (state.durable_size, state.journaled_size);
        let end = state.write_end(journaled)?;
        let pages = state.tail.pages(start, end);
        Write { segment: Rc::clone(&segment), file, pages, position: page_down(start), end }
    };
    Some(write)
}

fn next_step<E: Effects>(log: &Log<E>) -> Step<E> {
    if log.offline().is_some() || log.commit.is_writing() {
        return Step::Nothing;
    }
    let Some(segment) = log.state.borrow().first_dirty() else { return Step::Nothing };
    let Some(file) = segment.writer.borrow().clone() else { return Step::Open(segment) };
    let mut state = segment.state.borrow_mut();
    let Some(end) = state.write_end(u64::MAX).filter(|_| log.commit.begin_write()) else {
        return Step::Nothing;
    };
    let start = state.durable_size;
    let pages = state.tail.pages(start, end);
    drop(state);
    Step::Write(Write { segment, file, pages, position: page_down(start), end })
}

/// Opens the segment's file, creating it if it is new. Its name becomes durable while it is written first.
async fn open_active<E: Effects>(log: &Rc<Log<E>>, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
    log.file_to_write(segment).await?;
    start_prewrite(log, segment);
    Ok(())
}

/// Creates the segment's file if it is new; its directory entry is durable afterwards.
pub(crate) async fn create_file<E: Effects>(
    log: &Log<E>,
    segment: &Rc<LogSegment<E>>,
) -> Result<(), StorageError> {
    if segment.state.borrow().created {
        return Ok(());
    }
    log.file_to_write(segment).await?;
    name_durably(log, segment).await
}

/// Makes the directory entry of the segment's file durable, if it is new.
async fn name_durably<E: Effects>(log: &Log<E>, segment: &LogSegment<E>) -> Result<(), StorageError> {
    if segment.state.borrow().created {
        return Ok(());
    }
    log.shard.sync_dir(&log.dir).await?;
    segment.state.borrow_mut().created = true;
    Ok(())
}

/// Waits for two things at the same time.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        for_pending(&mut first, a.as_mut(), context);
        for_pending(&mut second, b.as_mut(), context);
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.expect("both are there"), second.expect("both are there"))
}

/// Polls a future that has not ended yet.
fn for_pending<T>(outcome: &mut Option<T>, future: Pin<&mut impl Future<Output = T>>, cx: &mut Context<'_>) {
    if outcome.is_none()
        && let Poll::Ready(ended) = future.poll(cx)
    {
        *outcome = Some(ended);
    }
}

async fn write_pages<E: Effects>(log: &Rc<Log<E>>, write: Write<E>) -> Result<(), StorageError> {
    let Write { segment, file, pages, position, end } = write;
    let bytes: u64 = pages.iter().map(|page| to_u64(page.write_len())).sum();
    let mode = match log.config().commit_mode {
        // The journal goes on without what the segment has, so the segment must have it for good.
        CommitMode::Kafka if log.commit.half().is_none() => WriteMode::Buffered,
        _ => WriteMode::Durable,
    };
    if mode == WriteMode::Buffered {
        log.mark_unsynced().await?;
    }
    let clock = log.shard.effects.clock();
    let started = clock.now();
    log.shard.stats.borrow_mut().writes_in_flight += 1;
    // What is in a file without a name is lost: nothing counts as written before it has one.
    let (written, named) = both(file.write_at(pages, position, mode), name_durably(log, &segment)).await;
    let took = clock.now().since(started);
    {
        let mut stats = log.shard.stats.borrow_mut();
        stats.writes_in_flight -= 1;
        stats.bytes_written += bytes;
        stats.commit_write_bytes.record(bytes);
        stats.commit_write_ns.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    written.map_err(|error| StorageError::io("write", &segment.path("log"), &error))?;
    named?;
    match mode {
        WriteMode::Buffered => segment.state.borrow_mut().buffered_to = end,
        // The mode may have changed: what was written before must not be less durable than what is acknowledged now.
        WriteMode::Durable => log.sync_buffered().await?,
    }
    // Another shard may have seen a failure while this write was under way: then nothing is trusted any more.
    if let Some(error) = log.shard.dir_failure() {
        return Err(error);
    }
    let durable_end = note_written(log, &segment, end, bytes);
    start_prewrite(log, &segment);
    log.notify_durable(durable_end);
    Ok(())
}

fn note_written<E: Effects>(log: &Rc<Log<E>>, segment: &Rc<LogSegment<E>>, end: u64, bytes: u64) -> Offset {
    let mut state = log.state.borrow_mut();
    let mut changed = segment.state.borrow_mut();
    let acknowledged = end.saturating_sub(changed.acknowledged_size());
    state.written_end = changed.written(end);
    state.durable_end = state.durable_end.max(state.written_end);
    let durable_end = state.durable_end;
    if changed.durable_size >= changed.journaled_size {
        log.shard.journal.release(log);
    }
    let sealed = changed.durable_size == changed.size && !Rc::ptr_eq(segment, &state.active());
    drop(changed);
    log.shard.stats.borrow_mut().durable_lag_bytes -= acknowledged;
    state.note_write(bytes);
    drop(state);
    if sealed {
        log.start_maintenance();
    }
    durable_end
}

/// Prewrites ahead of the writer, in the background, where that pays.
pub(crate) fn start_prewrite<E: Effects>(log: &Rc<Log<E>>, segment: &Rc<LogSegment<E>>) {
    if !log.shard.options.prewrite || log.shard.disk_full.get().is_some() || log.shard.closing.get() {
        return;
    }
    let is_active = Rc::ptr_eq(segment, &log.active());
    let (writes, average) = {
        let state = log.state.borrow();
        (state.writes, state.write_bytes_average)
    };
    let mut state = segment.state.borrow_mut();
    let from = page_up(state.size).max(state.physical_size);
    let left = from - page_up(state.size);
    let Some(step) = prewrite_step(writes, average, state.prewrite_step, left) else { return };
    let to = (from + step).min(page_up(log.config().segment_bytes));
    let file = segment.writer.borrow().clone();
    let (Some(file), true, true) = (file, is_active && state.prewriting_from.is_none(), from < to) else {
        return;
    };
    state.prewriting_from = Some(from);
    drop(state);
    log.shard.spawn(prewrite(Rc::clone(log), Rc::clone(segment), file, from, to));
}

async fn prewrite<E: Effects>(
    log: Rc<Log<E>>,
    segment: Rc<LogSegment<E>>,
    file: FileOf<E>,
    from: u64,
    to: u64,
) {
    let written = file.prewrite(from, to).await;
    {
        let mut state = segment.state.borrow_mut();
        state.prewriting_from = None;
        state.physical_size = state.physical_size.max(to);
        state.prewrite_step = to - from;
        if written.is_ok() {
            state.note_prewritten(from, to);
        }
    }
    match written {
        Ok(()) => log.shard.stats.borrow_mut().bytes_prewritten += to - from,
        // The log still fits, perhaps; its own writes will tell.
        Err(error) if StorageError::io("prewrite", &segment.path("log"), &error).is_disk_full() => {}
        Err(error) => log.shard.fail(&StorageError::io("prewrite", &segment.path("log"), &error)),
    }
    log.progress.notify_all();
    if !segment.is_durable() {
        log.queue_commit();
    }
}
