//! Walking over the batches of a segment file, every checksum verified; and telling a torn write from
//! damage to data that was durable.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use model::{BatchError, Offset, RecordBatch};
use runtime::buffer::AlignedBuf;
use runtime::{Clock, Effects, File};

use crate::StorageError;
use crate::segment::tail::to_u64;
use crate::segment::{FileOf, TORN_WRITE_MAX, page_down, page_up};

/// Bytes per read; with the rest of a page it takes a mebibyte of memory.
const WINDOW: u64 = (1 << 20) - (4 << 10);

/// How long a read waits before it looks for memory again.
const MEMORY_PAUSE: Duration = Duration::from_millis(1);

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanEnd {
    /// The first byte behind the last good batch.
    pub(crate) position: u64,
    /// Why there is no good batch here; `None` at the end of the file.
    pub(crate) problem: Option<String>,
    /// There is one, whole and with the right checksum, but of an offset that cannot stand here, and no unfinished write
    /// can have left that: this batch or the one before is damaged.
    pub(crate) misplaced: bool,
}

impl ScanEnd {
    /// A walk that reached the end of the file.
    pub(crate) const fn of_file(position: u64) -> Self {
        Self { position, problem: None, misplaced: false }
    }

    /// Why the walk ended, in words.
    pub(crate) fn why(&self) -> String {
        self.problem.clone().unwrap_or_else(|| "the file ends".to_owned())
    }
}

/// A segment file being walked over. Nothing is written.
pub(crate) struct Scan<'a, E: Effects> {
    pub(crate) effects: &'a E,
    pub(crate) file: &'a FileOf<E>,
    pub(crate) path: &'a Path,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Whether reads wait for memory.
    patient: bool,
    /// Whether offsets may be missing, as they are behind compaction.
    gaps: bool,
}

impl<'a, E: Effects> Scan<'a, E> {
    pub(crate) const fn new(effects: &'a E, file: &'a FileOf<E>, path: &'a Path, length: u64) -> Self {
        Self { effects, file, path, length, patient: false, gaps: true }
    }

    /// A scan whose reads wait for memory. Only for who holds none meanwhile: others may wait for that.
    pub(crate) const fn patient(effects: &'a E, file: &'a FileOf<E>, path: &'a Path, length: u64) -> Self {
        Self { effects, file, path, length, patient: true, gaps: true }
    }

    /// The same scan of a log whose offsets have no gaps, unless `gaps`.
    pub(crate) const fn with_gaps(mut self, gaps: bool) -> Self {
        self.gaps = gaps;
        self
    }

