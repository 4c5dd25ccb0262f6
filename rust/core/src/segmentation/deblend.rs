//! Multi-threshold deblending.

use rayon::prelude::*;

use super::convolve::Kernel;
use super::label::{Connectivity, Run};
use super::moments::Ellipse;
use super::saddles::{SaddleParams, split_at_saddles};
use super::segments::Segments;
use super::{SegmentationError, detect};
use crate::image::{Image, Plane};

/// Who gets the pixels of a blend that lie below its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The branch whose Gaussian profile is brightest there.
    Likeliest,
    /// A branch drawn with the profiles as probabilities, as `SExtractor` does; the draw depends on the pixel alone.
    Random,
}

/// How the levels lie between the threshold and the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// In equal ratios; in equal steps when the threshold is not positive.
    Exponential,
    /// In equal steps.
    Linear,
    /// As the hyperbolic sine of equal steps.
    Sinh,
}

impl Spacing {
    /// The spacing of this name.
    ///
    /// # Errors
    /// [`SegmentationError::Spacing`].
    pub fn from_name(name: &str) -> Result<Self, SegmentationError> {
        match name {
            "exponential" => Ok(Self::Exponential),
            "linear" => Ok(Self::Linear),
            "sinh" => Ok(Self::Sinh),
            other => Err(SegmentationError::Spacing(other.to_owned())),
        }
    }
}

/// Parameters of the deblending.
#[derive(Clone, Copy, Debug)]
pub struct DeblendParams {
    /// Number of thresholds between the faintest pixel and the peak.
    pub n_levels: usize,
    /// How they lie.
    pub spacing: Spacing,
    /// Flux of a branch above its threshold, as a fraction of the segment's flux, that makes it a source.
    pub contrast: f64,
    /// Who gets the pixels below the branches.
    pub assignment: Assignment,
}

/// A branch may be this small, however large the least area of a source is [pix].
const MIN_BRANCH_AREA: usize = 3;
/// The amplitude of a branch's profile is at most this many times its peak.
const MAX_AMPLITUDE: f64 = 4.0;
const NONE: u32 = u32::MAX;

/// One pixel of a segment: its position, what the detection filter makes of it, and what the sharper filter of the
/// deblending makes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pixel {
    pub x: usize,
    pub y: usize,
    /// Value of the unfiltered image.
    pub raw: f32,
    pub value: f32,
    /// `value` over its noise.
    pub significance: f32,
    pub sharp: f32,
    /// Noise of `sharp`.
    pub sharp_sigma: f32,
}

/// The pixels of some runs, in raster order.
pub(super) fn pixels_of(runs: &[Run], image: Plane<'_, f32>) -> Vec<Pixel> {
    runs.iter()
        .flat_map(|run| {
            let row = image.row(run.y);
            (run.start..run.end).map(move |x| Pixel {
                x,
                y: run.y,
                raw: row[x],
                value: row[x],
                significance: f32::INFINITY,
                sharp: row[x],
                sharp_sigma: 1.0,
            })
        })
        .collect()
}

/// Which pixel of a segment lies where; kept from segment to segment.
#[derive(Default)]
pub(super) struct Scratch {
    /// Index + 1 of the pixel, row after row of the bounding box with a border of one pixel.
    map: Vec<u32>,
}

impl Scratch {
    /// Empty the cells of a segment, so that the map can be used for the next one.
    pub(super) fn clear(&mut self, cells: &[usize]) {
        for &cell in cells {
            self.map[cell] = 0;
        }
    }
}

/// The neighbours of every pixel of one segment.
pub(super) struct Neighbourhood<'a> {
    map: &'a [u32],
    cell: Vec<usize>,
    offsets: Vec<isize>,
    /// First column and row of the map, and its length along x and y.
    origin: (usize, usize),
    shape: (usize, usize),
}

impl<'a> Neighbourhood<'a> {
    pub(super) fn new(
        pixels: &[Pixel],
        connectivity: Connectivity,
        scratch: &'a mut Scratch,
    ) -> Self {
        let bounds = |f: fn(&Pixel) -> usize| {
            let low = pixels.iter().map(f).min().unwrap_or(0);
            let high = pixels.iter().map(f).max().unwrap_or(0);
            (low, high - low + 3)
        };
        let (x0, nx) = bounds(|p| p.x);
        let (y0, ny) = bounds(|p| p.y);
        if scratch.map.len() < nx * ny {
            scratch.map.resize(nx * ny, 0);
        }
        let cell: Vec<usize> = pixels
            .iter()
            .map(|p| (p.y - y0 + 1) * nx + p.x - x0 + 1)
            .collect();
        for (i, &c) in cell.iter().enumerate() {
            scratch.map[c] = i as u32 + 1;
        }
        let row = nx as isize;
        let offsets = match connectivity {
            Connectivity::Four => vec![-row, -1, 1, row],
            Connectivity::Eight => vec![-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1],
        };
        Self {
            map: &scratch.map,
            cell,
            offsets,
            origin: (x0, y0),
            shape: (nx, ny),
        }
    }

