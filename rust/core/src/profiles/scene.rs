//! All sources of an image fitted, in groups of neighbours, the brightest first.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::ProfileError;
use super::asked::{Asked, StampParams, fit_source, given_components};
use super::fit::{Bounds, Component, Fit, N_SKY, Sky, fit_group};
use super::groups::{Group, Rules, Segment, StampSizes, Window, groups, segments, waves};
use super::pixels::{Likelihood, Pixels};
use super::profile::{Family, Profile};
use super::psfs::{Convolvers, Psfs};
use crate::image::{Image, Plane};
use crate::interrupt;

/// Sides of stamps are rounded up to a multiple of this [pix], so that they share the transform of the PSF.
const STEP: usize = 16;

/// What a fit of a scene may do.
#[derive(Clone, Debug)]
pub struct SceneParams {
    /// Of single fits; the centre may move this far in groups, too.
    pub fits: StampParams,
    /// What is asked of sources without a plan of their own.
    pub asked: Vec<Asked>,
    /// Sizes of stamps.
    pub sizes: StampSizes,
    /// Largest half-light radius of a source without a plan, in units of the root of its segment's area over pi.
    pub max_radii: f64,
    /// Most sources that are fitted together.
    pub max_members: usize,
    /// How often all groups are fitted: from the second time on with the models of all others subtracted.
    pub n_passes: usize,
    /// What the noise follows.
    pub likelihood: Likelihood,
}

/// What is asked of one source, in pixels of the image.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Its label.
    pub label: i32,
    /// Its components.
    pub asked: Vec<Asked>,
    /// Level of the sky with which its fit begins; NaN is found from the light.
    pub sky: f64,
    /// Bounds of the sky, where they are not those of the others.
    pub sky_bounds: Option<[Bounds; N_SKY]>,
    /// Whether it is subtracted as it is given, and not fitted.
    pub is_held: bool,
    /// Number of the group that it is fitted in; None for one that is found by its place.
    pub together: Option<i32>,
    /// More pixels that its group does not use.
    pub mask: Option<Plane<'a, bool>>,
}

/// A source of a scene.
#[derive(Clone, Debug)]
pub struct SceneSource {
    /// Its label.
    pub label: i32,
    /// Labels of the sources of its group, the brightest first.
    pub members: Vec<i32>,
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
    pub psfs: &'a Psfs<'a>,
}

/// The light of a source in its window.
struct Model {
    window: Window,
    light: Vec<f32>,
}

/// What was fitted of a group: its sources and their models.
struct Fitted {
    rows: Vec<SceneSource>,
    models: Vec<Model>,
}

/// Where a member of a group begins, with a fit of its own or without.
struct Begun {
    components: Vec<Component>,
    sky: [f64; N_SKY],
    fit: Option<Fit>,
}

struct Scene<'a> {
    images: SceneImages<'a>,
    params: &'a SceneParams,
    plans: BTreeMap<i32, &'a Plan<'a>>,
    segments: Vec<Segment>,
    groups: Vec<Group>,
    convolvers: Convolvers<'a>,
    /// Models of the sources that are held.
    held: Vec<Model>,
}

