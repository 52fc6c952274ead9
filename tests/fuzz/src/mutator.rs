//! Turns valid input into input that is nearly valid.

use net::protocol::samples::split_mix;

/// A seeded source of decisions and mutations.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The same seed makes the same decisions.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        split_mix(&mut self.state)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// One of `items`, which are not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Changes `bytes` in none to six places.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(7) {
            self.mutate_once(bytes);
        }
    }

    fn mutate_once(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return bytes.push(self.next().to_le_bytes()[0]);
        }
        let place = self.below(bytes.len());
        match self.below(8) {
            0 => bytes[place] ^= 1 << self.below(8),
            1 => bytes[place] = self.next().to_le_bytes()[0],
            2 => bytes[place] = *self.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            3 => bytes.truncate(place),
            4 => bytes.insert(place, self.next().to_le_bytes()[0]),
            5 => {
                bytes.remove(place);
            }
            6 => {
                let end = place + self.below(bytes.len() - place) + 1;
                let copy = bytes[place..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let number = self.pick(INTERESTING);
                let end = bytes.len().min(place + number.len());
                bytes.splice(place..end, number.iter().copied());
            }
        }
    }
}

/// Lengths and counts that parsers get wrong: extremes of the fixed widths and of varints.
const INTERESTING: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0, 0x10, 0, 0],
    &[0x7f, 0xff],
    &[0x80, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xff; 10],
    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];
