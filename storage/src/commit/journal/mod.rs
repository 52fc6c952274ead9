//! The journal of a shard: when several logs have a little pending each, one durable write acknowledges all of them, and
//! their segments are written later in larger pieces (docs/adr/0003-journal.md).
//!
//! The file has two halves, which are filled in turn. A half is used again only when everything in it stands, durably,
//! in the segments. Each use begins with an entry without pieces, which is durable before the next one is written: it fits
//! in a sector, so that a power cut leaves the half either in its old use or in the new one.
//!
//! Few entries are in flight at a time, and they are acknowledged in order, so that a log may be in several: nothing behind
//! an unfinished entry counts. An entry says which before it were not acknowledged yet, and the first of a half, before which all
//! are, how many the other half has; a bad one that a later one knew to be durable is damaged, another is an unfinished write.
//!
//! What an entry says of a segment is never contradicted later: a log grows at its end only. So replaying old entries
//! changes nothing. Whoever cuts a log or takes it away ends it in the journal, see [`end_log`].
//!
//! A log that is in an entry in flight does not write to its segment beyond what the journal has acknowledged.
//!
//! Invariant: a half has `users` as long as an entry in it is in flight, or a log has bytes in it that its segment does not
//! have.

pub(crate) mod entry;
pub(crate) mod replay;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::buffer::{ChunkSlice, PAGE_SIZE};
use runtime::sync::Semaphore;
use runtime::{Clock, Disk, Effects, File, Monotonic, WriteMode};

use crate::commit::commit_loop::{self, start_commit};
use crate::commit::journal::entry::{EntryBuilder, EntryId, HISTORY_MAX};
use crate::commit::journal::replay::FILE_BYTES_MAX;
use crate::log::Log;
use crate::mutant::{Mutant, planted};
use crate::segment::tail::to_u64;
use crate::segment::{FileOf, LogSegment, page_up};
use crate::shard::StorageShard;
use crate::{CommitMode, StorageError};

/// A log with more than this pending writes to its segment: the bytes would be written twice for nothing.
const PIECE_BYTES_MAX: u64 = 16 << 10;

/// Bytes of an entry.
const ENTRY_BYTES_MAX: usize = 256 << 10;

/// A log's segment is written when it lacks so much that stands in the journal...
const FLUSH_BYTES: u64 = 128 << 10;

/// ... and from here on the log does without the journal until that has happened.
const UNFLUSHED_BYTES_MAX: u64 = 1 << 20;

/// Entries that are written at the same time: while the device is busy with one, the next is on its way.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;

/// Segments that are written at the same time to empty a half.
const FLUSHES_MAX: usize = 8;

/// How long a piece that ends a log waits for a place in the journal.
const END_PAUSE: Duration = Duration::from_millis(1);

/// Bytes of zeros written at a time while the file is made.
const PREPARE_STEP: u64 = 1 << 20;

/// A journal that takes more of the free space than one part in so many is not made...
const SPACE_SHARES: u64 = 8;

/// ... but thought of again after a while.
const PREPARE_PAUSE: Duration = Duration::from_secs(60);

/// A journal smaller than this is not worth its file.
const HALF_BYTES_MIN: u64 = 16 << 10;

/// The journal of one shard. Lives on every shard.
pub(crate) struct Journal<E: Effects> {
    /// Logs that wait for the next entry.
    lane: RefCell<Vec<Rc<Log<E>>>>,
    phase: RefCell<Phase<E>>,
    /// Entries that are not acknowledged yet, oldest first.
    in_flight: RefCell<VecDeque<Flight<E>>>,
    /// Per half, entries under way and logs with bytes in it that their segments do not have.
    users: [Cell<usize>; 2],
    builder: RefCell<EntryBuilder>,
}

enum Phase<E: Effects> {
    /// There is no file. Not to be made before this time.
    Absent(Monotonic),
    Preparing,
    Ready(Area<E>),
}

/// The file and where the next entry goes.
struct Area<E: Effects> {
    path: PathBuf,
    file: FileOf<E>,
    half_bytes: u64,
    half: usize,
    /// Within the half.
    position: u64,
    next: EntryId,
}

/// An entry under way, or behind one that is.
struct Flight<E: Effects> {
    id: EntryId,
    half: usize,
    members: Vec<Member<E>>,
    written: bool,
}

