//! Reading a log: from the chunks in memory where they hold the range, else from the files.

use std::rc::Rc;

use bytes::Bytes;
use model::{Offset, RecordBatch};
use runtime::buffer::BufferPool;
use runtime::{Disk, Effects, File, OpenOptions};

use crate::log::Log;
use crate::log::read_memory::{ReadMemory, Unmetered};
use crate::segment::log_read::{LogRead, MemoryPart, ReadLimits, ReadPart};
use crate::segment::read_cache::Found;
use crate::segment::scan::Scan;
use crate::segment::tail::to_u64;
use crate::segment::{FileOf, LogSegment, PAGE, page_down, page_up};
use crate::{ReadError, SealedRead, StorageError};

/// Bytes at most that one read takes from a file, unless a single batch is larger.
const FILE_READ_MAX: u64 = 4 << 20;

/// Bytes read beyond what was asked for, since an index leads only near the batch.
const READ_SLACK: u64 = 8 << 10;

impl<E: Effects> Log<E> {
    /// Reads without waiting, if the range is in memory; `None` if it is not.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`].
    pub fn read_tail(
        &self,
        from: Offset,
        max_bytes: usize,
        min_one_message: bool,
        up_to: Offset,
    ) -> Result<Option<LogRead<E>>, ReadError> {
        self.check_range(from)?;
        let nothing_wanted = max_bytes == 0 && !min_one_message;
        if nothing_wanted || from >= up_to.min(self.log_end_offset()) {
            return Ok(Some(LogRead::nothing()));
        }
        let Some((_, segment)) = self.state.borrow().floor(from) else { return Ok(None) };
        let limits = ReadLimits { max_bytes, min_one: min_one_message, up_to };
        Ok(self.read_memory(&segment, from, limits))
    }

    /// Whole batches in memory; `None` if the one that holds `from` is not there.
    fn read_memory(&self, segment: &LogSegment<E>, from: Offset, limits: ReadLimits) -> Option<LogRead<E>> {
        let limits = ReadLimits { up_to: limits.up_to.min(self.log_end_offset()), ..limits };
        let tail = read_chunks(segment, from, limits);
        if tail.is_some() {
            self.shard.stats.borrow_mut().reads_memory += 1;
            return tail;
        }
        let kept = segment.runs.borrow().read(from, limits, self.shard.now_ms());
        if kept.is_some() {
            self.shard.stats.borrow_mut().reads_cached += 1;
        }
        kept
    }

