//! Images larger than a network: it is trained on tiles of them and scores every tile.

use crate::graph::{Graph, Scoring, Value};
use crate::random::stream;
use crate::{BatchNormMode, Detector, Error, Input, NamedTensors, Names, Result, Scores};
use candle_core::{Device, Tensor};
use rand::RngExt;
use std::sync::{Mutex, PoisonError};

/// The end of the name of a score's mean over tiles; the maximum has the score's own name.
pub const MEAN: &str = "_mean";
/// The counter of steps in a training state.
const STEPS: &str = "tiles.steps";
/// Tiles that are scored at once.
const AT_ONCE: usize = 64;

/// How images are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Side of a tile: the network's input.
    pub tile: usize,
    /// Distance of the tiles that are scored, 1 to `tile`. The last ones end at the image's edge.
    pub stride: usize,
}

impl Tiles {
    /// Whether they can be cut from images of this side.
    pub fn fit(self, side: usize) -> bool {
        self.tile <= side && (1..=self.tile).contains(&self.stride)
    }

    /// Where tiles begin along an axis of `side` pixels, at least `tile`.
    fn starts(self, side: usize) -> Vec<usize> {
        let last = side - self.tile;
        (0..last).step_by(self.stride).chain([last]).collect()
    }
}

/// A detector for tiles, as a detector for whole images, `[N, C, S, S]`.
///
/// * A training step takes one tile of each image, at a place drawn from the seed and the step.
/// * A score is the maximum over an image's tiles, and one with [`MEAN`] behind its name their mean.
/// * A code is the mean of the tiles' codes.
/// * A reconstruction is made of the tiles' reconstructions. Where tiles overlap, each counts more
///   the farther a pixel is from its edge, so that no seam shows.
pub struct Tiled {
    inner: Box<dyn Detector>,
    tiles: Tiles,
    input: Input,
    seed: u64,
    steps: u64,
}

impl Tiled {
    /// Wraps a detector of tiles. `input` is the whole image; its side is at least a tile's.
    pub fn new(inner: Box<dyn Detector>, tiles: Tiles, input: Input, seed: u64) -> Self {
        Self { inner, tiles, input, seed, steps: 0 }
    }

    /// Images of a batch of the right shape.
    fn images(&self, x: &Tensor) -> Result<usize> {
        let Input { channels, side } = self.input;
        match *x.dims() {
            [n, c, h, w] if n > 0 && (c, h, w) == (channels, side, side) => Ok(n),
            _ => Err(Error::BatchShape { got: x.dims().to_vec(), channels, size: side }),
        }
    }

    /// Where an image's tiles are: row and column of each.
    fn places(&self) -> Vec<(usize, usize)> {
        let starts = self.tiles.starts(self.input.side);
        starts.iter().flat_map(|&y| starts.iter().map(move |&x| (y, x))).collect()
    }

    fn cut(&self, x: &Tensor, image: usize, (top, left): (usize, usize)) -> Result<Tensor> {
        let tile = self.tiles.tile;
        Ok(x.narrow(0, image, 1)?.narrow(2, top, tile)?.narrow(3, left, tile)?)
    }

    /// What `of` gives for an image's tiles, a few at a time, in their order.
    fn of_tiles<T>(
        &self,
        x: &Tensor,
        image: usize,
        mut of: impl FnMut(&Tensor) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for places in self.places().chunks(AT_ONCE) {
            let tiles = places.iter().map(|&place| self.cut(x, image, place));
            all.push(of(&Tensor::cat(&tiles.collect::<Result<Vec<_>>>()?, 0)?)?);
        }
        Ok(all)
    }

    /// How much each pixel of a tile counts, row by row.
    fn weights(&self) -> Vec<f32> {
        let tile = self.tiles.tile;
        let along = |i: usize| (i + 1).min(tile - i) as f32;
        (0..tile * tile).map(|at| along(at / tile) * along(at % tile)).collect()
    }

    /// The sum of the weights of all tiles at each pixel of an image, row by row.
    fn totals(&self) -> Vec<f32> {
        let (side, tile, weights) = (self.input.side, self.tiles.tile, self.weights());
        let mut totals = vec![0.0; side * side];
        for (top, left) in self.places() {
            for (at, weight) in weights.iter().enumerate() {
                totals[(top + at / tile) * side + left + at % tile] += weight;
            }
        }
        totals
    }

    /// Puts the tiles of an image together, `[C, S, S]`.
    fn stitch(&self, tiles: &[f32]) -> Vec<f32> {
        let (Input { channels, side }, tile) = (self.input, self.tiles.tile);
        let (weights, totals) = (self.weights(), self.totals());
        let mut sums = vec![0.0; channels * side * side];
        for (&(top, left), planes) in
            self.places().iter().zip(tiles.chunks_exact(channels * tile * tile))
        {
            for (at, weight) in weights.iter().enumerate() {
                let to = (top + at / tile) * side + left + at % tile;
                for c in 0..channels {
                    sums[c * side * side + to] += weight * planes[c * tile * tile + at];
                }
            }
        }
        for plane in sums.chunks_exact_mut(side * side) {
            plane.iter_mut().zip(&totals).for_each(|(sum, total)| *sum /= total);
        }
        sums
    }
}