/// What an entry has of one log.
struct Member<E: Effects> {
    log: Rc<Log<E>>,
    segment: Rc<LogSegment<E>>,
    /// The end of its piece in the segment.
    end: u64,
}

/// An entry, ready to be written.
struct Place<E: Effects> {
    slice: ChunkSlice,
    file: FileOf<E>,
    position: u64,
    path: PathBuf,
    id: EntryId,
}

impl<E: Effects> Journal<E> {
    pub(crate) fn new() -> Self {
        Self {
            lane: RefCell::default(),
            phase: RefCell::new(Phase::Absent(Monotonic::default())),
            in_flight: RefCell::default(),
            users: [Cell::new(0), Cell::new(0)],
            builder: RefCell::default(),
        }
    }

    /// Nothing waits any more.
    pub(crate) fn forget_lane(&self) {
        self.lane.take();
    }

    /// Has a log wait for the next entry.
    pub(crate) fn join(&self, log: Rc<Log<E>>) {
        log.commit.join_lane();
        self.lane.borrow_mut().push(log);
    }

    /// Whether logs that wait may go on.
    pub(crate) fn is_due(&self) -> bool {
        !self.lane.borrow().is_empty() && self.takes_entry()
    }

    /// Whether another entry may be under way; beside the first of a half none may.
    fn takes_entry(&self) -> bool {
        let in_flight = self.in_flight.borrow();
        in_flight.len() < ENTRIES_IN_FLIGHT_MAX && in_flight.iter().all(|flight| flight.id.sequence > 0)
    }

    /// A log's segment has all that the journal has of it, or the log is gone.
    pub(crate) fn release(&self, log: &Log<E>) {
        if let Some(half) = log.commit.release_half() {
            self.users[half].set(self.users[half].get() - 1);
        }
    }

    /// Which of the entries just before `next` are in flight, a bit each; `None` if that cannot be said.
    fn history(&self, next: EntryId) -> Option<u32> {
        let mut history = 0;
        for entry in &*self.in_flight.borrow() {
            let back = next.sequence - entry.id.sequence - 1;
            history |= (back < HISTORY_MAX).then(|| 1 << back)?;
        }
        Some(history)
    }

    /// How often the lane has a log, and how many entries under way; for tests.
    pub(crate) fn places_of(&self, log: &Log<E>) -> (usize, usize) {
        let is_log = |other: &Rc<Log<E>>| std::ptr::eq(Rc::as_ptr(other), log);
        let in_lane = self.lane.borrow().iter().filter(|other| is_log(other)).count();
        let in_flight = self.in_flight.borrow();
        let members = in_flight.iter().flat_map(|flight| &flight.members);
        (in_lane, members.filter(|member| is_log(&member.log)).count())
    }
}

/// Whether what a log has pending is for the journal: little, and the segment has its blocks already, so that neither its
/// own write nor a replay can meet a full disk.
pub(crate) fn takes<E: Effects>(log: &Log<E>) -> bool {
    log.shard.options.journal_bytes > 0 && pending_piece(log).is_some()
}

/// The segment, and the bytes that the next entry has to have of it.
fn pending_piece<E: Effects>(log: &Log<E>) -> Option<(Rc<LogSegment<E>>, std::ops::Range<u64>)> {
    if log.offline().is_some() || log.config().commit_mode != CommitMode::Fsync {
        return None;
    }
    let segment = log.state.borrow().first_dirty().filter(|segment| Rc::ptr_eq(segment, &log.active()))?;
    let range = {
        let state = segment.state.borrow();
        // A replay finds the file by its name.
        let fits = state.has_blocks() && state.created && state.buffered_to == 0;
        let range = state.acknowledged_size().max(state.entered_size)..state.size;
        let little = (1..=PIECE_BYTES_MAX).contains(&(range.end - range.start));
        let flushed = range.end - state.durable_size <= UNFLUSHED_BYTES_MAX;
        (fits && little && flushed).then_some(range)?
    };
    let opened = segment.writer.borrow().is_some();
    opened.then_some((segment, range))
}