    /// Reads whole batches from the one that holds `from` on, at most `max_bytes` (or one batch, if that is
    /// larger and `min_one_message`), none that reaches behind `up_to`. A range of a file may end within a batch.
    /// May return less than there is; nothing only if nothing can be returned.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        min_one_message: bool,
        up_to: Offset,
    ) -> Result<LogRead<E>, ReadError> {
        let sendfile = self.reads_ranges();
        self.read_within(
            from,
            ReadLimits { max_bytes, min_one: min_one_message, up_to },
            sendfile,
            &Unmetered,
        )
        .await
    }

    /// As [`Log::read`], with no more memory for buffers than `memory` grants. Ranges of files only if `sendfile` allows.
    ///
    /// # Errors
    /// [`ReadError`]; [`StorageError::OverBudget`] if memory was not granted.
    pub async fn read_within(
        &self,
        from: Offset,
        limits: ReadLimits,
        sendfile: bool,
        memory: &impl ReadMemory,
    ) -> Result<LogRead<E>, ReadError> {
        let ReadLimits { max_bytes, min_one, up_to } = limits;
        if let Some(read) = self.read_tail(from, max_bytes, min_one, up_to)? {
            return Ok(read);
        }
        self.shard.stats.borrow_mut().reads_file += 1;
        let cuts = self.cuts.count();
        let read = self.read_files(from, limits, sendfile, memory).await;
        self.check_uncut(cuts, read)
    }

    /// Whether sealed segments may be read as ranges of files.
    #[must_use]
    pub fn reads_ranges(&self) -> bool {
        self.shard.options.sealed_read == SealedRead::Sendfile
    }

    /// Whole batches from the one that holds `from` on, in one piece of memory.
    pub(crate) async fn read_bytes(&self, from: Offset, limits: ReadLimits) -> Result<Bytes, ReadError> {
        let ReadLimits { max_bytes, min_one, up_to } = limits;
        let cuts = self.cuts.count();
        let read = match self.read_tail(from, max_bytes, min_one, up_to)? {
            Some(read) => read,
            None => {
                let read = self.read_files(from, limits, false, &Unmetered).await;
                self.check_uncut(cuts, read)?
            }
        };
        let mut parts = read.parts.into_iter().filter_map(|part| match part {
            ReadPart::Memory(part) => Some(part.bytes),
            ReadPart::File { .. } => None,
        });
        let first = parts.next().unwrap_or_default();
        let rest: Vec<Bytes> = parts.collect();
        if rest.is_empty() {
            return Ok(first);
        }
        let mut joined = first.to_vec();
        rest.iter().for_each(|part| joined.extend_from_slice(part));
        Ok(Bytes::from(joined))
    }

    pub(crate) fn check_range(&self, from: Offset) -> Result<(), ReadError> {
        let state = self.state.borrow();
        if matches!(state.offline, Some(StorageError::Truncating)) {
            return Err(ReadError::Storage(StorageError::Truncating));
        }
        if from < state.log_start || from > state.log_end {
            let (log_start, log_end) = (state.log_start, state.log_end);
            return Err(ReadError::OffsetOutOfRange { requested: from, log_start, log_end });
        }
        Ok(())
    }

    async fn read_files(
        &self,
        from: Offset,
        limits: ReadLimits,
        sendfile: bool,
        memory: &impl ReadMemory,
    ) -> Result<LogRead<E>, ReadError> {
        let mut from = from;
        loop {
            let (segment, next_base) = {
                let state = self.state.borrow();
                let Some((at, segment)) = state.floor(from) else { break };
                (segment, state.segments.get(at + 1).map(|next| next.base))
            };
            if let Some(read) = self.read_memory(&segment, from, limits) {
                return Ok(read);
            }
            let whole = next_base.is_some_and(|next| next <= limits.up_to);
            let located = if sendfile && segment.is_sealed() && whole {
                self.locate_in_file(&segment, from, limits, memory).await
            } else {
                self.read_file(&segment, from, limits, memory).await
            };
            let read = match located {
                // A direct read finds out what is damaged.
                Err(ReadError::Corrupt(_)) if sendfile => {
                    self.read_file(&segment, from, limits, memory).await?
                }
                located => located?,
            };
            match next_base {
                // Compaction may have left nothing behind `from` in the segment that covers it.
                None if read.is_none() => break,
                Some(next) if read.is_none() && next < limits.up_to => from = next,
                _ => return Ok(read.unwrap_or_else(LogRead::nothing)),
            }
        }
        Ok(LogRead::nothing())
    }

    /// A direct read of whole batches; `None` if the segment has none at or behind `from`. What is bad at the place that the
    /// index leads to may be the index, which has no checksum.
    async fn read_file(
        &self,
        segment: &Rc<LogSegment<E>>,
        from: Offset,
        limits: ReadLimits,
        memory: &impl ReadMemory,
    ) -> Result<Option<LogRead<E>>, ReadError> {
        let place = self.index_place(segment, from).await?;
        match self.read_file_at(segment, place, from, limits, memory).await {
            Err(ReadError::Corrupt(damage)) if place.position > 0 => {
                match self.place_without_index(segment, from).await.map_err(ReadError::Storage)? {
                    Some(place) => self.read_file_at(segment, place, from, limits, memory).await,
                    None => Err(ReadError::Corrupt(damage)),
                }
            }
            read => read,
        }
    }

    async fn read_file_at(
        &self,
        segment: &Rc<LogSegment<E>>,
        place: Place,
        from: Offset,
        limits: ReadLimits,
        memory: &impl ReadMemory,
    ) -> Result<Option<LogRead<E>>, ReadError> {
        let Place { mut position, mut due } = place;
        let mut length = read_length(position, to_u64(limits.max_bytes).min(FILE_READ_MAX));
        // What is kept need not be read again.
        if let Some(kept) = segment.runs.borrow().position_behind(from).filter(|kept| *kept > position) {
            length = length.min(kept - position);
        }
        loop {
            let end = self.readable_end(segment);
            if position >= end {
                let missing = from < segment.next_offset() && end == segment.size() && !self.config().compact;
                let error = model::BatchError::Inconsistent("no batch holds the offset");
                return if missing { Err(self.corrupt(segment, position, from, &error)) } else { Ok(None) };
            }
            let reading = length.min(end - position);
            reserve(memory, position, reading).await?;
            let bytes = self.read_range(segment, position, reading).await?;
            let found = self.select(segment, (position, &mut due), &bytes, from, limits)?;
            match found {
                Selected::Range(start, stop) => {
                    let part = bytes.slice(start..stop);
                    let held = buffer_size(span(position, reading));
                    let found = Found { position: position + to_u64(start), bytes: part.clone(), held };
                    self.shard.read_cache.keep(segment, found, self.shard.now_ms());
                    let next =
                        model::batches(&part).map_while(Result::ok).last().map(|last| last.next_offset());
                    let more = next.is_some_and(|next| next < limits.up_to.min(self.log_end_offset()));
                    let held_bytes = usize::try_from(held).unwrap_or(usize::MAX);
                    return Ok(Some(LogRead {
                        size_bytes: part.len(),
                        parts: vec![ReadPart::Memory(MemoryPart { bytes: part, held_bytes })],
                        more,
                    }));
                }
                Selected::Nothing => return Ok(Some(LogRead::nothing())),
                Selected::MoreFrom(skipped, needed) => {
                    position += to_u64(skipped);
                    length = length.max(to_u64(needed));
                    self.check_within(segment, position, needed, end, from)?;
                }
            }
        }
    }

    /// The range of the sealed file from the batch that holds `from` on.
    async fn locate_in_file(
        &self,
        segment: &Rc<LogSegment<E>>,
        from: Offset,
        limits: ReadLimits,
        memory: &impl ReadMemory,
    ) -> Result<Option<LogRead<E>>, ReadError> {
        let Place { mut position, mut due } = self.index_place(segment, from).await?;
        let end = segment.size();
        let probe = ReadLimits { max_bytes: 1, min_one: true, up_to: Offset(i64::MAX) };
        let mut length = READ_SLACK;
        let first = loop {
            if position >= end {
                return Ok(None);
            }
            let reading = length.min(end - position);
            reserve(memory, position, reading).await?;
            let bytes = self.read_range(segment, position, reading).await?;
            match self.select(segment, (position, &mut due), &bytes, from, probe)? {
                Selected::Range(start, stop) => {
                    position += to_u64(start);
                    break stop - start;
                }
                Selected::Nothing => return Ok(None),
                Selected::MoreFrom(skipped, needed) => {
                    position += to_u64(skipped);
                    length = length.max(to_u64(needed));
                    self.check_within(segment, position, needed, end, from)?;
                }
            }
        };
        if first > limits.max_bytes && !limits.min_one {
            return Ok(Some(LogRead::nothing()));
        }
        let length = to_u64(limits.max_bytes.max(first)).min(end - position);
        let size_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let file = self.buffered_file(segment).await.map_err(ReadError::Storage)?;
        let more = position + length < end || segment.next_offset() < limits.up_to.min(self.log_end_offset());
        Ok(Some(LogRead { parts: vec![ReadPart::File { file, position, length }], size_bytes, more }))
    }

    /// Batches end where their file does; a length beyond that is damaged, and no read could ever satisfy it.
    fn check_within(
        &self,
        segment: &LogSegment<E>,
        position: u64,
        needed: usize,
        end: u64,
        from: Offset,
    ) -> Result<(), ReadError> {
        if position < end && position + to_u64(needed) > end {
            let available = usize::try_from(end - position).unwrap_or(usize::MAX);
            let error = model::BatchError::Truncated { needed, available };
            return Err(self.corrupt(segment, position, from, &error));
        }
        Ok(())
    }

    /// Finds the batches to return among `bytes`, which start with a batch at `position` of the file.
    fn select(
        &self,
        segment: &LogSegment<E>,
        (position, due): (u64, &mut Due),
        bytes: &[u8],
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Selected, ReadError> {
        let (mut at, mut start) = (0, None);
        loop {
            let rest = &bytes[at..];
            let batch = match RecordBatch::parse(rest) {
                Ok(batch) => batch,
                Err(model::BatchError::Truncated { needed, .. }) => {
                    return Ok(match start {
                        Some(start) => Selected::Range(start, at),
                        None => Selected::MoreFrom(at, needed.max(RecordBatch::HEADER_SIZE)),
                    });
                }
                Err(error) if start.is_none() => {
                    return Err(self.corrupt(segment, position + to_u64(at), from, &error));
                }
                Err(_) => return Ok(start.map_or(Selected::Nothing, |start| Selected::Range(start, at))),
            };
            // Offsets lie outside the checksum. Without compaction they have no gaps, so damage shows.
            let fits_in = match std::mem::replace(due, Due::Base(batch.next_offset())) {
                Due::Last(last) => batch.last_offset() == last && batch.base_offset() >= segment.base,
                Due::Base(_) if self.config().compact => batch.base_offset() >= segment.base,
                Due::Base(base) => batch.base_offset() == base,
            };
            if !fits_in {
                let error = model::BatchError::Inconsistent("the offset does not follow the one before");
                let bad = || self.corrupt(segment, position + to_u64(at), from, &error);
                return start.map_or_else(|| Err(bad()), |start| Ok(Selected::Range(start, at)));
            }
            if batch.last_offset() < from {
                at += batch.size();
                continue;
            }
            let first = *start.get_or_insert(at);
            let fits = at + batch.size() - first <= limits.max_bytes || (at == first && limits.min_one);
            let wanted = fits && batch.next_offset() <= limits.up_to;
            // A damaged count of offsets looks like a batch beyond the limits: nothing is said about the first batch
            // before its checksum is.
            if (wanted || at == first)
                && self.shard.options.verify_reads
                && let Err(error) = batch.verify_crc()
            {
                if at > first {
                    return Ok(Selected::Range(first, at));
                }
                return Err(self.corrupt(segment, position + to_u64(at), batch.base_offset(), &error));
            }
            if !wanted {
                return Ok(if at == first { Selected::Nothing } else { Selected::Range(first, at) });
            }
            at += batch.size();
        }
    }

    pub(crate) fn corrupt(
        &self,
        segment: &LogSegment<E>,
        position: u64,
        offset: Offset,
        error: &model::BatchError,
    ) -> ReadError {
        self.shard.stats.borrow_mut().reads_corrupt += 1;
        let path = segment.path("log");
        tracing::error!(path = %path.display(), position, %offset, %error, "damaged batch met by a read");
        ReadError::Corrupt(StorageError::Corrupt { path, position, offset, message: error.to_string() })
    }

    /// Where to start looking for `from`.
    async fn index_place(&self, segment: &Rc<LogSegment<E>>, from: Offset) -> Result<Place, ReadError> {
        self.load_indexes(segment).await.map_err(ReadError::Storage)?;
        let state = segment.state.borrow();
        let found = state.indexes.as_ref().map(|indexes| indexes.offsets.lookup(from));
        Ok(match found {
            Some((last, position)) if position > 0 => Place { position, due: Due::Last(last) },
            _ => Place { position: 0, due: Due::Base(segment.base) },
        })
    }

    /// Where the batch with `from` is, if all of the segment is good as far as that: then the index is not. A sealed segment
    /// gets another one. Once per segment, else a reader that comes back to a damaged batch would cost its length each time.
    async fn place_without_index(
        &self,
        segment: &Rc<LogSegment<E>>,
        from: Offset,
    ) -> Result<Option<Place>, StorageError> {
        if segment.walked.get() {
            return Ok(None);
        }
        let (path, file) = (segment.path("log"), self.file_to_read(segment).await?);
        let scan = Scan::new(&self.shard.effects, &file, &path, self.readable_end(segment));
        let fresh: LogSegment<E> = LogSegment::new(Rc::clone(&self.dir), segment.base, 0);
        let interval = self.config().index_interval_bytes;
        let (mut place, mut due, mut in_line) = (None, segment.base, true);
        let compact = self.config().compact;
        let end = scan
            .batches(0, segment.base, |batch| {
                in_line &= compact || batch.base_offset() == due;
                due = batch.next_offset();
                let mut fresh = fresh.state.borrow_mut();
                if in_line && batch.base_offset() <= from && from < batch.next_offset() {
                    place = Some(Place { position: fresh.size, due: Due::Base(batch.base_offset()) });
                }
                fresh.note_batch(batch, batch.base_offset(), batch.max_timestamp(), interval);
            })
            .await?;
        let whole = end.problem.is_none() && in_line;
        segment.walked.set(!whole);
        if place.is_some() {
            tracing::warn!(path = %segment.path("index").display(), "damaged index, the records are looked for without it");
        }
        if whole && segment.is_sealed() {
            let fresh = fresh.state.borrow_mut().indexes.take();
            let mut state = segment.state.borrow_mut();
            if let (Some(indexes), Some(fresh)) = (&mut state.indexes, fresh) {
                indexes.offsets = fresh.offsets;
            }
        }
        Ok(place)
    }

    /// Whether the log still has a segment.
    fn check_there(&self, segment: &Rc<LogSegment<E>>) -> Result<(), ReadError> {
        if self.is_closed() {
            return Err(ReadError::Storage(StorageError::Closed));
        }
        let state = self.state.borrow();
        if state.segments.iter().any(|one| Rc::ptr_eq(one, segment)) {
            return Ok(());
        }
        let (log_start, log_end) = (state.log_start, state.log_end);
        Err(ReadError::OffsetOutOfRange { requested: segment.base, log_start, log_end })
    }

    /// The end of what the file holds: only durable bytes are on disk for certain.
    fn readable_end(&self, segment: &LogSegment<E>) -> u64 {
        segment.state.borrow().durable_size
    }

    /// Reads `length` bytes (or up to the end of the file) at `position`, neither of them aligned.
    pub(crate) async fn read_range(
        &self,
        segment: &Rc<LogSegment<E>>,
        position: u64,
        length: u64,
    ) -> Result<Bytes, ReadError> {
        let file = self.file_to_read(segment).await.map_err(ReadError::Storage)?;
        let start = page_down(position);
        let aligned = usize::try_from(page_up(position + length) - start).unwrap_or(usize::MAX);
        let buffer = self.shard.effects.buffers().buffer(aligned);
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(_) => {
                self.shard.give_back(aligned);
                let buffer = self.shard.effects.buffers().buffer(aligned);
                buffer.map_err(|_| ReadError::Storage(StorageError::OverBudget))?
            }
        };
        let (read, buffer) = file.read_at(buffer, start, aligned).await;
        let path = segment.path("log");
        let read = read.map_err(|error| ReadError::Storage(StorageError::io("read", &path, &error)))?;
        let skip = usize::try_from(position - start).unwrap_or(0);
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if read < skip.saturating_add(wanted) {
            // It may have been removed meanwhile, which cuts it.
            self.check_there(segment)?;
            let message = format!("the file ends after {read} of {aligned} bytes read at {start}");
            return Err(ReadError::Corrupt(StorageError::Corrupt {
                path,
                position,
                offset: segment.base,
                message,
            }));
        }
        Ok(buffer.into_bytes(skip..skip + wanted))
    }

    /// The segment's file, opened for direct I/O: through what its writer has opened, or else read-only.
    pub(crate) async fn file_to_read(&self, segment: &Rc<LogSegment<E>>) -> Result<FileOf<E>, StorageError> {
        let open = segment.writer.borrow().clone().or_else(|| segment.reader.borrow().clone());
        if let Some(file) = open {
            return Ok(file);
        }
        // A reader finds the file or fails: one that it made would stand in the directory of whoever has the name now.
        let access = OpenOptions { write: false, create: false, direct: true };
        let file = self.shard.open_direct(&segment.path("log"), access).await;
        self.check_name()?;
        let opened = segment.reader.borrow_mut().get_or_insert(file?).clone();
        self.note_opened(segment);
        Ok(opened)
    }

    /// The file of a segment that is not sealed, opened for direct I/O by who writes, cuts or syncs it.
    pub(crate) async fn file_to_write(&self, segment: &Rc<LogSegment<E>>) -> Result<FileOf<E>, StorageError> {
        assert!(!segment.is_sealed(), "nothing of a sealed segment is written");
        if let Some(file) = segment.writer.borrow().clone() {
            return Ok(file);
        }
        let file = self.shard.open_to_write(&segment.path("log")).await?;
        let opened = segment.writer.borrow_mut().get_or_insert(file).clone();
        self.note_opened(segment);
        Ok(opened)
    }

    /// Puts the segment where files are closed if there are too many: each kind of segment has its list.
    pub(crate) fn note_opened(&self, segment: &Rc<LogSegment<E>>) {
        if segment.is_sealed() {
            self.shard.sealed_files.note(segment);
        } else {
            self.shard.note_unsealed_opened(self);
        }
    }

    /// A deleted log has lost its name; what a reader finds under it may be another's. What writes finds its files by name
    /// until then, and a deletion waits for it.
    fn check_name(&self) -> Result<(), StorageError> {
        if self.is_closed() { Err(StorageError::Closed) } else { Ok(()) }
    }

    async fn buffered_file(&self, segment: &Rc<LogSegment<E>>) -> Result<FileOf<E>, StorageError> {
        if let Some(file) = segment.buffered.borrow().clone() {
            return Ok(file);
        }
        let path = segment.path("log");
        let opened = self.shard.effects.disk().open(&path, OpenOptions::default()).await;
        self.check_name()?;
        let file = opened.map_err(|error| StorageError::io("open", &path, &error))?;
        let opened = segment.buffered.borrow_mut().get_or_insert(file).clone();
        self.shard.sealed_files.note(segment);
        Ok(opened)
    }
}

