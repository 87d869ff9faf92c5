//! Ordered map for rows that are looked up many times in succession, such as the service of the current request.

use slab::Slab;
use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Rows by key. The row found last is found again with one comparison. Rows do not move in memory, because moving large
/// rows is expensive.
#[derive(Debug)]
pub(super) struct SlabMap<K, V> {
    index: BTreeMap<K, usize>,
    rows: Slab<(K, Box<V>)>,
    last: Cell<usize>,
}

/// Largest capacity per row in use; more is released.
const ROOM: usize = 4;

impl<K: Ord + Clone, V> SlabMap<K, V> {
    pub(super) fn new() -> Self {
        Self { index: BTreeMap::new(), rows: Slab::new(), last: Cell::new(0) }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(self.find(key)?).map(|(_, value)| &**value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.find(key)?;
        self.rows.get_mut(row).map(|(_, value)| &mut **value)
    }

    /// Returns the row of this key, and creates it if there is none.
    pub(super) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let row = self.find(key).unwrap_or_else(|| {
            let row = self.rows.insert((key.clone(), Box::new(make())));
            self.index.insert(key.clone(), row);
            self.last.set(row);
            row
        });
        &mut self.rows[row].1
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<Box<V>> {
        let (_, value) = self.rows.try_remove(self.index.remove(key)?)?;
        if self.rows.capacity() > ROOM * self.rows.len().max(ROOM) {
            self.rows.shrink_to_fit();
        }
        Some(value)
    }

    /// Iterates over all rows, in order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.index.values().filter_map(|row| self.rows.get(*row)).map(|(key, value)| (key, &**value))
    }

    /// Returns the key of this row.
    pub(super) fn key<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.rows.get(self.find(key)?).map(|(key, _)| key)
    }

    #[inline]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let last = self.last.get();
        let is_last = self.rows.get(last).is_some_and(|(found, _)| found.borrow() == key);
        if is_last { Some(last) } else { self.find_another(key) }
    }

    #[inline(never)]
    fn find_another<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let row = *self.index.get(key)?;
        self.last.set(row);
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_key_whatever_was_looked_up_before() {
        let mut table = SlabMap::new();
        for key in [3, 1, 2] {
            *table.get_or_insert_with(&key, || 10 * key) += 1;
        }
        assert_eq!(table.iter().collect::<Vec<_>>(), [(&1, &11), (&2, &21), (&3, &31)]);
        assert_eq!(*table.get_or_insert_with(&3, || 0), 31);
        assert_eq!(table.get(&2), Some(&21));
        assert_eq!((table.remove(&2), table.remove(&2)), (Some(Box::new(21)), None));
        assert_eq!(table.get(&2), None);
        // In the slot of the row that was found last.
        table.get_or_insert_with(&4, || 41);
        assert_eq!((table.get(&2), table.get(&4), table.iter().count()), (None, Some(&41), 3));
    }

    #[test]
    fn the_capacity_of_many_rows_is_released_when_they_are_removed() {
        let mut table = SlabMap::new();
        for key in 0..1000 {
            table.get_or_insert_with(&key, || key);
        }
        for key in 1..1000 {
            table.remove(&key);
        }
        assert!(table.rows.capacity() <= ROOM * ROOM, "{}", table.rows.capacity());
        assert_eq!(table.get(&0), Some(&0));
    }
}