    pub(super) fn of(&self, pixel: u32) -> impl Iterator<Item = u32> + '_ {
        let cell = self.cell[pixel as usize];
        self.offsets
            .iter()
            .map(move |&offset| self.map[cell.wrapping_add_signed(offset)])
            .filter(|&index| index != 0)
            .map(|index| index - 1)
    }

    /// The pixel at an offset of at most one pixel along either axis.
    pub(super) fn beside(&self, pixel: u32, dx: isize, dy: isize) -> Option<u32> {
        let offset = dy * self.shape.0 as isize + dx;
        self.map[self.cell[pixel as usize].wrapping_add_signed(offset)].checked_sub(1)
    }

    /// The sharp value at a point `[x, y]`; what is not of the segment counts 0.
    ///
    /// # Source
    /// Keys 1981, IEEE Trans. ASSP 29, 1153, eq. 4 with a = -1/2.
    pub(super) fn interpolate(&self, pixels: &[Pixel], [x, y]: [f64; 2]) -> f64 {
        let value = |x: f64, y: f64| {
            let (i, j) = (
                x - self.origin.0 as f64 + 1.0,
                y - self.origin.1 as f64 + 1.0,
            );
            if i < 0.0 || j < 0.0 || i >= self.shape.0 as f64 || j >= self.shape.1 as f64 {
                return 0.0;
            }
            self.map[j as usize * self.shape.0 + i as usize]
                .checked_sub(1)
                .map_or(0.0, |k| f64::from(pixels[k as usize].sharp))
        };
        let (wx, wy) = (keys(x - x.floor()), keys(y - y.floor()));
        let offsets = [-1.0, 0.0, 1.0, 2.0];
        offsets
            .iter()
            .zip(wy)
            .map(|(dy, wy)| {
                let row = offsets.iter().zip(wx);
                wy * row
                    .map(|(dx, wx)| wx * value(x.floor() + dx, y.floor() + dy))
                    .sum::<f64>()
            })
            .sum()
    }

    /// Whether more than one pixel has no brighter neighbour; without that there is nothing to split.
    pub(super) fn has_two_maxima(&self, pixels: &[Pixel]) -> bool {
        let value = |i: u32| pixels[i as usize].sharp;
        (0..pixels.len() as u32)
            .filter(|&i| self.of(i).all(|o| value(o) <= value(i)))
            .nth(1)
            .is_some()
    }

    /// Cells of the map to be emptied before it is used again.
    pub(super) fn into_cells(self) -> Vec<usize> {
        self.cell
    }
}

/// Weights of the four pixels around a point at a fraction `t` of a pixel.
fn keys(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        -0.5 * t3 + t2 - 0.5 * t,
        1.5 * t3 - 2.5 * t2 + 1.0,
        -1.5 * t3 + 2.0 * t2 + 0.5 * t,
        0.5 * t3 - 0.5 * t2,
    ]
}

/// A connected part of a segment above one of the thresholds.
struct Node {
    level: usize,
    n_pixels: usize,
    flux: f64,
    /// One of its pixels.
    seed: u32,
    /// The parts above the next threshold.
    children: Vec<u32>,
}

/// The segment at all thresholds.
struct Tree<'a> {
    pixels: &'a [Pixel],
    around: &'a Neighbourhood<'a>,
    /// Threshold of every level; that of level 0 is the segment's own.
    thresholds: Vec<f32>,
    /// Highest level that every pixel reaches.
    level: Vec<u16>,
}

/// The levels from the threshold to the peak.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 4 (exponential); the hyperbolic sine of four times the fraction is
/// between the two others.
fn thresholds(low: f32, peak: f32, params: &DeblendParams) -> Vec<f32> {
    let (low, peak) = (f64::from(low), f64::from(peak));
    (0..params.n_levels)
        .map(|k| {
            let t = k as f64 / params.n_levels as f64;
            let threshold = match params.spacing {
                Spacing::Exponential if low > 0.0 => low * (peak / low).powf(t),
                Spacing::Sinh => low + (peak - low) * (4.0 * t).sinh() / 4_f64.sinh(),
                Spacing::Exponential | Spacing::Linear => low + (peak - low) * t,
            };
            threshold as f32
        })
        .collect()
}