/// Writes an entry for the logs that wait, or has them write to their segments if that is as well.
pub(crate) fn commit<E: Effects>(shard: &Rc<StorageShard<E>>) {
    let journal = &shard.journal;
    let lane = std::mem::take(&mut *journal.lane.borrow_mut());
    // One log alone, with nothing under way, writes the same to its segment.
    let worthwhile = lane.len() >= 2 || !journal.in_flight.borrow().is_empty();
    if worthwhile && matches!(*journal.phase.borrow(), Phase::Absent(_)) {
        prepare(shard);
    }
    if !worthwhile || !matches!(*journal.phase.borrow(), Phase::Ready(_)) {
        return lane.into_iter().for_each(|log| start_commit(shard, log));
    }
    let members = gather(shard, lane);
    let place = if members.is_empty() { None } else { place(shard) };
    if place.as_ref().is_some_and(|place| place.id.sequence > 0) {
        note_entered(journal, members);
    } else {
        members.into_iter().for_each(|member| start_commit(shard, member.log));
    }
    if let Some(place) = place {
        shard.spawn(write(Rc::clone(shard), place));
    }
}

/// Notes what the newest entry has of the logs; they may wait for the next one at once.
fn note_entered<E: Effects>(journal: &Journal<E>, members: Vec<Member<E>>) {
    for Member { log, segment, end } in &members {
        segment.state.borrow_mut().entered_size = *end;
        log.commit.enter_entry();
    }
    let mut in_flight = journal.in_flight.borrow_mut();
    in_flight.back_mut().expect("the entry has been given its place").members = members;
}

/// Writes an entry that has been given its place, and acknowledges what is whole then.
async fn write<E: Effects>(shard: Rc<StorageShard<E>>, place: Place<E>) {
    let Place { slice, file, position, path, id } = place;
    let written = file.write_at(vec![slice], position, WriteMode::Durable).await;
    if let Err(error) = written {
        shard.fail(&StorageError::io("write", &path, &error));
    }
    for flight in shard.journal.in_flight.borrow_mut().iter_mut().filter(|flight| flight.id == id) {
        flight.written = true;
    }
    loop {
        let whole = shard.journal.in_flight.borrow_mut().pop_front_if(|first| first.written);
        let Some(flight) = whole else { break };
        finish(&shard, flight);
    }
    shard.commit_wake.notify_one();
}

/// Ends a log in the journal: of this log, nothing at or above `from` counts of what is in older entries. Durable when this
/// returns. For a deletion that is everything, so that nothing old comes back with a log of the same name and topic. For a cut
/// it comes before the file is cut: the next append is written where older entries have something else.
///
/// No entry under way may have bytes of the log.
pub(crate) async fn end_log<E: Effects>(
    shard: &Rc<StorageShard<E>>,
    log: &Log<E>,
    from: Offset,
) -> Result<(), StorageError> {
    let journal = &shard.journal;
    while log.commit.is_journaled()
        && matches!(*journal.phase.borrow(), Phase::Ready(_))
        && !planted(Mutant::EndsNoLog)
    {
        if let Some(error) = shard.dir_failure() {
            return Err(error);
        }
        let Some(place) = place_end(shard, log, from) else {
            empty(shard);
            let clock = shard.effects.clock();
            clock.sleep_until(clock.now() + END_PAUSE).await;
            continue;
        };
        let EntryId { generation, sequence } = place.id;
        write(Rc::clone(shard), place).await;
        let is_id = |flight: &Flight<E>| flight.id == EntryId { generation, sequence };
        while journal.in_flight.borrow().iter().any(is_id) {
            let clock = shard.effects.clock();
            clock.sleep_until(clock.now() + END_PAUSE).await;
        }
        // What begins a half says nothing yet.
        if sequence > 0 && !shard.dir.is_failed() {
            if from == Offset::ZERO {
                log.commit.leave_journal();
            }
            return Ok(());
        }
    }
    Ok(())
}

/// A place for the piece that ends a log, or for what has to come before it; `None` as long as there is none.
fn place_end<E: Effects>(shard: &Rc<StorageShard<E>>, log: &Log<E>, from: Offset) -> Option<Place<E>> {
    if !shard.journal.takes_entry() {
        return None;
    }
    {
        let mut builder = shard.journal.builder.borrow_mut();
        builder.begin();
        builder.add_end((log.topic_id(), &log.tp), from);
    }
    place(shard)
}

