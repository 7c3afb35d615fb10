//! Reused places that lists run through, so that taking one out of the middle costs what taking the first does.

use alloc::vec::Vec;

/// Things in numbered places, each a member of up to `LISTS` lists. What is taken leaves its place to
/// the next one.
#[derive(Debug)]
pub(super) struct Places<T, const LISTS: usize> {
    places: Vec<Place<T, LISTS>>,
    /// The first place to use again; the others follow in the links of list 0.
    vacant: At,
    taken: usize,
}

#[derive(Debug)]
pub(super) struct Place<T, const LISTS: usize> {
    /// `None` if it is vacant.
    thing: Option<T>,
    links: [Link; LISTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: At,
    after: At,
}

/// The number of a place, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(u32);

/// The ends of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) first: At,
    last: At,
}

/// How many places are kept when all are vacant.
const KEPT: usize = 4;

impl<T, const LISTS: usize> Places<T, LISTS> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), vacant: At::NONE, taken: 0 }
    }

    pub(super) fn insert(&mut self, thing: T) -> At {
        self.taken += 1;
        let at = self.vacant;
        if let Some(place) = self.places.get_mut(at.index()) {
            self.vacant = place.links[0].after;
            place.thing = Some(thing);
            return at;
        }
        self.places.push(Place { thing: Some(thing), links: [Link::default(); LISTS] });
        At(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, at: At) -> Option<&T> {
        self.places.get(at.index())?.thing.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut T> {
        self.places.get_mut(at.index())?.thing.as_mut()
    }

    /// Takes a thing, which has been taken off all lists before.
    pub(super) fn remove(&mut self, at: At) -> Option<T> {
        let place = self.places.get_mut(at.index())?;
        let thing = place.thing.take()?;
        place.links[0].after = core::mem::replace(&mut self.vacant, at);
        self.taken -= 1;
        if self.taken == 0 {
            // What one burst needed must not stay with an idle socket for ever.
            self.places.clear();
            self.places.shrink_to(KEPT);
            self.vacant = At::NONE;
        }
        Some(thing)
    }

    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.places.capacity()
    }

    /// Makes a thing the last of a list.
    pub(super) fn append(&mut self, list: usize, ends: &mut Ends, at: At) {
        let before = core::mem::replace(&mut ends.last, at);
        self.places[at.index()].links[list] = Link { before, after: At::NONE };
        match self.places.get_mut(before.index()) {
            Some(place) => place.links[list].after = at,
            None => ends.first = at,
        }
    }

    /// Takes a thing off a list that it is on.
    pub(super) fn unlink(&mut self, list: usize, ends: &mut Ends, at: At) {
        let Link { before, after } = self.places[at.index()].links[list];
        match self.places.get_mut(before.index()) {
            Some(place) => place.links[list].after = after,
            None => ends.first = after,
        }
        match self.places.get_mut(after.index()) {
            Some(place) => place.links[list].before = before,
            None => ends.last = before,
        }
    }
}

impl<T, const LISTS: usize> Default for Places<T, LISTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl Ends {
    pub(super) const fn is_empty(&self) -> bool {
        self.first.0 == At::NONE.0
    }
}

impl At {
    const NONE: Self = Self(u32::MAX);

    /// Beyond every place for none.
    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for At {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(places: &Places<u32, 2>, list: usize, ends: &Ends) -> Vec<u32> {
        let mut at = ends.first;
        core::iter::from_fn(|| {
            let thing = *places.get(at)?;
            at = places.places[at.index()].links[list].after;
            Some(thing)
        })
        .collect()
    }

    #[test]
    fn a_thing_may_leave_from_anywhere_and_its_place_is_used_again() {
        let mut places = Places::<u32, 2>::new();
        let mut lists = [Ends::default(); 2];
        let at: Vec<_> = (0..5).map(|n| places.insert(n)).collect();
        for (n, at) in at.iter().enumerate() {
            places.append(0, &mut lists[0], *at);
            if n % 2 == 0 {
                places.append(1, &mut lists[1], *at);
            }
        }
        for (n, of_both) in [(2, true), (0, true), (3, false)] {
            places.unlink(0, &mut lists[0], at[n]);
            if of_both {
                places.unlink(1, &mut lists[1], at[n]);
            }
            assert_eq!(places.remove(at[n]), Some(n as u32));
            assert_eq!(places.remove(at[n]), None);
        }
        let new = places.insert(5);
        places.append(0, &mut lists[0], new);
        assert_eq!((new, places.places.len()), (at[3], 5));
        assert_eq!(in_order(&places, 0, &lists[0]), [1, 4, 5]);
        assert_eq!(in_order(&places, 1, &lists[1]), [4]);
    }

    #[test]
    fn vacant_places_are_given_back() {
        let mut places = Places::<u32, 1>::new();
        assert_eq!(places.capacity(), 0);
        let all: Vec<_> = (0..10_000).map(|n| places.insert(n)).collect();
        assert_eq!(all.into_iter().filter_map(|at| places.remove(at)).count(), 10_000);
        assert!(places.capacity() <= KEPT);
    }
}
