//! Which sources of an image are fitted together, and what waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::image::Plane;

/// A segment of an image.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub label: i32,
    pub area: usize,
    pub flux: f64,
    /// Centre of its light [pix].
    pub x: f64,
    pub y: f64,
    /// Rows and columns that it touches.
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Mean place of its pixels, which does not depend on the data.
    pub middle: (f64, f64),
    /// Half side of its stamp [pix], which holds it.
    pub half: f64,
    /// Where its model is drawn and subtracted.
    pub reach: Window,
}

/// Stamps grow by this factor until they hold their segments.
const GROWTH: f64 = 1.2;

/// A window of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
}

impl Window {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        meet(&self.rows, &other.rows) && meet(&self.columns, &other.columns)
    }
}

/// Sources that are fitted together: the brightest, whose stamp it is, and those whose segments lie on it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Places of the sources in the list of segments, the brightest first.
    pub members: Vec<usize>,
    pub stamp: Window,
    /// Other groups, by their place, whose models reach the stamp; the brighter ones come first.
    pub around: Vec<usize>,
}

/// Sizes of stamps.
#[derive(Clone, Copy, Debug)]
pub struct StampSizes {
    /// Least half side [pix].
    pub least: f64,
    /// Half side in units of the root of the segment's area over pi.
    pub radii: f64,
    /// Side of the window in which models are subtracted, in sides of the stamp.
    pub reach: f64,
}

/// The segments of an image, brightest first, ties by label.
pub(super) fn segments(
    labels: Plane<'_, i32>,
    data: Plane<'_, f32>,
    good: &[bool],
    sizes: &StampSizes,
) -> Vec<Segment> {
    let mut found = BTreeMap::<i32, Segment>::new();
    let nx = labels.shape().1;
    let mut sums = BTreeMap::<i32, [f64; 4]>::new();
    for (i, &label) in labels.pixels().iter().enumerate() {
        if label <= 0 {
            continue;
        }
        let (y, x) = (i / nx, i % nx);
        let one = found.entry(label).or_insert_with(|| Segment {
            label,
            area: 0,
            flux: 0.0,
            x: 0.0,
            y: 0.0,
            rows: y..y + 1,
            columns: x..x + 1,
            middle: (0.0, 0.0),
            half: 0.0,
            reach: Window {
                rows: 0..1,
                columns: 0..1,
            },
        });
        one.area += 1;
        one.middle.0 += x as f64;
        one.middle.1 += y as f64;
        one.rows = one.rows.start.min(y)..one.rows.end.max(y + 1);
        one.columns = one.columns.start.min(x)..one.columns.end.max(x + 1);
        let light = if good[i] {
            f64::from(data.pixels()[i])
        } else {
            0.0
        };
        let sum = sums.entry(label).or_default();
        let (positive, (x, y)) = (light.max(0.0), (x as f64, y as f64));
        for (sum, value) in sum
            .iter_mut()
            .zip([light, positive, positive * x, positive * y])
        {
            *sum += value;
        }
    }
    for (label, one) in &mut found {
        let [flux, light, x, y] = sums[label];
        one.flux = flux;
        let middle = |r: &Range<usize>| 0.5 * (r.start + r.end - 1) as f64;
        (one.x, one.y) = if light > 0.0 {
            (x / light, y / light)
        } else {
            (middle(&one.columns), middle(&one.rows))
        };
        let radius = (one.area as f64 / std::f64::consts::PI).sqrt();
        let shape = labels.shape();
        let area = one.area as f64;
        one.middle = (one.middle.0 / area, one.middle.1 / area);
        let grown = |x: f64, y: f64| {
            let mut half = sizes.least.max(sizes.radii * radius);
            while !holds(&window(x, y, half, shape), one, shape) {
                half *= GROWTH;
            }
            half
        };
        let (half, wide) = (
            grown(one.x, one.y),
            grown(one.middle.0, one.middle.1) * sizes.reach.max(1.0),
        );
        one.half = half;
        one.reach = window(one.middle.0, one.middle.1, wide, shape);
    }
    let mut list: Vec<Segment> = found.into_values().collect();
    list.sort_by(|a, b| b.flux.total_cmp(&a.flux).then(a.label.cmp(&b.label)));
    list
}

/// A window around a place, cut to the image.
fn window(x: f64, y: f64, half: f64, shape: (usize, usize)) -> Window {
    let range = |c: f64, n: usize| {
        let low = (c - half).floor().max(0.0) as usize;
        let high = ((c + half).ceil() as usize + 1).min(n);
        low.min(n - 1)..high.max(1)
    };
    Window {
        rows: range(y, shape.0),
        columns: range(x, shape.1),
    }
}

