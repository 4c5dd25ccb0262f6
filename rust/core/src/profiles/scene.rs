//! All sources of an image fitted, in groups of neighbours, the brightest first.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::ProfileError;
use super::convolved::{Convolver, Response};
use super::fit::{Component, Fit, Likelihood, N_SHAPE, N_SKY, Pixels, Sky, fit_group};
use super::groups::{Group, Segment, StampSizes, Window, groups, segments, waves};
use super::sersic::Sersic;
use super::stamps::{StampParams, fit_stamp};
use crate::image::{Image, Plane};
use crate::interrupt;

/// Sides of stamps are rounded up to a multiple of this [pix], so that they share the transform of the PSF.
const STEP: usize = 16;

/// What a fit of a scene may do.
#[derive(Clone, Copy, Debug)]
pub struct SceneParams {
    /// Of single fits; the centre may move this far in groups, too.
    pub fits: StampParams,
    /// Sizes of stamps.
    pub sizes: StampSizes,
    /// Most sources that are fitted together.
    pub max_members: usize,
    /// How often all groups are fitted: from the second time on with the models of all others subtracted.
    pub n_passes: usize,
    /// What the noise follows.
    pub likelihood: Likelihood,
}

/// A source of a scene.
#[derive(Clone, Debug)]
pub struct SceneSource {
    /// Its label.
    pub label: i32,
    /// Label of the brightest source of its group.
    pub group: i32,
    /// Number of sources of the group.
    pub n_group: usize,
    /// The fit: of one source, with the centre on the image, and that of the whole group in chi-square and counts.
    pub fit: Fit,
    /// What went wrong; empty when nothing did.
    pub message: String,
}

/// The images and the PSF of a scene.
#[derive(Clone, Copy)]
pub struct SceneImages<'a> {
    /// The data.
    pub data: Plane<'a, f32>,
    /// Their variance.
    pub variance: Plane<'a, f32>,
    /// Which pixels not to use.
    pub mask: Option<Plane<'a, bool>>,
    /// The segments; 0 is sky.
    pub labels: Plane<'a, i32>,
    /// The PSF.
    pub psf: Response<'a>,
}

/// What was fitted of a group: its sources, their models in its window, and the level of its sky.
struct Fitted {
    rows: Vec<SceneSource>,
    model: Vec<f32>,
}

struct Scene<'a> {
    images: SceneImages<'a>,
    params: SceneParams,
    segments: Vec<Segment>,
    groups: Vec<Group>,
    convolvers: BTreeMap<usize, Convolver>,
}

/// Fit all sources, in the order of their labels, and draw the sum of their models.
///
/// A source is fitted on a stamp of its own, with other segments masked; those whose segments lie on it are fitted alone
/// and then all together. Models of brighter groups are subtracted before, so that a group waits for those that reach its
/// stamp and for no others; later passes subtract those of all other groups in the pass before. Results are the same for
/// any number of threads.
///
/// # Errors
/// When shapes differ or the PSF cannot be used; a source that cannot be fitted has a message.
pub fn fit_scene(
    images: &SceneImages<'_>,
    params: &SceneParams,
) -> Result<(Vec<SceneSource>, Image<f32>), ProfileError> {
    let shape = images.data.shape();
    images.variance.of_shape("variance", shape)?;
    images.labels.of_shape("labels", shape)?;
    let all = Pixels::new(images.data, images.variance, images.mask, params.likelihood)?;
    let good: Vec<bool> = all.weight().iter().map(|&w| w > 0.0).collect();
    let segments = segments(images.labels, images.data, &good);
    let groups = groups(&segments, images.labels, &params.sizes, params.max_members);
    let mut convolvers: BTreeMap<usize, Option<Convolver>> = BTreeMap::new();
    for group in &groups {
        convolvers.entry(side_of(&group.stamp)).or_default();
        convolvers.entry(side_of(&group.reach)).or_default();
    }
    convolvers.par_iter_mut().try_for_each(|(&side, slot)| {
        *slot = Some(Convolver::new(&images.psf, (side, side))?);
        Ok::<_, ProfileError>(())
    })?;
    let scene = Scene {
        images: *images,
        params: *params,
        segments,
        groups,
        convolvers: convolvers
            .into_iter()
            .filter_map(|(side, c)| Some((side, c?)))
            .collect(),
    };
    let mut done: Vec<Option<Fitted>> = scene.groups.iter().map(|_| None).collect();
    for wave in waves(&scene.groups) {
        for (g, one) in scene.fit_all(&wave, &done) {
            done[g] = Some(one);
        }
    }
    let all: Vec<usize> = (0..scene.groups.len()).collect();
    for _ in 1..params.n_passes {
        let again = scene.fit_all(&all, &done);
        done = again.into_iter().map(|(_, one)| Some(one)).collect();
    }
    let mut model = Image::empty(shape);
    for (group, one) in scene.groups.iter().zip(&done) {
        if let Some(one) = one {
            add(&mut model, &group.reach, &one.model);
        }
    }
    let mut rows: Vec<SceneSource> = done
        .into_iter()
        .flatten()
        .flat_map(|one| one.rows)
        .collect();
    rows.sort_by_key(|row| row.label);
    Ok((rows, model))
}