/// A batch in a segment, and how to tell that it is the right one.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    due: Due,
}

/// The offset that tells a batch.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// Its first one, which follows from the batch before.
    Base(Offset),
    /// Its last one, which the index has.
    Last(Offset),
}

/// What [`Log::select`] found.
enum Selected {
    /// Batches to return.
    Range(usize, usize),
    /// The limits allow nothing.
    Nothing,
    /// So many bytes are of no interest, so many are needed behind them to say more.
    MoreFrom(usize, usize),
}

/// Asks for the memory of the buffer that a range is read into.
async fn reserve(memory: &impl ReadMemory, position: u64, length: u64) -> Result<(), ReadError> {
    let bytes = usize::try_from(buffer_size(span(position, length))).unwrap_or(usize::MAX);
    if memory.reserve(bytes).await { Ok(()) } else { Err(ReadError::Storage(StorageError::OverBudget)) }
}

/// Bytes of the pages that hold a range.
pub(crate) fn span(position: u64, length: u64) -> u64 {
    page_up(position + length) - page_down(position)
}

/// How much to read at `position` for a reader that wants so much: a little more, unless that takes a much larger buffer,
/// which would be kept.
fn read_length(position: u64, wanted: u64) -> u64 {
    let generous = wanted + READ_SLACK;
    let frugal = buffer_size(wanted);
    let spares = wanted >= 16 * READ_SLACK && buffer_size(span(position, generous)) > frugal;
    if spares { frugal - position % PAGE } else { generous }
}

pub(crate) fn buffer_size(bytes: u64) -> u64 {
    to_u64(BufferPool::size_of(usize::try_from(bytes).unwrap_or(usize::MAX)))
}

/// Whole batches in the chunks of the tail; `None` if the one that holds `from` is not there.
fn read_chunks<E: Effects>(segment: &LogSegment<E>, from: Offset, limits: ReadLimits) -> Option<LogRead<E>> {
    let state = segment.state.borrow();
    let (first, mark) = state.tail.find(from)?;
    let end = state.tail.run_end(first, to_u64(limits.max_bytes), limits.min_one, limits.up_to, state.size);
    if end == mark.position {
        return Some(LogRead::nothing());
    }
    let parts = state.tail.parts(mark.position, end).into_iter().map(ReadPart::Memory).collect();
    let size_bytes = usize::try_from(end - mark.position).unwrap_or(usize::MAX);
    let more = state.tail.next_at(end).unwrap_or(state.next_offset) < limits.up_to;
    Some(LogRead { parts, size_bytes, more })
}
