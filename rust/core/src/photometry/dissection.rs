//! An order of elimination that keeps a sparse factor small.

/// Groups of at most as many unknowns are not divided.
const LEAF: usize = 48;

/// Unknowns that are eliminated together, after those of both children.
#[derive(Debug)]
pub(super) struct Group {
    pub own: Vec<u32>,
    pub children: Vec<Group>,
}

/// Nested dissection of unknowns that lie at places of a plane.
///
/// # Notes
/// The group is halved at the median along its longer side. Those of one half that touch the other one separate what is
/// left; they come last.
///
/// # Source
/// George 1973, SIAM J. Numer. Anal. 10, 345.
pub(super) fn dissect(
    unknowns: Vec<u32>,
    places: &[[f64; 2]],
    neighbours: &[Vec<(u32, usize)>],
) -> Group {
    let mut half = vec![0; places.len()];
    divide(unknowns, places, neighbours, &mut half)
}

fn divide(
    mut unknowns: Vec<u32>,
    places: &[[f64; 2]],
    neighbours: &[Vec<(u32, usize)>],
    half: &mut [u8],
) -> Group {
    if unknowns.len() <= LEAF {
        return Group {
            own: unknowns,
            children: Vec::new(),
        };
    }
    let extent = [0, 1].map(|axis| {
        let values = unknowns.iter().map(|&i| places[i as usize][axis]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
            (a.min(v), b.max(v))
        });
        high - low
    });
    let axis = usize::from(extent[1] > extent[0]);
    unknowns.sort_unstable_by(|&i, &j| {
        let place = |k: u32| places[k as usize][axis];
        place(i).total_cmp(&place(j)).then(i.cmp(&j))
    });
    let middle = unknowns.len() / 2;
    for (k, &i) in unknowns.iter().enumerate() {
        half[i as usize] = if k < middle { 1 } else { 2 };
    }
    let touching = |mine: u8, list: &[u32]| -> Vec<u32> {
        let touches = |&i: &u32| {
            neighbours[i as usize]
                .iter()
                .any(|&(j, _)| half[j as usize] == 3 - mine)
        };
        list.iter().copied().filter(touches).collect()
    };
    let (left, right) = unknowns.split_at(middle);
    let (of_left, of_right) = (touching(1, left), touching(2, right));
    let separator = if of_left.len() <= of_right.len() {
        of_left
    } else {
        of_right
    };
    for &i in &separator {
        half[i as usize] = 0;
    }
    let parts = [left, right].map(|list| -> Vec<u32> {
        let rest = list.iter().copied();
        rest.filter(|&i| half[i as usize] != 0).collect()
    });
    for &i in &unknowns {
        half[i as usize] = 0;
    }
    let children = parts
        .into_iter()
        .map(|part| divide(part, places, neighbours, half))
        .collect();
    Group {
        own: separator,
        children,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(group: &Group, out: &mut Vec<u32>) {
        for child in &group.children {
            all(child, out);
        }
        out.extend(&group.own);
    }

    fn halves_do_not_touch(group: &Group, neighbours: &[Vec<(u32, usize)>]) {
        if let [left, right] = group.children.as_slice() {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            all(left, &mut a);
            all(right, &mut b);
            for &i in &a {
                assert!(neighbours[i as usize].iter().all(|(j, _)| !b.contains(j)));
            }
            halves_do_not_touch(left, neighbours);
            halves_do_not_touch(right, neighbours);
        }
    }

    #[test]
    fn separators_separate_and_nobody_is_lost() {
        let n = 24_u32;
        let places: Vec<[f64; 2]> = (0..n * n)
            .map(|i| [f64::from(i % n), f64::from(i / n)])
            .collect();
        let neighbours: Vec<Vec<(u32, usize)>> = (0..n * n)
            .map(|i| {
                (0..n * n)
                    .filter(|&j| {
                        let near = |a: u32, b: u32| a.abs_diff(b) <= 1;
                        i != j && near(i % n, j % n) && near(i / n, j / n)
                    })
                    .map(|j| (j, 0))
                    .collect()
            })
            .collect();
        let group = dissect((0..n * n).collect(), &places, &neighbours);
        assert!(group.own.len() <= n as usize);
        let mut found = Vec::new();
        all(&group, &mut found);
        found.sort_unstable();
        assert_eq!(found, (0..n * n).collect::<Vec<_>>());
        halves_do_not_touch(&group, &neighbours);
    }
}