/// Whether a segment lies on a window without touching its edges, but for those of the image.
fn holds(window: &Window, segment: &Segment, shape: (usize, usize)) -> bool {
    let within = |w: &Range<usize>, s: &Range<usize>, n: usize| {
        (s.start > w.start || w.start == 0) && (s.end < w.end || w.end == n)
    };
    within(&window.rows, &segment.rows, shape.0)
        && within(&window.columns, &segment.columns, shape.1)
}

/// Which sources are fitted together.
pub(super) struct Rules<'a> {
    /// Most of those that are found by their places.
    pub max_members: usize,
    /// Numbers of groups that were asked for, by labels.
    pub together: &'a BTreeMap<i32, i32>,
    /// Labels of sources that are not fitted.
    pub held: &'a BTreeSet<i32>,
}

/// The groups of an image, in the order of their brightest sources. What is fitted with a brighter source is no group of
/// its own. The stamp is that of the brightest, and grows until it holds all members.
pub(super) fn groups(
    segments: &[Segment],
    labels: Plane<'_, i32>,
    rules: &Rules<'_>,
) -> Vec<Group> {
    let shape = labels.shape();
    let place: BTreeMap<i32, usize> = segments
        .iter()
        .enumerate()
        .map(|(i, s)| (s.label, i))
        .collect();
    let asked = |i: usize| rules.together.get(&segments[i].label);
    let mut is_taken: Vec<bool> = segments
        .iter()
        .map(|s| rules.held.contains(&s.label))
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    for (i, segment) in segments.iter().enumerate() {
        if is_taken[i] {
            continue;
        }
        let mut half = segment.half;
        let mut stamp = window(segment.x, segment.y, half, shape);
        let others: Vec<usize> = if let Some(number) = asked(i) {
            (i + 1..segments.len())
                .filter(|&j| !is_taken[j] && asked(j) == Some(number))
                .collect()
        } else {
            let mut others: Vec<usize> = stamp
                .rows
                .clone()
                .flat_map(|y| labels.row(y)[stamp.columns.clone()].iter())
                .filter_map(|label| place.get(label).copied())
                .collect();
            others.sort_unstable();
            others.dedup();
            others.retain(|&j| {
                let is_free = j != i && !is_taken[j] && asked(j).is_none();
                is_free && holds(&stamp, &segments[j], shape)
            });
            others.truncate(rules.max_members.saturating_sub(1));
            others
        };
        let members: Vec<usize> = std::iter::once(i).chain(others).collect();
        while !members.iter().all(|&j| holds(&stamp, &segments[j], shape)) {
            half *= GROWTH;
            stamp = window(segment.x, segment.y, half, shape);
        }
        for &j in &members {
            is_taken[j] = true;
        }
        groups.push(Group {
            members,
            stamp,
            around: Vec::new(),
        });
    }
    let cells = Cells::new(segments, &groups);
    let around: Vec<Vec<usize>> = (0..groups.len())
        .map(|g| cells.around(segments, &groups, g))
        .collect();
    for (group, around) in groups.iter_mut().zip(around) {
        group.around = around;
    }
    groups
}

/// Groups by the cells of the image that their models reach.
struct Cells(BTreeMap<(usize, usize), Vec<usize>>);

impl Cells {
    const SIDE: usize = 64;

    fn of(window: &Window) -> impl Iterator<Item = (usize, usize)> + '_ {
        let cells = |r: &Range<usize>| r.start / Self::SIDE..=(r.end - 1) / Self::SIDE;
        cells(&window.rows).flat_map(move |j| cells(&window.columns).map(move |i| (j, i)))
    }

    fn new(segments: &[Segment], groups: &[Group]) -> Self {
        let mut cells = BTreeMap::<_, Vec<usize>>::new();
        for (g, group) in groups.iter().enumerate() {
            for &m in &group.members {
                for cell in Self::of(&segments[m].reach) {
                    cells.entry(cell).or_default().push(g);
                }
            }
        }
        Self(cells)
    }

    fn around(&self, segments: &[Segment], groups: &[Group], own: usize) -> Vec<usize> {
        let stamp = &groups[own].stamp;
        let mut found: Vec<usize> = Self::of(stamp)
            .filter_map(|cell| self.0.get(&cell))
            .flatten()
            .copied()
            .collect();
        found.sort_unstable();
        found.dedup();
        let reaches = |&m: &usize| segments[m].reach.overlaps(stamp);
        found.retain(|&g| g != own && groups[g].members.iter().any(reaches));
        found
    }
}

/// Groups that may be fitted at the same time, one such list after another.
pub(super) fn waves(groups: &[Group]) -> Vec<Vec<usize>> {
    let mut level = vec![0; groups.len()];
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let brighter = group.around.iter().take_while(|&&b| b < g);
        level[g] = brighter.map(|&b| level[b] + 1).max().unwrap_or(0);
        if level[g] == waves.len() {
            waves.push(Vec::new());
        }
        waves[level[g]].push(g);
    }
    waves
}