/// Components of the pixels above a threshold that goes down.
struct Forest {
    parent: Vec<u32>,
    n_pixels: Vec<u32>,
    flux: Vec<f64>,
}

impl Forest {
    fn find(&mut self, mut i: u32) -> u32 {
        while self.parent[i as usize] != i {
            let up = self.parent[self.parent[i as usize] as usize];
            self.parent[i as usize] = up;
            i = up;
        }
        i
    }

    fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return;
        }
        let (root, child) = if self.n_pixels[a as usize] < self.n_pixels[b as usize] {
            (b, a)
        } else {
            (a, b)
        };
        self.parent[child as usize] = root;
        self.n_pixels[root as usize] += self.n_pixels[child as usize];
        self.flux[root as usize] += self.flux[child as usize];
    }
}

impl Tree<'_> {
    /// The nodes with at least `min_area` pixels, those of higher levels first; the last one is the whole segment.
    fn nodes(&self, min_area: usize) -> Vec<Node> {
        let n_levels = self.thresholds.len();
        let mut by_level = vec![Vec::new(); n_levels];
        for (i, &level) in self.level.iter().enumerate() {
            by_level[level as usize].push(i as u32);
        }
        let mut forest = Forest {
            parent: (0..self.pixels.len() as u32).collect(),
            n_pixels: vec![1; self.pixels.len()],
            flux: self.pixels.iter().map(|p| f64::from(p.value)).collect(),
        };
        let mut nodes: Vec<Node> = Vec::new();
        // Root and node of the components at the level above.
        let mut above: Vec<(u32, u32)> = Vec::new();
        let mut node_of_root = vec![NONE; self.pixels.len()];
        let mut seen_at = vec![u16::MAX; self.pixels.len()];
        for level in (1..n_levels).rev() {
            for &pixel in &by_level[level] {
                for other in self.around.of(pixel) {
                    if usize::from(self.level[other as usize]) >= level {
                        forest.unite(pixel, other);
                    }
                }
            }
            let mut here = Vec::with_capacity(above.len());
            let new = by_level[level].iter().map(|&pixel| (pixel, NONE));
            for (member, child) in above.into_iter().chain(new) {
                let root = forest.find(member);
                let r = root as usize;
                if usize::from(seen_at[r]) != level {
                    seen_at[r] = level as u16;
                    node_of_root[r] = NONE;
                    if forest.n_pixels[r] as usize >= min_area {
                        node_of_root[r] = nodes.len() as u32;
                        nodes.push(Node {
                            level,
                            n_pixels: forest.n_pixels[r] as usize,
                            flux: forest.flux[r],
                            seed: root,
                            children: Vec::new(),
                        });
                    }
                    here.push((root, node_of_root[r]));
                }
                if child != NONE && node_of_root[r] != NONE {
                    nodes[node_of_root[r] as usize].children.push(child);
                }
            }
            above = here;
        }
        nodes.push(Node {
            level: 0,
            n_pixels: self.pixels.len(),
            flux: self.pixels.iter().map(|p| f64::from(p.value)).sum(),
            seed: 0,
            children: above
                .into_iter()
                .map(|(_, node)| node)
                .filter(|&node| node != NONE)
                .collect(),
        });
        nodes
    }

    /// The nodes that become sources: where two or more children hold enough flux above their threshold, those of them
    /// that have not been split themselves.
    fn branches(&self, nodes: &[Node], contrast: f64) -> Vec<u32> {
        let enough = nodes.last().map_or(0.0, |root| contrast * root.flux);
        let is_significant = |node: &Node| {
            node.flux - f64::from(self.thresholds[node.level]) * node.n_pixels as f64 > enough
        };
        let mut is_whole = vec![true; nodes.len()];
        let mut found = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let children = || node.children.iter().copied();
            let n_significant = children()
                .filter(|&c| is_significant(&nodes[c as usize]))
                .count();
            is_whole[i] = children().all(|c| is_whole[c as usize]);
            if n_significant > 1 {
                found.extend(
                    children()
                        .filter(|&c| is_whole[c as usize] && is_significant(&nodes[c as usize])),
                );
                is_whole[i] = false;
            }
        }
        found
    }

    /// The pixels of a node.
    fn flood(&self, node: &Node, branch: u32, branch_of: &mut [u32]) -> Vec<u32> {
        let mut members = vec![node.seed];
        branch_of[node.seed as usize] = branch;
        let mut next = 0;
        while let Some(&pixel) = members.get(next) {
            next += 1;
            for other in self.around.of(pixel) {
                let o = other as usize;
                if branch_of[o] == NONE && usize::from(self.level[o]) >= node.level {
                    branch_of[o] = branch;
                    members.push(other);
                }
            }
        }
        members.sort_unstable();
        members
    }
}

