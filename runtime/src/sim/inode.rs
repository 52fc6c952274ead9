//! The content of one simulated file: what readers see, and what stands on stable storage.

use std::collections::BTreeSet;
use std::ops::Range;

/// The unit that a power cut keeps or loses as a whole.
pub const SECTOR_SIZE: usize = 512;

/// A file without its name.
///
/// Invariant: a sector in which `cache` and `stable` differ is in `dirty` or in `lost`, or lies behind the end of
/// `stable` and is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What reads see.
    cache: Vec<u8>,
    /// What a power cut cannot take away.
    stable: Vec<u8>,
    /// Sectors that the next sync makes durable.
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync marked clean without writing them.
    lost: BTreeSet<usize>,
}

impl Inode {
    /// A file that is durable as it is.
    pub(super) fn settled(content: Vec<u8>) -> Self {
        Self { stable: content.clone(), cache: content, ..Self::default() }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn stable(&self) -> &[u8] {
        &self.stable
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        for sector in sectors(offset..end) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
        }
    }

    /// Makes a range durable, and the length as far as the range's end.
    pub(super) fn sync_range(&mut self, range: Range<usize>) {
        if self.stable.len() < range.end {
            self.stable.resize(range.end, 0);
        }
        for sector in sectors(range) {
            if self.dirty.remove(&sector) {
                self.settle(sector);
            }
        }
    }

    /// Makes content and length durable.
    pub(super) fn sync(&mut self) {
        self.stable.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.settle(sector);
        }
    }

    /// A sync that fails: nothing is written, and nothing will be by the next one.
    pub(super) fn sync_failed(&mut self) {
        self.lost.append(&mut self.dirty);
    }

    /// Sets the length, durably.
    pub(super) fn truncate(&mut self, length: usize) {
        self.cache.resize(length, 0);
        self.stable.resize(length, 0);
        let behind = length.div_ceil(SECTOR_SIZE);
        self.dirty.split_off(&behind);
        self.lost.split_off(&behind);
    }

    /// A power cut: each sector that is not durable is kept with the chance `keep`, independently.
    pub(super) fn power_cut(&mut self, keep: f64, rng: &mut fastrand::Rng) {
        let mut unsettled = std::mem::take(&mut self.dirty);
        unsettled.append(&mut self.lost);
        if self.cache.len() > self.stable.len() {
            let length = match rng.u8(0..3) {
                0 => self.stable.len(),
                1 => self.cache.len(),
                _ => rng.usize(self.stable.len()..=self.cache.len()),
            };
            self.stable.resize(length, 0);
        }
        for sector in unsettled {
            if rng.f64() < keep {
                self.settle(sector);
            }
        }
        self.cache.clone_from(&self.stable);
    }

    /// Changes one byte everywhere, as bit rot would.
    pub(super) fn corrupt(&mut self, offset: usize) {
        for content in [&mut self.cache, &mut self.stable] {
            if let Some(byte) = content.get_mut(offset) {
                *byte ^= 0x10;
            }
        }
    }

    fn settle(&mut self, sector: usize) {
        let start = sector * SECTOR_SIZE;
        let end = (start + SECTOR_SIZE).min(self.cache.len()).min(self.stable.len());
        if start < end {
            self.stable[start..end].copy_from_slice(&self.cache[start..end]);
        }
    }
}

fn sectors(range: Range<usize>) -> Range<usize> {
    range.start / SECTOR_SIZE..range.end.div_ceil(SECTOR_SIZE)
}