/// Collects the pieces of an entry. Logs that have become too much for it write to their segments, those beyond the limit
/// wait for the next.
fn gather<E: Effects>(shard: &Rc<StorageShard<E>>, lane: Vec<Rc<Log<E>>>) -> Vec<Member<E>> {
    let mut builder = shard.journal.builder.borrow_mut();
    builder.begin();
    let mut members = Vec::with_capacity(lane.len());
    for log in lane {
        if builder.len() >= ENTRY_BYTES_MAX {
            shard.journal.lane.borrow_mut().push(log);
            continue;
        }
        let Some((segment, range)) = pending_piece(&log) else {
            start_commit(shard, log);
            continue;
        };
        let slices = segment.state.borrow().tail.slices(range.start, range.end);
        let length = usize::try_from(range.end - range.start).expect("pieces are small");
        let parts = slices.iter().map(|slice| &slice[..]);
        builder.add((log.topic_id(), &log.tp), (segment.base, range.start), length, parts);
        members.push(Member { log, segment, end: range.end });
    }
    members
}

/// Finds room for the entry that was built, or begins the other half instead; `None` if there is no room, in memory or in
/// the file, or an entry in flight stands in the way.
fn place<E: Effects>(shard: &Rc<StorageShard<E>>) -> Option<Place<E>> {
    let mut phase = shard.journal.phase.borrow_mut();
    let Phase::Ready(area) = &mut *phase else { return None };
    let mut builder = shard.journal.builder.borrow_mut();
    let mut length = page_up(to_u64(builder.len()));
    let mut chunk = shard.effects.buffers().chunk(builder.len()).ok()?;
    let mut history = shard.journal.history(area.next)?;
    let begins_half = area.position + length > area.half_bytes;
    if begins_half {
        let other = 1 - area.half;
        let fits = length <= area.half_bytes - to_u64(PAGE_SIZE);
        if !fits || shard.journal.users[other].get() > 0 || !shard.journal.in_flight.borrow().is_empty() {
            return None;
        }
        shard.spawn(empty_half(Rc::clone(shard), area.half));
        (area.half, area.position) = (other, 0);
        history = u32::try_from(area.next.sequence).expect("a half has few entries");
        area.next = EntryId { generation: area.next.generation + 1, sequence: 0 };
        builder.begin();
        length = to_u64(PAGE_SIZE);
    }
    let id = area.next;
    chunk.append(builder.finish(id, history));
    let slice = chunk.pages(0..chunk.len());
    let position = to_u64(area.half) * area.half_bytes + area.position;
    area.position += length;
    area.next.sequence += 1;
    {
        let mut stats = shard.stats.borrow_mut();
        stats.journal_entries += u64::from(!begins_half);
        stats.journal_bytes += length;
    }
    let journal = &shard.journal;
    let flight = Flight { id, half: area.half, members: Vec::new(), written: false };
    journal.in_flight.borrow_mut().push_back(flight);
    journal.users[area.half].set(journal.users[area.half].get() + 1);
    Some(Place { slice, file: area.file.clone(), position, path: area.path.clone(), id })
}

/// Acknowledges what an entry has, if it and all before it were written.
fn finish<E: Effects>(shard: &Rc<StorageShard<E>>, flight: Flight<E>) {
    let journal = &shard.journal;
    let Flight { half, members, .. } = flight;
    let left = matches!(&*journal.phase.borrow(), Phase::Ready(area) if area.half != half);
    // Another shard may have seen a failure while this write was under way: then nothing is trusted any more.
    let failed = shard.dir.is_failed();
    for member in &members {
        if member.log.commit.leave_entry((!failed).then_some(half)) {
            journal.users[half].set(journal.users[half].get() + 1);
        }
        if !failed {
            note_journaled(member);
        }
    }
    journal.users[half].set(journal.users[half].get() - 1);
    for Member { log, segment, .. } in members {
        if failed {
            shard.dir_failure().iter().for_each(|error| log.notify_failed(error));
        }
        if log.is_closed() || failed {
            // Its deletion waits for that.
            log.progress.notify_all();
            continue;
        }
        let durable_end = log.durable_end();
        commit_loop::start_prewrite(&log, &segment);
        let unflushed = {
            let state = segment.state.borrow();
            state.journaled_size.saturating_sub(state.durable_size)
        };
        if unflushed >= FLUSH_BYTES || left {
            commit_loop::start_flush(&log);
        }
        if log.log_end_offset() > durable_end {
            log.queue_commit();
        }
        log.notify_durable(durable_end);
    }
}