/// Gaussian profile of a branch, from its moments, its area and the threshold that bounds it.
struct Profile {
    ellipse: Ellipse,
    ln_amplitude: f64,
}

impl Profile {
    fn of(members: &[u32], pixels: &[Pixel], threshold: f32) -> Option<Self> {
        let values = members
            .iter()
            .map(|&i| pixels[i as usize])
            .map(|p| (p.x, p.y, p.value));
        let ellipse = Ellipse::of(values.clone())?;
        let peak = values
            .map(|(_, _, v)| f64::from(v))
            .fold(f64::MIN_POSITIVE, f64::max);
        let threshold = f64::from(threshold).max(1e-6 * peak);
        let area = members.len() as f64;
        let ln_amplitude = threshold.ln() + area / (std::f64::consts::TAU * ellipse.a * ellipse.b);
        Some(Self {
            ellipse,
            ln_amplitude: ln_amplitude.min((MAX_AMPLITUDE * peak).ln()),
        })
    }

    fn ln_value(&self, pixel: &Pixel) -> f64 {
        let (dx, dy) = (
            pixel.x as f64 - self.ellipse.x,
            pixel.y as f64 - self.ellipse.y,
        );
        self.ln_amplitude - 0.5 * self.ellipse.radius_squared(dx, dy)
    }
}

