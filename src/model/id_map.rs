//! Maps by ids and digests. Those are random numbers of our own or hashes already, so nobody can
//! choose many that collide, and a cheap hash of them is enough. Not for names that people choose.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by an id or a digest.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of ids.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Folds eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

/// Odd and without a pattern: the digits of the golden ratio.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl IdHasher {
    const fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.fold(u64::from_le_bytes(word));
        }
    }

    /// The length of an array, which says nothing.
    fn write_usize(&mut self, _: usize) {}

    /// The product's upper bits are the good ones; a map looks at both ends.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::model::ids::KeyId;

    #[test]
    fn ids_spread_over_both_ends_of_the_hash() {
        let hash = BuildHasherDefault::<IdHasher>::default();
        let (mut low, mut high) = (HashSet::new(), HashSet::new());
        for number in 0..4096_u64 {
            let found = hash.hash_one(KeyId::from_random(number.to_be_bytes()));
            low.insert(found & 0xfff);
            high.insert(found >> 52);
        }
        // Random numbers would fill 63 %.
        assert!(low.len() > 2300 && high.len() > 2300, "{} {}", low.len(), high.len());
    }
}