impl Detector for Tiled {
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>> {
        let images = self.images(x)?;
        let mut rng = stream(self.seed, b"tiles   ");
        // A stream for each step, so that there is no position to resume from.
        rng.set_stream(self.steps);
        let room = self.input.side - self.tiles.tile;
        let tiles = (0..images).map(|image| {
            let place = (rng.random_range(0..=room as u64), rng.random_range(0..=room as u64));
            self.cut(x, image, (place.0 as usize, place.1 as usize))
        });
        let tiles = Tensor::cat(&tiles.collect::<Result<Vec<_>>>()?, 0)?;
        let losses = self.inner.train_step(&tiles)?;
        self.steps += 1;
        Ok(losses)
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        if mode == BatchNormMode::Batch {
            let (value, wanted) = ("batch".into(), "tiles take running statistics".into());
            return Err(Error::Config { setting: "scoring", value, wanted });
        }
        let mut all = Scores::default();
        for image in 0..self.images(x)? {
            let mut of_tiles = Scores::default();
            for scores in self.of_tiles(x, image, |tiles| self.inner.score(tiles, mode))? {
                of_tiles.append(scores);
            }
            let columns = of_tiles.columns();
            let highest = columns.iter().map(|(name, scores)| {
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                (name.clone(), vec![highest])
            });
            let mean = columns.iter().map(|(name, scores)| {
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                (format!("{name}{MEAN}"), vec![mean])
            });
            all.append(Scores::new(highest.chain(mean)));
        }
        Ok(all)
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        let code = |image| -> Result<Tensor> {
            let codes = self.of_tiles(x, image, |tiles| self.inner.code(tiles))?;
            Ok(Tensor::cat(&codes, 0)?.mean_keepdim(0)?)
        };
        let codes = (0..self.images(x)?).map(code).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&codes, 0)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        let Input { channels, side } = self.input;
        let images = self.images(x)?;
        let mut all = Vec::with_capacity(x.elem_count());
        for image in 0..images {
            let made = self.of_tiles(x, image, |tiles| {
                Ok(self.inner.reconstruct(tiles, mode)?.flatten_all()?.to_vec1::<f32>()?)
            })?;
            all.extend(self.stitch(&made.concat()));
        }
        Ok(Tensor::from_vec(all, (images, channels, side, side), x.device())?)
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        let (Input { channels, side }, tile) = (self.input, self.tiles.tile);
        let places = self.places();
        let mut tiles = Vec::new();
        for &(top, left) in &places {
            let rows = graph.slice(x, 2, top, top + tile)?;
            tiles.push(graph.slice(&rows, 3, left, left + tile)?);
        }
        // All tiles of all images, tile by tile.
        let tiles = graph.concat(&tiles.iter().collect::<Vec<_>>(), 0);
        let of_tiles = self.inner.graph(graph, &tiles)?;
        let (mut highest, mut means) = (Vec::new(), Vec::new());
        for (name, scores) in of_tiles.scores {
            let scores = graph.reshape(&scores, &[places.len() as i64, -1])?;
            means.push((format!("{name}{MEAN}"), graph.mean(&scores, &[0])));
            highest.push((name, graph.max(&scores, &[0])));
        }
        let (weights, totals) = (self.weights(), self.totals());
        let plane =
            |numbers: Vec<f32>, side| Tensor::from_vec(numbers, (1, 1, side, side), &Device::Cpu);
        let (weights, totals) = (plane(weights, tile)?, plane(totals, side)?);
        let (weights, totals) = (graph.constant(&weights)?, graph.constant(&totals)?);
        let weighted = graph.op("Mul", &[&of_tiles.reconstruction, &weights], Vec::new());
        let mut placed = Vec::new();
        for ((top, left), tile_of) in places.iter().zip(graph.parts(&weighted, places.len())) {
            let after = |from: usize| (side - tile - from) as i64;
            let (top, left) = (*top, *left);
            let pads = [0, 0, top as i64, left as i64, 0, 0, after(top), after(left)];
            let pads = graph.ints(&pads)?;
            placed.push(graph.op("Pad", &[&tile_of, &pads], Vec::new()));
        }
        let sum = graph.op("Sum", &placed.iter().collect::<Vec<_>>(), Vec::new());
        let sum = graph.op("Div", &[&sum, &totals], Vec::new());
        let whole = [-1, channels as i64, side as i64, side as i64];
        let reconstruction = graph.reshape(&sum, &whole)?;
        highest.extend(means);
        Ok(Scoring { scores: highest, reconstruction })
    }

    fn state(&self) -> Result<NamedTensors> {
        self.inner.state()
    }

    fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        self.inner.load_state(state)
    }

    fn training_state(&self) -> Result<NamedTensors> {
        let mut state = self.inner.training_state()?;
        state.push((STEPS.into(), Tensor::new(self.steps as i64, &Device::Cpu)?));
        Ok(state)
    }

    fn load_training_state(&mut self, state: &NamedTensors) -> Result<()> {
        let (own, inner): (NamedTensors, NamedTensors) =
            state.iter().cloned().partition(|(name, _)| name == STEPS);
        let [(_, steps)] = own.as_slice() else {
            return Err(Error::Weights(format!("expected one tensor {STEPS}")));
        };
        let steps = u64::try_from(steps.to_scalar::<i64>()?);
        let steps = steps.map_err(|_| Error::Weights(format!("{STEPS} is below 0")))?;
        self.inner.load_training_state(&inner)?;
        self.steps = steps;
        Ok(())
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.inner.set_learning_rate(lr);
    }
}

/// What a detector of tiles calls its scores: every one of the detector's own, then their means.
pub fn tiled(names: Names) -> Names {
    // Names live as long as the program, and there are as many as kinds of detectors.
    static MADE: Mutex<Vec<(Names, Names)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, there)) = made.iter().find(|(of, _)| *of == names) {
        return *there;
    }
    let mean = |name: &str| -> &'static str { format!("{name}{MEAN}").leak() };
    let means = names.scores.iter().map(|name| mean(name));
    let scores: Vec<&'static str> = names.scores.iter().copied().chain(means).collect();
    let new = Names { scores: scores.leak(), reconstruction: mean(names.reconstruction), ..names };
    made.push((names, new));
    new
}