/// Number in `[0, 1)` that depends on the pixel alone.
///
/// # Source
/// Steele, Lea & Flood 2014, `OOPSLA`, the finaliser of `SplitMix64`.
fn draw(pixel: &Pixel) -> f64 {
    let mut z = ((pixel.y as u64) << 32 ^ pixel.x as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The branch that gets a pixel below all of them.
fn assign(pixel: &Pixel, profiles: &[(u32, Profile)], assignment: Assignment) -> u32 {
    let mut best = (f64::NEG_INFINITY, NONE);
    for (branch, profile) in profiles {
        let value = profile.ln_value(pixel);
        if value > best.0 || best.1 == NONE {
            best = (value, *branch);
        }
    }
    if assignment == Assignment::Likeliest {
        return best.1;
    }
    let share = |profile: &Profile| (profile.ln_value(pixel) - best.0).exp();
    let total: f64 = profiles.iter().map(|(_, p)| share(p)).sum();
    let mut left = draw(pixel) * total;
    for (branch, profile) in profiles {
        left -= share(profile);
        if left < 0.0 {
            return *branch;
        }
    }
    best.1
}

/// Split a segment into sources of at least `min_area` pixels: the number of the source of every pixel, and how many
/// there are; None when it is one source.
fn split(
    pixels: &[Pixel],
    threshold: f32,
    min_area: usize,
    connectivity: Connectivity,
    params: &DeblendParams,
    scratch: &mut Scratch,
) -> Option<(Vec<u32>, usize)> {
    let min_branch = min_area.clamp(1, MIN_BRANCH_AREA);
    let peak = pixels
        .iter()
        .map(|p| p.value)
        .fold(f32::NEG_INFINITY, f32::max);
    if pixels.len() < 2 * min_branch || peak <= threshold {
        return None;
    }
    let around = Neighbourhood::new(pixels, connectivity, scratch);
    let found = around
        .has_two_maxima(pixels)
        .then(|| {
            split_around(
                pixels, &around, threshold, peak, min_area, min_branch, params,
            )
        })
        .flatten();
    let cells = around.into_cells();
    scratch.clear(&cells);
    found
}

fn split_around(
    pixels: &[Pixel],
    around: &Neighbourhood<'_>,
    threshold: f32,
    peak: f32,
    min_area: usize,
    min_branch: usize,
    params: &DeblendParams,
) -> Option<(Vec<u32>, usize)> {
    let thresholds = thresholds(threshold, peak, params);
    let level = pixels
        .iter()
        .map(|p| {
            thresholds
                .partition_point(|&t| t < p.value)
                .saturating_sub(1) as u16
        })
        .collect();
    let tree = Tree {
        pixels,
        around,
        thresholds,
        level,
    };
    let nodes = tree.nodes(min_branch);
    let branches = tree.branches(&nodes, params.contrast);
    let mut core_of = vec![NONE; pixels.len()];
    let mut profiles: Vec<(u32, Profile)> = branches
        .iter()
        .zip(0..)
        .filter_map(|(&node, branch)| {
            let node = &nodes[node as usize];
            let members = tree.flood(node, branch, &mut core_of);
            let profile = Profile::of(&members, pixels, tree.thresholds[node.level])?;
            Some((branch, profile))
        })
        .collect();
    // A branch that stays too small is dissolved, the smallest one first.
    while profiles.len() > 1 {
        let branch_of: Vec<u32> = pixels
            .par_iter()
            .with_min_len(4096)
            .zip(&core_of)
            .map(|(pixel, &core)| {
                if core == NONE {
                    assign(pixel, &profiles, params.assignment)
                } else {
                    core
                }
            })
            .collect();
        let mut area = vec![0_usize; branches.len()];
        for &branch in &branch_of {
            area[branch as usize] += 1;
        }
        let smallest = (0..profiles.len()).min_by_key(|&i| area[profiles[i].0 as usize])?;
        let branch = profiles[smallest].0;
        if area[branch as usize] >= min_area {
            return Some(renumber(branch_of, &profiles));
        }
        profiles.remove(smallest);
        for core in core_of.iter_mut().filter(|core| **core == branch) {
            *core = NONE;
        }
    }
    None
}

/// Number the branches that are left without gaps.
fn renumber(mut branch_of: Vec<u32>, profiles: &[(u32, Profile)]) -> (Vec<u32>, usize) {
    for branch in &mut branch_of {
        *branch = profiles.partition_point(|(b, _)| b < branch) as u32;
    }
    (branch_of, profiles.len())
}

/// Split every segment of a label image at the peaks of `data`, whose noise is `sigma`. The threshold of a segment is
/// its faintest pixel, and at least `threshold`. Labels are new: 1 is the brightest source. Returns the labels and their
/// number.
///
/// # Errors
/// When the shapes differ, a label is negative or the number of levels is not allowed.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 4; branches are components of at least three pixels.
pub fn deblend(
    data: Plane<'_, f32>,
    labels: Plane<'_, i32>,
    (threshold, sigma): (f32, f32),
    min_area: usize,
    connectivity: Connectivity,
    deblending: &Deblending,
) -> Result<(Image<i32>, usize), SegmentationError> {
    let labels = labels.of_shape("labels", data.shape())?;
    deblending.check()?;
    let segments = Segments::of(labels)?;
    let sources: Vec<detect::Source> = (0..segments.labels().len())
        .into_par_iter()
        .map_init(Scratch::default, |scratch, i| {
            crate::interrupt::poll();
            let mut pixels = pixels_of(segments.runs(i), data);
            let faintest = pixels
                .iter()
                .map(|p| p.value)
                .fold(f32::INFINITY, f32::min)
                .max(threshold);
            for pixel in &mut pixels {
                let value = if pixel.value.is_finite() {
                    pixel.value
                } else {
                    faintest
                };
                (pixel.value, pixel.sharp) = (value, value);
                (pixel.significance, pixel.sharp_sigma) = (value / sigma, sigma);
            }
            let parts = deblending.parts(
                &pixels,
                (faintest, f64::from(threshold / sigma)),
                min_area,
                connectivity,
                scratch,
            );
            detect::sources_of(pixels, parts, faintest)
        })
        .flatten_iter()
        .collect();
    detect::paint(sources, data.shape())
}

/// How blends are split.
#[derive(Clone, Debug)]
pub enum Deblending {
    /// Not at all.
    None,
    /// Where parts separate from each other as a threshold rises.
    Levels(DeblendParams),
    /// At the saddles of the image under a sharper filter; None = under the same.
    Saddles(SaddleParams, Option<Kernel>),
}

impl Deblending {
    /// Check the number of levels.
    ///
    /// # Errors
    /// [`SegmentationError::Levels`].
    pub(super) fn check(&self) -> Result<(), SegmentationError> {
        match self {
            Self::Levels(params) if !(1..=usize::from(u16::MAX)).contains(&params.n_levels) => {
                Err(SegmentationError::Levels(params.n_levels))
            }
            _ => Ok(()),
        }
    }

    /// The part of every pixel of a segment, and how many there are; None when it is one source. The threshold is given
    /// in units of the pixels and in those of their noise.
    pub(super) fn parts(
        &self,
        pixels: &[Pixel],
        (threshold, significance): (f32, f64),
        min_area: usize,
        connectivity: Connectivity,
        scratch: &mut Scratch,
    ) -> Option<(Vec<u32>, usize)> {
        match self {
            Self::None => None,
            Self::Levels(params) => {
                split(pixels, threshold, min_area, connectivity, params, scratch)
            }
            Self::Saddles(params, _) => split_at_saddles(
                pixels,
                significance,
                min_area,
                connectivity,
                *params,
                scratch,
            ),
        }
    }
}