    /// Visits every good batch from `position` on, up to the first that is not good: cut off, bad checksum, not of
    /// message format 2, or with an offset that does not follow what came before (`next_offset`; if `position` is not 0,
    /// the first batch may be any at or behind that).
    pub(crate) async fn batches(
        &self,
        position: u64,
        next_offset: Offset,
        mut visit: impl FnMut(&RecordBatch<'_>),
    ) -> Result<ScanEnd, StorageError> {
        let (mut position, mut next_offset, mut window) = (position, next_offset, WINDOW);
        let base = next_offset;
        let mut gaps = self.gaps || position > 0;
        while position < self.length {
            let bytes = self.read(position, window).await?;
            let (mut at, mut problem) = (0, None);
            while problem.is_none() && at < bytes.len() {
                match intact_batch(&bytes[at..]) {
                    Ok(batch) if follows(&batch, next_offset, gaps, base) => {
                        visit(&batch);
                        (next_offset, gaps) = (batch.next_offset(), self.gaps);
                        at += batch.size();
                    }
                    Ok(batch) => {
                        let position = position + to_u64(at);
                        let misplaced = batch.base_offset() > next_offset || !may_be_torn(position);
                        let problem = Some(BatchError::Inconsistent(MISPLACED).to_string());
                        return Ok(ScanEnd { position, problem, misplaced });
                    }
                    Err(error) => problem = Some(error),
                }
            }
            position += to_u64(at);
            window = WINDOW;
            match problem {
                None => {}
                // The window cut the batch off, not the file.
                Some(BatchError::Truncated { needed, .. }) if position + to_u64(needed) <= self.length => {
                    window = window.max(to_u64(needed));
                }
                Some(error) => {
                    return Ok(ScanEnd { position, problem: Some(error.to_string()), misplaced: false });
                }
            }
        }
        Ok(ScanEnd::of_file(position))
    }

    /// Whether only zeros follow from `position` on.
    pub(crate) async fn only_zeros(&self, position: u64) -> Result<bool, StorageError> {
        let mut position = position;
        while position < self.length {
            let bytes = self.read(position, WINDOW).await?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            position += to_u64(bytes.len());
        }
        Ok(true)
    }

    /// The position of a valid batch so far behind `bad`, where the batch of offset `expected` should start, that
    /// one unfinished write cannot have left both: then the bytes at `bad` were durable once.
    pub(crate) async fn proof_of_damage(
        &self,
        bad: u64,
        expected: Offset,
    ) -> Result<Option<u64>, StorageError> {
        let Some((found, end)) = self.batch_behind(bad + TORN_WRITE_MAX, expected).await? else {
            return Ok(None);
        };
        // Then it may have been written with a single large batch; see `TORN_WRITE_MAX`.
        let page_end = page_up(found + 1);
        let may_be_torn = end <= page_end && self.only_zeros(page_end).await?;
        Ok((!may_be_torn).then_some(found))
    }

    /// The first good batch at `position` or behind with an offset of at least `expected`: its start and its end.
    async fn batch_behind(
        &self,
        position: u64,
        expected: Offset,
    ) -> Result<Option<(u64, u64)>, StorageError> {
        let mut position = position;
        while position < self.length {
            let bytes = self.read(position, WINDOW).await?;
            // A header may start in one window and end in the next, so windows overlap by a header.
            let is_candidate =
                |&at: &usize| bytes.get(at + 16) == Some(&2) && plausible(&bytes[at..], expected);
            let candidates: Vec<u64> =
                (0..bytes.len()).filter(is_candidate).map(|at| position + to_u64(at)).collect();
            let read = to_u64(bytes.len());
            drop(bytes);
            for found in candidates {
                if let Some(end) = self.batch_end(found, expected).await? {
                    return Ok(Some((found, end)));
                }
            }
            let header = to_u64(RecordBatch::HEADER_SIZE);
            if read <= header || position + read >= self.length {
                break;
            }
            position += read - header;
        }
        Ok(None)
    }

    /// The end of the batch at `position`, if it is good and its offset at least `expected`.
    async fn batch_end(&self, position: u64, expected: Offset) -> Result<Option<u64>, StorageError> {
        let head = self.read(position, to_u64(RecordBatch::HEADER_SIZE)).await?;
        let Ok(size) = RecordBatch::peek_size(&head) else { return Ok(None) };
        drop(head);
        let end = position + to_u64(size);
        if end > self.length {
            return Ok(None);
        }
        let bytes = self.read(position, to_u64(size)).await?;
        Ok(good_batch(&bytes, expected).is_ok().then_some(end))
    }

    /// Up to `length` bytes at `position`, neither aligned.
    pub(crate) async fn read(&self, position: u64, length: u64) -> Result<Bytes, StorageError> {
        let end = position.saturating_add(length).min(self.length);
        let start = page_down(position);
        let aligned = usize::try_from(page_up(end) - start).map_err(|_| StorageError::OverBudget)?;
        let buffer = self.buffer(aligned).await?;
        let (read, buffer) = self.file.read_at(buffer, start, aligned).await;
        let read = read.map_err(|error| StorageError::io("read", self.path, &error))?;
        let skip = usize::try_from(position - start).unwrap_or(0);
        let wanted = usize::try_from(end - position).unwrap_or(0);
        if read < skip + wanted {
            let message = format!("{read} bytes read at {start}, {} expected", skip + wanted);
            let path = self.path.to_owned();
            return Err(StorageError::Corrupt { path, position, offset: Offset(-1), message });
        }
        Ok(buffer.into_bytes(skip..skip + wanted))
    }

    async fn buffer(&self, size: usize) -> Result<AlignedBuf, StorageError> {
        let pool = self.effects.buffers();
        loop {
            match pool.buffer(size) {
                Ok(buffer) => return Ok(buffer),
                // Others give back what they have, since none of them waits for more.
                Err(error) if self.patient && error.wanted_bytes <= error.budget_bytes => {
                    let clock = self.effects.clock();
                    clock.sleep_until(clock.now() + MEMORY_PAUSE).await;
                }
                Err(_) => return Err(StorageError::OverBudget),
            }
        }
    }
}

fn good_batch(bytes: &[u8], next_offset: Offset) -> Result<RecordBatch<'_>, BatchError> {
    let batch = RecordBatch::parse(bytes)?;
    if batch.base_offset() < next_offset || batch.last_offset_delta() < 0 {
        return Err(BatchError::Inconsistent(MISPLACED));
    }
    batch.verify_crc()?;
    Ok(batch)
}

/// A batch that is good but for its base offset, which lies outside the checksum.
fn intact_batch(bytes: &[u8]) -> Result<RecordBatch<'_>, BatchError> {
    let batch = RecordBatch::parse(bytes)?;
    batch.verify_crc()?;
    if batch.last_offset_delta() < 0 { Err(BatchError::Inconsistent(MISPLACED)) } else { Ok(batch) }
}

/// Whether a batch may stand where `expected` is due, in a segment from `base` on: that spans no more than an index can
/// express.
fn follows(batch: &RecordBatch<'_>, expected: Offset, gaps: bool, base: Offset) -> bool {
    let found = batch.base_offset();
    let within = found.0.checked_sub(base.0).is_some_and(|distance| distance <= i64::from(i32::MAX));
    found == expected || (gaps && found > expected && within)
}

/// Whether a device's sector begins in what a batch at `position` has outside its checksum. If the sector before it was not
/// written, zeros stand for the first bytes of the offset, and the rest is good.
const fn may_be_torn(position: u64) -> bool {
    position % SECTOR + UNCHECKED > SECTOR
}

/// The smallest piece of a write that a device leaves whole.
const SECTOR: u64 = 512;

/// Bytes of a batch's offset and length.
const UNCHECKED: u64 = 12;

const MISPLACED: &str = "the offset does not follow the one before";

/// A cheap look at what may be a header.
fn plausible(bytes: &[u8], expected: Offset) -> bool {
    let Some(base) = bytes.first_chunk::<8>() else { return false };
    let base = i64::from_be_bytes(*base);
    let near = base >= expected.0 && base - expected.0 <= i64::from(i32::MAX);
    near && RecordBatch::peek_size(bytes).is_ok_and(|size| size <= 128 << 20)
}
