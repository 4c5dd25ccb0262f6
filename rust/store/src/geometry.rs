//! Boxes of elements in C order.

/// The number of elements of a box; `None` when it does not fit.
pub fn n_elements(extent: &[usize]) -> Option<usize> {
    extent.iter().try_fold(1_usize, |n, &e| n.checked_mul(e))
}

/// Call `visit` with every index of a grid of this size, in C order.
pub fn for_each_index<E>(
    size: &[usize],
    mut visit: impl FnMut(&[usize]) -> Result<(), E>,
) -> Result<(), E> {
    if size.contains(&0) {
        return Ok(());
    }
    let mut index = vec![0; size.len()];
    loop {
        visit(&index)?;
        let Some(axis) = (0..size.len()).rev().find(|&a| index[a] + 1 < size[a]) else {
            return Ok(());
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// The number of an index in a grid of this size, in C order.
pub fn number_of(index: &[usize], size: &[usize]) -> usize {
    index.iter().zip(size).fold(0, |n, (i, s)| n * s + i)
}

/// A box inside an array of bytes: where it begins and how large the array is.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// First element of the box.
    pub start: &'a [usize],
    /// Size of the array that holds it.
    pub shape: &'a [usize],
}

/// The rows (runs along the last axis) of a box, as byte offsets in two arrays and a length.
///
/// The boxes lie inside their arrays.
pub fn for_each_row(
    extent: &[usize],
    item: usize,
    a: Place<'_>,
    b: Place<'_>,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let Some((&last, outer)) = extent.split_last() else {
        return;
    };
    let offset = |place: Place<'_>, index: &[usize]| {
        let last = place.start.len() - 1;
        let row = (0..last).fold(0, |n, axis| {
            n * place.shape[axis] + place.start[axis] + index[axis]
        });
        (row * place.shape[last] + place.start[last]) * item
    };
    let _: Result<(), std::convert::Infallible> = for_each_index(outer, |index| {
        visit(offset(a, index), offset(b, index), last * item);
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_come_in_c_order() {
        let mut seen = Vec::new();
        let _: Result<(), ()> = for_each_index(&[2, 2], |i| {
            seen.push((i.to_vec(), number_of(i, &[2, 2])));
            Ok(())
        });
        let wanted = [[0, 0], [0, 1], [1, 0], [1, 1]];
        assert!(
            seen.iter()
                .enumerate()
                .all(|(n, (i, m))| i == &wanted[n] && n == *m)
        );
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn rows_of_a_box_are_found_in_both_arrays() {
        let mut rows = Vec::new();
        let a = Place {
            start: &[1, 2],
            shape: &[4, 5],
        };
        let b = Place {
            start: &[0, 0],
            shape: &[2, 3],
        };
        for_each_row(&[2, 3], 4, a, b, |x, y, n| rows.push((x, y, n)));
        assert_eq!(rows, [(28, 0, 12), (48, 12, 12)]);
    }
}
