//! Values by producer id, in chunks that copies share: a copy of the table costs a counter per chunk, and the first change
//! of a chunk behind it copies that chunk only.

use std::rc::Rc;

use model::ProducerId;

/// Entries of a chunk.
pub(crate) const CHUNK_MAX: usize = 64;

type Chunk<V> = Rc<Vec<(ProducerId, V)>>;

/// Values in order of producer ids.
///
/// Invariant: ids rise across all chunks; none is empty, none has more than [`CHUNK_MAX`] entries; `len` counts all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProducerTable<V> {
    chunks: Vec<Chunk<V>>,
    len: usize,
}

impl<V> Default for ProducerTable<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<V: Clone> ProducerTable<V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: ProducerId) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(id))?;
        let at = chunk.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&chunk[at].1)
    }

    pub(crate) fn get_or_insert_with(&mut self, id: ProducerId, fresh: impl FnOnce() -> V) -> &mut V {
        let (chunk, at) = self.place(id, fresh);
        &mut Rc::make_mut(&mut self.chunks[chunk])[at].1
    }

    pub(crate) fn remove(&mut self, id: ProducerId) -> Option<V> {
        let number = self.chunk_of(id);
        let chunk = self.chunks.get_mut(number)?;
        let at = chunk.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, value) = Rc::make_mut(chunk).remove(at);
        if chunk.is_empty() {
            self.chunks.remove(number);
        }
        self.len -= 1;
        Some(value)
    }

    /// Keeps what `keep` says of `chunks_max` chunks from the one with `from` on; yields where to go on.
    pub(crate) fn retain_from(
        &mut self,
        from: ProducerId,
        chunks_max: usize,
        keep: impl Fn(&V) -> bool,
    ) -> Option<ProducerId> {
        let first = self.chunk_of(from);
        let end = self.chunks.len().min(first + chunks_max);
        let next = self.chunks.get(end).map(|chunk| chunk[0].0);
        for chunk in self.chunks.get_mut(first..end)? {
            if chunk.iter().any(|(_, value)| !keep(value)) {
                let before = chunk.len();
                let entries = Rc::make_mut(chunk);
                entries.retain(|(_, value)| keep(value));
                self.len -= before - entries.len();
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        next
    }

    /// The entries, a chunk at a time.
    pub(crate) fn chunks(&self) -> impl ExactSizeIterator<Item = &[(ProducerId, V)]> {
        self.chunks.iter().map(|chunk| &chunk[..])
    }

    /// The same from the chunk with this number on, and around; numbers go around, too.
    pub(crate) fn chunks_from(&self, number: usize) -> impl Iterator<Item = &[(ProducerId, V)]> {
        let (before, behind) = self.chunks.split_at(number % self.chunks.len().max(1));
        behind.iter().chain(before).map(|chunk| &chunk[..])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(ProducerId, V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The chunk that has `id`, or would have it.
    fn chunk_of(&self, id: ProducerId) -> usize {
        self.chunks.partition_point(|chunk| chunk[0].0 <= id).saturating_sub(1)
    }

    /// Where `id` is, put there if it was not.
    fn place(&mut self, id: ProducerId, fresh: impl FnOnce() -> V) -> (usize, usize) {
        let number = self.chunk_of(id);
        let Some(chunk) = self.chunks.get_mut(number) else {
            self.chunks.push(Rc::new(vec![(id, fresh())]));
            self.len += 1;
            return (number, 0);
        };
        let at = match chunk.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => return (number, at),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.len() < CHUNK_MAX {
            Rc::make_mut(chunk).insert(at, (id, fresh()));
            return (number, at);
        }
        // Ids rise as they are given away, so that a new one mostly goes to the end.
        let mut behind = Rc::make_mut(chunk).split_off(if at == CHUNK_MAX { at } else { CHUNK_MAX / 2 });
        let kept = chunk.len();
        let place = if at < kept {
            Rc::make_mut(chunk).insert(at, (id, fresh()));
            (number, at)
        } else {
            behind.insert(at - kept, (id, fresh()));
            (number + 1, at - kept)
        };
        self.chunks.insert(number + 1, Rc::new(behind));
        place
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert!(self.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        assert!(self.iter().is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(self.iter().count(), self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Does what a map does, and copies stay as they were.
    #[test]
    fn behaves_like_a_map_and_copies_do_not_change() {
        let (mut table, mut model) = (ProducerTable::default(), BTreeMap::new());
        let mut copies = Vec::new();
        let mut random = 7u64;
        for step in 0..20_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = ProducerId(i64::try_from((random >> 33) % 700).unwrap());
            match (random >> 20) % 8 {
                0 => assert_eq!(table.remove(id), model.remove(&id)),
                1 => assert_eq!(table.get(id), model.get(&id)),
                _ => {
                    *table.get_or_insert_with(id, || 0) = step;
                    model.insert(id, step);
                }
            }
            if step % 1000 == 0 {
                copies.push((table.clone(), model.clone()));
            }
            if step % 5000 == 4999 {
                let mut from = Some(ProducerId(i64::MIN));
                while let Some(id) = from {
                    from = table.retain_from(id, 2, |value| value % 3 != 0);
                }
                model.retain(|_, value| *value % 3 != 0);
            }
            table.check_invariants();
            assert_eq!(table.len(), model.len());
        }
        copies.push((table, model));
        for (table, model) in copies {
            assert!(table.iter().map(|(id, value)| (id, value)).eq(model.iter()));
            assert_eq!(table.chunks().map(<[_]>::len).sum::<usize>(), model.len());
        }
    }

    #[test]
    fn a_copy_shares_what_has_not_changed() {
        let mut table = ProducerTable::default();
        for id in 0..1000 {
            table.get_or_insert_with(ProducerId(id), || id);
        }
        let copy = table.clone();
        *table.get_or_insert_with(ProducerId(500), || 0) = -1;
        let shared = table.chunks.iter().zip(&copy.chunks).filter(|(a, b)| Rc::ptr_eq(a, b)).count();
        assert_eq!((shared, copy.get(ProducerId(500))), (table.chunks.len() - 1, Some(&500)));
    }
}