fn note_journaled<E: Effects>(member: &Member<E>) {
    let Member { log, segment, end } = member;
    let mut segment = segment.state.borrow_mut();
    let bytes = end - segment.acknowledged_size();
    let durable_end = segment.journaled(*end);
    let mut state = log.state.borrow_mut();
    state.durable_end = state.durable_end.max(durable_end);
    state.note_write(bytes);
    log.shard.stats.borrow_mut().durable_lag_bytes -= bytes;
}

/// Has the segments of all logs written that a half is kept for.
async fn empty_half<E: Effects>(shard: Rc<StorageShard<E>>, half: usize) {
    let logs: Vec<Rc<Log<E>>> = {
        let logs = shard.logs.borrow();
        logs.values().filter(|log| log.commit.half() == Some(half)).cloned().collect()
    };
    let slots = Semaphore::new(FLUSHES_MAX);
    for log in logs {
        let slot = slots.acquire(1).await;
        shard.spawn(async move {
            // If that fails, the log or the directory has failed and has said so.
            let _ = log.written_to(log.durable_end()).await;
            drop(slot);
        });
    }
}

/// Has the segments written of all logs that the journal is kept for: only then does their memory become free.
pub(crate) fn empty<E: Effects>(shard: &StorageShard<E>) {
    if shard.journal.users.iter().all(|users| users.get() == 0) {
        return;
    }
    for log in shard.logs.borrow().values().filter(|log| log.commit.half().is_some()) {
        commit_loop::start_flush(log);
    }
}

/// Makes the file, in the background.
fn prepare<E: Effects>(shard: &Rc<StorageShard<E>>) {
    let now = shard.effects.clock().now();
    {
        let mut phase = shard.journal.phase.borrow_mut();
        match *phase {
            Phase::Absent(from) if from <= now && shard.disk_full.get().is_none() => {}
            _ => return,
        }
        *phase = Phase::Preparing;
    }
    let shard = Rc::clone(shard);
    let task = Rc::clone(&shard);
    shard.spawn(async move {
        let made = make_file(&task).await;
        let phase = match made {
            Ok(Some(area)) => Phase::Ready(area),
            Ok(None) => Phase::Absent(now + PREPARE_PAUSE),
            Err(error) => {
                task.background_error(&error);
                Phase::Absent(now + PREPARE_PAUSE)
            }
        };
        *task.journal.phase.borrow_mut() = phase;
    });
}

/// A file full of zeros, durable; `None` if there is too little room for it.
async fn make_file<E: Effects>(shard: &StorageShard<E>) -> Result<Option<Area<E>>, StorageError> {
    let disk = shard.effects.disk();
    let space = disk.space(shard.dir.path()).await;
    let space = space.map_err(|error| StorageError::io("stat", shard.dir.path(), &error))?;
    let room = space.available.saturating_sub(shard.options.disk_reserve_bytes) / SPACE_SHARES;
    let half_bytes = page_up(shard.options.journal_bytes.min(room).min(FILE_BYTES_MAX) / 2);
    if half_bytes < HALF_BYTES_MIN {
        return Ok(None);
    }
    let path = shard.dir.new_journal_path();
    let file = shard.open_to_write(&path).await?;
    let mut from = 0;
    while from < 2 * half_bytes && !shard.closing.get() {
        let to = (from + PREPARE_STEP).min(2 * half_bytes);
        if let Err(error) = file.prewrite(from, to).await {
            drop(file);
            // Zeros tell the next start nothing, should this fail as well.
            let _ = disk.remove_file(&path).await;
            return Err(StorageError::io("prewrite", &path, &error));
        }
        from = to;
    }
    disk.sync_dir(shard.dir.path())
        .await
        .map_err(|error| StorageError::io("sync", shard.dir.path(), &error))?;
    // Nobody who writes records knows the number, so that no record can pass for an entry.
    let next = EntryId { generation: shard.effects.random() >> 1, sequence: 0 };
    // As if the second half were full: the first entry begins the first one.
    Ok(Some(Area { path, file, half_bytes, half: 1, position: half_bytes, next }))
}

/// Removes the file. All logs must be closed.
pub(crate) async fn remove<E: Effects>(shard: &StorageShard<E>) -> Result<(), StorageError> {
    let phase = shard.journal.phase.replace(Phase::Absent(Monotonic::default()));
    let Phase::Ready(area) = phase else { return Ok(()) };
    shard.remove_if_there(&area.path).await
}