fn side_of(window: &Window) -> usize {
    window
        .rows
        .len()
        .max(window.columns.len())
        .next_multiple_of(STEP)
}

fn add(image: &mut Image<f32>, window: &Window, model: &[f32]) {
    let nx = image.shape().1;
    for (y, line) in window
        .rows
        .clone()
        .zip(model.chunks_exact(window.columns.len()))
    {
        let row = &mut image.pixels_mut()[y * nx..][window.columns.clone()];
        row.iter_mut()
            .zip(line)
            .for_each(|(sum, value)| *sum += value);
    }
}

impl Scene<'_> {
    fn fit_all(&self, which: &[usize], done: &[Option<Fitted>]) -> Vec<(usize, Fitted)> {
        let fit = |&g: &usize| {
            interrupt::poll();
            (g, self.fit(g, done))
        };
        which.par_iter().map(fit).collect()
    }

    fn fit(&self, g: usize, done: &[Option<Fitted>]) -> Fitted {
        let group = &self.groups[g];
        match self.fit_members(g, done) {
            Ok(rows) => {
                let sources: Vec<Sersic> = rows
                    .iter()
                    .filter(|row| row.message.is_empty())
                    .map(|row| row.fit.sources[0])
                    .collect();
                let model = self.draw(&sources, &group.reach).unwrap_or_default();
                Fitted { rows, model }
            }
            Err(error) => Fitted {
                rows: group
                    .members
                    .iter()
                    .map(|&m| self.failed(group, m, &error))
                    .collect(),
                model: Vec::new(),
            },
        }
    }

    fn failed(&self, group: &Group, member: usize, error: &ProfileError) -> SceneSource {
        SceneSource {
            label: self.segments[member].label,
            group: self.segments[group.members[0]].label,
            n_group: group.members.len(),
            fit: Fit::none(1),
            message: error.to_string(),
        }
    }

    /// Models on a window of the image.
    fn draw(&self, sources: &[Sersic], window: &Window) -> Result<Vec<f32>, ProfileError> {
        let moved: Vec<Sersic> = sources.iter().map(|s| moved(s, window, -1.0)).collect();
        let side = side_of(window);
        let image = self.convolvers[&side].draw(&moved)?;
        let lines = image.pixels().chunks_exact(side).take(window.rows.len());
        Ok(lines
            .flat_map(|line| line[..window.columns.len()].iter().map(|&v| v as f32))
            .collect())
    }

    /// The data of a stamp less the models of other groups that were fitted, and their variance, which is 0 beyond the image and where
    /// nothing counts; and the labels.
    fn stamp(&self, group: &Group, done: &[Option<Fitted>]) -> (Vec<f32>, Vec<f32>, Vec<i32>) {
        let (side, window) = (side_of(&group.stamp), &group.stamp);
        let mut data = vec![0.0; side * side];
        let (mut variance, mut labels) = (data.clone(), vec![0; side * side]);
        for (j, y) in window.rows.clone().enumerate() {
            for (i, x) in window.columns.clone().enumerate() {
                let at = j * side + i;
                data[at] = self.images.data.row(y)[x];
                labels[at] = self.images.labels.row(y)[x];
                if !self.images.mask.is_some_and(|m| m.row(y)[x]) {
                    variance[at] = self.images.variance.row(y)[x];
                }
            }
        }
        for &b in &group.around {
            let reach = &self.groups[b].reach;
            let Some(model) = done[b]
                .as_ref()
                .map(|one| &one.model)
                .filter(|m| !m.is_empty())
            else {
                continue;
            };
            let width = reach.columns.len();
            for y in reach.rows.start.max(window.rows.start)..reach.rows.end.min(window.rows.end) {
                for x in reach.columns.start.max(window.columns.start)
                    ..reach.columns.end.min(window.columns.end)
                {
                    let light = model[(y - reach.rows.start) * width + x - reach.columns.start];
                    data[(y - window.rows.start) * side + x - window.columns.start] -= light;
                }
            }
        }
        (data, variance, labels)
    }

    fn fit_members(
        &self,
        g: usize,
        done: &[Option<Fitted>],
    ) -> Result<Vec<SceneSource>, ProfileError> {
        let group = &self.groups[g];
        let side = side_of(&group.stamp);
        let convolver = &self.convolvers[&side];
        let (data, variance, labels) = self.stamp(group, done);
        let pixels_of = |own: &[i32]| {
            let mask: Vec<bool> = labels.iter().map(|l| *l > 0 && !own.contains(l)).collect();
            Pixels::new(
                Plane::new("data", &data, (side, side))?,
                Plane::new("variance", &variance, (side, side))?,
                Some(Plane::new("mask", &mask, (side, side))?),
                self.params.likelihood,
            )
        };
        let before = done[g].as_ref().map(|one| &one.rows);
        let alone = |(k, &m): (usize, &usize)| {
            let one = &self.segments[m];
            let mut given = [f64::NAN; N_SHAPE + 1];
            given[0] = one.x - group.stamp.columns.start as f64;
            given[1] = one.y - group.stamp.rows.start as f64;
            if let Some(row) = before
                .map(|rows| &rows[k])
                .filter(|row| row.message.is_empty())
            {
                let was = moved(&row.fit.sources[0], &group.stamp, -1.0);
                given[..N_SHAPE].copy_from_slice(&was.row());
                given[N_SHAPE] = row.fit.sky[0];
                if group.members.len() > 1 {
                    return Ok(Fit {
                        sources: vec![was],
                        ..row.fit.clone()
                    });
                }
            }
            fit_stamp(
                convolver,
                &pixels_of(&[one.label])?,
                &given,
                &self.params.fits,
            )
        };
        let singles: Vec<Result<Fit, ProfileError>> =
            group.members.iter().enumerate().map(alone).collect();
        let good: Vec<usize> = (0..singles.len()).filter(|&k| singles[k].is_ok()).collect();
        let together = if good.len() > 1 {
            let starts: Vec<&Fit> = good
                .iter()
                .filter_map(|&k| singles[k].as_ref().ok())
                .collect();
            let own: Vec<i32> = good
                .iter()
                .map(|&k| self.segments[group.members[k]].label)
                .collect();
            Some(self.fit_together(convolver, &pixels_of(&own)?, &starts)?)
        } else {
            None
        };
        let row = |(k, single): (usize, Result<Fit, ProfileError>)| {
            let joint = together.as_ref().zip(good.iter().position(|&at| at == k));
            match (joint, single) {
                (_, Err(error)) => self.failed(group, group.members[k], &error),
                (joint, Ok(single)) => SceneSource {
                    label: self.segments[group.members[k]].label,
                    group: self.segments[group.members[0]].label,
                    n_group: group.members.len(),
                    fit: on_image(
                        &joint.map_or(single, |(fit, place)| fit.of_source(place)),
                        &group.stamp,
                    ),
                    message: String::new(),
                },
            }
        };
        Ok(singles.into_iter().enumerate().map(row).collect())
    }

    fn fit_together(
        &self,
        convolver: &Convolver,
        pixels: &Pixels,
        starts: &[&Fit],
    ) -> Result<Fit, ProfileError> {
        let fits = &self.params.fits;
        let [flux, r_e, n, q, theta] = fits.shape;
        let component = |fit: &&Fit| {
            let start = fit.sources[0];
            let around = |centre: f64| (centre - fits.reach, centre + fits.reach);
            Component {
                start,
                bounds: [around(start.x), around(start.y), flux, r_e, n, q, theta],
            }
        };
        let components: Vec<Component> = starts.iter().map(component).collect();
        let mean =
            |k: usize| starts.iter().map(|fit| fit.sky[k]).sum::<f64>() / starts.len() as f64;
        let sky = Sky {
            start: std::array::from_fn::<_, N_SKY, _>(mean),
            bounds: fits.sky,
        };
        fit_group(convolver, pixels, &components, &sky, fits.stop)
    }
}

fn moved(source: &Sersic, window: &Window, sign: f64) -> Sersic {
    Sersic {
        x: source.x + sign * window.columns.start as f64,
        y: source.y + sign * window.rows.start as f64,
        ..*source
    }
}

/// A fit on a stamp with the places of its sources on the image.
fn on_image(fit: &Fit, stamp: &Window) -> Fit {
    Fit {
        sources: fit.sources.iter().map(|s| moved(s, stamp, 1.0)).collect(),
        ..fit.clone()
    }
}