/// Fit all sources, in the order of their labels, and draw the sum of their models.
///
/// A source is fitted on a stamp of its own, with other segments masked; those whose segments lie on it are fitted alone
/// and then all together. Models of brighter groups are subtracted before, so that a group waits for those that reach its
/// stamp and for no others; later passes subtract those of all other groups in the pass before. Sources that are held are
/// subtracted from all. Results are the same for any number of threads.
///
/// # Errors
/// When shapes differ or the PSF cannot be used; a source that cannot be fitted has a message.
pub fn fit_scene(
    images: &SceneImages<'_>,
    plans: &[Plan<'_>],
    params: &SceneParams,
) -> Result<(Vec<SceneSource>, Image<f32>), ProfileError> {
    let shape = images.data.shape();
    images.variance.of_shape("variance", shape)?;
    images.labels.of_shape("labels", shape)?;
    for plan in plans {
        if let Some(mask) = plan.mask {
            mask.of_shape("mask", shape)?;
        }
    }
    let all = Pixels::new(images.data, images.variance, images.mask, params.likelihood)?;
    let good: Vec<bool> = all.weight().iter().map(|&w| w > 0.0).collect();
    let segments = segments(images.labels, images.data, &good, &params.sizes);
    let plans: BTreeMap<i32, &Plan<'_>> = plans.iter().map(|plan| (plan.label, plan)).collect();
    let rules = Rules {
        max_members: params.max_members,
        together: &plans
            .values()
            .filter_map(|plan| Some((plan.label, plan.together?)))
            .collect(),
        held: &plans
            .values()
            .filter(|plan| plan.is_held)
            .map(|plan| plan.label)
            .collect(),
    };
    let groups = groups(&segments, images.labels, &rules);
    let windows = groups
        .iter()
        .map(|group| &group.stamp)
        .chain(segments.iter().map(|segment| &segment.reach));
    let sides: BTreeSet<usize> = windows.map(side_of).collect();
    let mut scene = Scene {
        images: *images,
        params,
        plans,
        convolvers: Convolvers::new(images.psfs, sides.into_iter())?,
        segments,
        groups,
        held: Vec::new(),
    };
    let (mut rows, held) = scene.held(rules.held);
    scene.held = held;
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
    let mut image = Image::empty(shape);
    let fitted = done.iter().flatten().flat_map(|one| &one.models);
    for model in fitted.chain(&scene.held) {
        add(&mut image, model);
    }
    rows.extend(done.into_iter().flatten().flat_map(|one| one.rows));
    rows.sort_by_key(|row| row.label);
    Ok((rows, image))
}

fn side_of(window: &Window) -> usize {
    window
        .rows
        .len()
        .max(window.columns.len())
        .next_multiple_of(STEP)
}

fn add(image: &mut Image<f32>, model: &Model) {
    let nx = image.shape().1;
    let lines = model.light.chunks_exact(model.window.columns.len());
    for (y, line) in model.window.rows.clone().zip(lines) {
        let row = &mut image.pixels_mut()[y * nx..][model.window.columns.clone()];
        row.iter_mut()
            .zip(line)
            .for_each(|(sum, value)| *sum += value);
    }
}

impl<'a> Scene<'a> {
    fn asked(&self, segment: &Segment) -> &[Asked] {
        self.plans
            .get(&segment.label)
            .map_or(&self.params.asked, |plan| &plan.asked)
    }

    fn families(&self, segment: &Segment) -> Vec<Family> {
        self.asked(segment).iter().map(|one| one.family).collect()
    }

    /// Rows and models of the sources that are held.
    fn held(&self, which: &BTreeSet<i32>) -> (Vec<SceneSource>, Vec<Model>) {
        let of_one = |segment: &Segment| {
            let asked = self.asked(segment);
            let sources: Option<Vec<Profile>> = given_components(asked, 0.0)
                .map(|parts| parts.iter().map(|part| part.start).collect());
            let mut row = SceneSource {
                label: segment.label,
                members: vec![segment.label],
                fit: Fit::none(&self.families(segment)),
                message: String::new(),
            };
            let drawn = match sources {
                Some(sources) => {
                    let drawn = self.draw(segment, &sources);
                    (row.fit.start, row.fit.sources) = (sources.clone(), sources);
                    drawn
                }
                None => Err(ProfileError::NoStart),
            };
            match drawn {
                Ok(model) => (row, Some(model)),
                Err(error) => {
                    row.message = error.to_string();
                    (row, None)
                }
            }
        };
        let chosen: Vec<&Segment> = self
            .segments
            .iter()
            .filter(|s| which.contains(&s.label))
            .collect();
        let found: Vec<_> = chosen.into_par_iter().map(of_one).collect();
        let (rows, models): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        (rows, models.into_iter().flatten().collect())
    }

    fn fit_all(&self, which: &[usize], done: &[Option<Fitted>]) -> Vec<(usize, Fitted)> {
        let fit = |&g: &usize| {
            interrupt::poll();
            (g, self.fit(g, done))
        };
        which.par_iter().map(fit).collect()
    }

    fn fit(&self, g: usize, done: &[Option<Fitted>]) -> Fitted {
        let group = &self.groups[g];
        let mut rows = self.fit_members(g, done).unwrap_or_else(|error| {
            let failed = |&m: &usize| self.failed(group, m, &error);
            group.members.iter().map(failed).collect()
        });
        let mut models = Vec::with_capacity(rows.len());
        for (row, &m) in rows.iter_mut().zip(&group.members) {
            if !row.message.is_empty() {
                continue;
            }
            match self.draw(&self.segments[m], &row.fit.sources) {
                Ok(model) => models.push(model),
                Err(error) => row.message = error.to_string(),
            }
        }
        Fitted { rows, models }
    }

    fn labels(&self, group: &Group) -> Vec<i32> {
        let label = |&m: &usize| self.segments[m].label;
        group.members.iter().map(label).collect()
    }

    fn failed(&self, group: &Group, member: usize, error: &ProfileError) -> SceneSource {
        let segment = &self.segments[member];
        SceneSource {
            label: segment.label,
            members: self.labels(group),
            fit: Fit::none(&self.families(segment)),
            message: error.to_string(),
        }
    }

    /// The model of a source in its window.
    fn draw(&self, segment: &Segment, sources: &[Profile]) -> Result<Model, ProfileError> {
        let window = &segment.reach;
        let moved: Vec<Profile> = sources.iter().map(|s| moved(s, window, -1.0)).collect();
        let side = side_of(window);
        let convolver = self.convolvers.at(segment.middle, side)?;
        let image = convolver.draw(&moved)?;
        let lines = image.pixels().chunks_exact(side).take(window.rows.len());
        let light = lines.flat_map(|line| line[..window.columns.len()].iter().map(|&v| v as f32));
        Ok(Model {
            light: light.collect(),
            window: window.clone(),
        })
    }

    /// The light of other groups that were fitted, and of sources that are held, on a stamp.
    fn others(&self, group: &Group, done: &[Option<Fitted>]) -> Vec<f32> {
        let (side, stamp) = (side_of(&group.stamp), &group.stamp);
        let mut sum = vec![0.0; side * side];
        let around = group.around.iter().filter_map(|&b| done[b].as_ref());
        let fitted = around.flat_map(|one| &one.models);
        let near = |model: &&Model| model.window.overlaps(stamp);
        for model in fitted.chain(&self.held).filter(near) {
            let (window, width) = (&model.window, model.window.columns.len());
            let columns = window.columns.start.max(stamp.columns.start)
                ..window.columns.end.min(stamp.columns.end);
            for y in window.rows.start.max(stamp.rows.start)..window.rows.end.min(stamp.rows.end) {
                let from = &model.light[(y - window.rows.start) * width..][..width];
                let to = &mut sum[(y - stamp.rows.start) * side..][..side];
                for x in columns.clone() {
                    to[x - stamp.columns.start] += from[x - window.columns.start];
                }
            }
        }
        sum
    }

    /// The data of a stamp and their variance, which is 0 beyond the image and where nothing counts; and the labels.
    fn stamp(&self, group: &Group) -> (Vec<f32>, Vec<f32>, Vec<i32>) {
        let (side, window) = (side_of(&group.stamp), &group.stamp);
        let mut data = vec![0.0; side * side];
        let (mut variance, mut labels) = (data.clone(), vec![0; side * side]);
        let plans = group
            .members
            .iter()
            .filter_map(|&m| self.plans.get(&self.segments[m].label));
        let masks: Vec<Plane<'a, bool>> = plans
            .filter_map(|plan| plan.mask)
            .chain(self.images.mask)
            .collect();
        for (j, y) in window.rows.clone().enumerate() {
            for (i, x) in window.columns.clone().enumerate() {
                let at = j * side + i;
                data[at] = self.images.data.row(y)[x];
                labels[at] = self.images.labels.row(y)[x];
                if !masks.iter().any(|m| m.row(y)[x]) {
                    variance[at] = self.images.variance.row(y)[x];
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
        let brightest = &self.segments[group.members[0]];
        let convolver = self.convolvers.at((brightest.x, brightest.y), side)?;
        let place = (
            brightest.x - group.stamp.columns.start as f64,
            brightest.y - group.stamp.rows.start as f64,
        );
        let (data, variance, labels) = self.stamp(group);
        let others = self.others(group, done);
        let pixels_of = |own: &[i32]| {
            let mask: Vec<bool> = labels.iter().map(|l| *l > 0 && !own.contains(l)).collect();
            let pixels = Pixels::new(
                Plane::new("data", &data, (side, side))?,
                Plane::new("variance", &variance, (side, side))?,
                Some(Plane::new("mask", &mask, (side, side))?),
                self.params.likelihood,
            )?;
            Ok::<_, ProfileError>(pixels.without(&others).with_sky_at(place))
        };
        // Of a segment of which no pixel counts the model would be what its neighbours leave.
        let is_seen = |m: usize| {
            let own = self.segments[m].label;
            let mut seen = labels.iter().zip(&variance);
            seen.any(|(&label, &v)| label == own && v > 0.0)
        };
        let fits = self.fits_of(group);
        let before = done[g].as_ref().map(|one| &one.rows);
        let begun: Vec<Result<Begun, ProfileError>> = (0..group.members.len())
            .map(|k| {
                if !is_seen(group.members[k]) {
                    return Err(ProfileError::NoGoodPixel(
                        self.segments[group.members[k]].area,
                    ));
                }
                let was = before
                    .map(|rows| &rows[k])
                    .filter(|row| row.message.is_empty());
                let (asked, sky) = self.asked_on(group, k, was);
                let parts = given_components(&asked, fits.reach);
                if let Some(components) = parts.filter(|_| group.members.len() > 1) {
                    let sky = [if sky.is_finite() { sky } else { 0.0 }, 0.0, 0.0];
                    return Ok(Begun {
                        components,
                        sky,
                        fit: None,
                    });
                }
                let own = [self.segments[group.members[k]].label];
                let fit = fit_source(&convolver, &pixels_of(&own)?, &asked, sky, &fits)?;
                Ok(Begun {
                    components: around(&fit, &asked, fits.reach)?,
                    sky: fit.sky,
                    fit: Some(fit),
                })
            })
            .collect();
        let good: Vec<(usize, &Begun)> = begun
            .iter()
            .enumerate()
            .filter_map(|(k, one)| Some((k, one.as_ref().ok()?)))
            .collect();
        let own: Vec<i32> = good
            .iter()
            .map(|&(k, _)| self.segments[group.members[k]].label)
            .collect();
        let together = match good.as_slice() {
            [] => None,
            [(_, one)] if one.fit.is_some() => one.fit.clone(),
            all => fit_together(&convolver, &pixels_of(&own)?, all, &fits).ok(),
        };
        let mut first = 0;
        let row = |(k, one): (usize, &Result<Begun, ProfileError>)| {
            let m = group.members[k];
            let begun = match one {
                Ok(begun) => begun,
                Err(error) => return self.failed(group, m, error),
            };
            let label = self.segments[m].label;
            let (members, fit) = if let Some(fit) = &together {
                let own = first..first + begun.components.len();
                first = own.end;
                (self.labels(group), Ok(fit.of_sources(own)))
            } else {
                // What cannot be fitted together is what was fitted alone.
                let alone =
                    || fit_together(&convolver, &pixels_of(&[label])?, &[(k, begun)], &fits);
                (vec![label], begun.fit.clone().map_or_else(alone, Ok))
            };
            match fit {
                Ok(fit) => SceneSource {
                    label,
                    members,
                    fit: on_image(&fit, &group.stamp),
                    message: String::new(),
                },
                Err(error) => self.failed(group, m, &error),
            }
        };
        Ok(begun.iter().enumerate().map(row).collect())
    }

    /// What fits of a group may do: bounds of the sky are those of the first member that has some of its own.
    fn fits_of(&self, group: &Group) -> StampParams {
        let mut plans = group
            .members
            .iter()
            .filter_map(|&m| self.plans.get(&self.segments[m].label));
        StampParams {
            sky: plans
                .find_map(|plan| plan.sky_bounds)
                .unwrap_or(self.params.fits.sky),
            ..self.params.fits
        }
    }

    /// What is asked of a member, in pixels of the stamp, and the level of the sky that is given or NaN; from what was
    /// fitted before, if it was.
    fn asked_on(&self, group: &Group, k: usize, was: Option<&SceneSource>) -> (Vec<Asked>, f64) {
        let segment = &self.segments[group.members[k]];
        let corner = [
            group.stamp.columns.start as f64,
            group.stamp.rows.start as f64,
        ];
        let mut asked = self.asked(segment).to_vec();
        let largest = match self.plans.get(&segment.label) {
            Some(_) => f64::INFINITY,
            None => self.params.max_radii * (segment.area as f64 / std::f64::consts::PI).sqrt(),
        };
        for (c, one) in asked.iter_mut().enumerate() {
            let (low, high) = one.bounds[3];
            one.bounds[3] = (low, high.min(largest.max(low)));
            if let Some(was) = was {
                one.given = was.fit.sources[c].row();
            } else if one.given[0].is_nan() || one.given[1].is_nan() {
                (one.given[0], one.given[1]) = (segment.x, segment.y);
            }
            for (axis, corner) in corner.iter().enumerate() {
                one.given[axis] -= corner;
                one.bounds[axis].0 -= corner;
                one.bounds[axis].1 -= corner;
            }
        }
        let sky = self.plans.get(&segment.label).map_or(f64::NAN, |p| p.sky);
        (asked, was.map_or(sky, |was| was.fit.sky[0]))
    }
}

/// The components of a fit with bounds of the centre around where it ended.
fn around(fit: &Fit, asked: &[Asked], reach: f64) -> Result<Vec<Component>, ProfileError> {
    let of_one = |(one, found): (&Asked, &Profile)| Asked {
        given: found.row(),
        ..*one
    };
    let next: Vec<Asked> = asked.iter().zip(&fit.sources).map(of_one).collect();
    given_components(&next, reach).ok_or(ProfileError::NoStart)
}

fn fit_together(
    convolver: &super::Convolver,
    pixels: &Pixels,
    begun: &[(usize, &Begun)],
    fits: &StampParams,
) -> Result<Fit, ProfileError> {
    let mut components: Vec<Component> = Vec::new();
    for (_, one) in begun {
        let first = components.len();
        components.extend(one.components.iter().map(|component| Component {
            centre_of: component.centre_of.map(|owner| owner + first),
            ..*component
        }));
    }
    let mean = |k: usize| begun.iter().map(|(_, one)| one.sky[k]).sum::<f64>() / begun.len() as f64;
    let sky = Sky {
        start: std::array::from_fn::<_, N_SKY, _>(mean),
        bounds: fits.sky,
    };
    fit_group(convolver, pixels, &components, &sky, fits.stop)
}

fn moved(source: &Profile, window: &Window, sign: f64) -> Profile {
    Profile {
        x: source.x + sign * window.columns.start as f64,
        y: source.y + sign * window.rows.start as f64,
        ..*source
    }
}

/// A fit on a stamp with the places of its sources on the image.
fn on_image(fit: &Fit, stamp: &Window) -> Fit {
    let moved = |sources: &[Profile]| sources.iter().map(|s| moved(s, stamp, 1.0)).collect();
    Fit {
        sources: moved(&fit.sources),
        start: moved(&fit.start),
        ..fit.clone()
    }
}
