//! Two-dimensional convolution and its two gradients.
//!
//! Images are processed in tiles that fit a core's cache: their patches are laid out as rows
//! ([`Shape::rows_from_images`]), and a matrix product does the rest. A transposed convolution is
//! the same three products with the roles swapped: its forward pass is the input gradient.

use crate::fold::{Channels, Fold, apply};
use crate::gemm::{Threads, View, matmul};
use crate::narrow;
use crate::rows::Rows;
use crate::storage::{Real, dispatch, read, tensor, with_buffer};
use crate::winograd;
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// A square convolution without bias: kernel size, stride and zero padding on each side.
///
/// `x` is `[N, H, W, I]`, `w` is `[K, K, I, O]` and `y` is `[N, H', W', O]` with
/// `H' = (H + 2·padding − K) / stride + 1`. A transposed convolution from O channels to I is
/// [`Conv2d::backward_input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance between neighbouring patches.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
}

impl Conv2d {
    /// Side of the output for an input of side `size`, or an error if the kernel does not fit.
    pub fn output_size(self, size: usize) -> Result<usize> {
        let padded = size + 2 * self.padding;
        if self.kernel == 0 || self.stride == 0 || padded < self.kernel {
            bail!("{self:?} does not fit an input of size {size}");
        }
        Ok((padded - self.kernel) / self.stride + 1)
    }

    /// Side of the transposed convolution's output for an input of side `size`.
    pub fn transposed_size(self, size: usize) -> Result<usize> {
        match ((size.max(1) - 1) * self.stride + self.kernel).checked_sub(2 * self.padding) {
            Some(out) if out > 0 && size > 0 => Ok(out),
            _ => bail!("{self:?} transposed does not fit an input of size {size}"),
        }
    }

    /// Multiply-adds of the forward pass over n images of h × w, or of either gradient, with the
    /// method chosen for these sizes.
    pub fn multiply_adds(
        self,
        (n, h, w): (usize, usize, usize),
        (i, o): (usize, usize),
    ) -> Result<usize> {
        let shape = self.geometry((n, h, w), (i, o))?;
        Ok(winograd::Method::of(&shape).multiply_adds(&shape))
    }

    /// `y` from `x` and `w`.
    pub fn forward(self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        self.forward_folded(x, w, None)
    }

    /// [`Self::forward`], then `f(scale · y + shift)` for each of the O channels of `y` if a fold
    /// is given. It is applied while `y` is still in the cache: batch normalisation by given
    /// statistics, folded into the convolution.
    pub fn forward_folded(self, x: &Tensor, w: &Tensor, fold: Option<&Fold<'_>>) -> Result<Tensor> {
        let (n, h, wd, i) = x.dims4()?;
        let s = self.shape((n, h, wd), (i, w.dim(3)?), w)?;
        dispatch!(x, T => {
            let fold = fold.map(|fold| fold.convert::<T>(s.o)).transpose()?;
            let rows = fold.as_ref().map(Channels::rows);
            let y = read(x, |x: &[T]| read(w, |w: &[T]| s.forward(x, w, rows)))??;
            tensor(y, (n, s.oh, s.ow, s.o))
        })
    }

    /// The gradient of `x`, `[N, H, W, I]`, from that of `y`.
    pub fn backward_input(self, dy: &Tensor, w: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        self.backward_input_folded(dy, w, size, None)
    }

    /// [`Self::backward_input`] (a transposed convolution's forward pass) with a fold over its I
    /// channels.
    pub fn backward_input_folded(
        self,
        dy: &Tensor,
        w: &Tensor,
        (h, wd): (usize, usize),
        fold: Option<&Fold<'_>>,
    ) -> Result<Tensor> {
        let (n, _, _, o) = dy.dims4()?;
        let s = self.shape((n, h, wd), (w.dim(2)?, o), w)?;
        s.check_output(dy)?;
        dispatch!(dy, T => {
            let fold = fold.map(|fold| fold.convert::<T>(s.i)).transpose()?;
            let rows = fold.as_ref().map(Channels::rows);
            let dx = read(dy, |dy: &[T]| read(w, |w: &[T]| s.backward_input(dy, w, rows)))??;
            tensor(dx, (n, h, wd, s.i))
        })
    }

    /// The gradient of `w`, `[K, K, I, O]`, from `x` and the gradient of `y`.
    pub fn backward_weight(self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (n, h, wd, i) = x.dims4()?;
        let s = self.geometry((n, h, wd), (i, dy.dim(3)?))?;
        s.check_output(dy)?;
        let k = self.kernel;
        let dw = dispatch!(x, T => {
            let dw = read(x, |x: &[T]| read(dy, |dy: &[T]| s.backward_weight(x, dy)))??;
            tensor(dw, (k, k, i, s.o))?
        });
        Ok(dw)
    }

    fn geometry(self, (n, h, w): (usize, usize, usize), (i, o): (usize, usize)) -> Result<Shape> {
        let (oh, ow) = (self.output_size(h)?, self.output_size(w)?);
        Ok(Shape { conv: self, n, h, w, i, o, oh, ow })
    }

    fn shape(self, nhw: (usize, usize, usize), io: (usize, usize), w: &Tensor) -> Result<Shape> {
        let wanted = [self.kernel, self.kernel, io.0, io.1];
        if w.dims() != wanted {
            bail!("the weight has shape {:?}, expected [K, K, I, O] = {wanted:?}", w.dims());
        }
        self.geometry(nhw, io)
    }
}

/// All sizes of one call.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub conv: Conv2d,
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub i: usize,
    pub o: usize,
    pub oh: usize,
    pub ow: usize,
}

/// Elements in a tile's rows: 2 MB of f32, so that rows and weights stay in a core's cache.
const TILE: usize = 1 << 19;
/// Number of partial sums of a weight gradient; fixed, so that the result is the same on any
/// machine.
const PARTIAL_SUMS: usize = 8;

impl Shape {
    fn check_output(self, dy: &Tensor) -> Result<()> {
        let wanted = [self.n, self.oh, self.ow, self.o];
        if dy.dims() != wanted {
            bail!("the gradient of the output has shape {:?}, expected {wanted:?}", dy.dims());
        }
        Ok(())
    }

    /// Patches in one image.
    pub fn patches(self) -> usize {
        self.oh * self.ow
    }

    /// Elements in one patch.
    fn patch(self) -> usize {
        self.conv.kernel * self.conv.kernel * self.i
    }

    /// Elements in one input image.
    pub fn image(self) -> usize {
        self.h * self.w * self.i
    }

    /// Whether an image is exactly one patch, as in the last convolution of an encoder.
    fn is_one_patch(self) -> bool {
        self.patches() == 1
            && self.conv.padding == 0
            && self.h == self.conv.kernel
            && self.w == self.h
    }

    /// Threads for a tile's product: all of them if there is only one tile.
    fn threads(self) -> Threads {
        if self.n <= self.tile() { Threads::All } else { Threads::One }
    }

    /// Images in a tile.
    fn tile(self) -> usize {
        (TILE / (self.patches() * self.patch()).max(1)).clamp(1, self.n.div_ceil(4).max(1))
    }

    fn forward<T: Real>(self, x: &[T], w: &[T], fold: Option<Rows<'_, T>>) -> Vec<T> {
        if let Some(y) = winograd::forward(self, x, w, fold) {
            return y;
        }
        let (patch, o) = (self.patch(), self.o);
        let weights = (w, View::rows(o));
        if self.is_one_patch() {
            let mut y = self.forward_one_patch(x, w);
            apply(fold, &mut y);
            return y;
        }
        let mut y = vec![T::zero(); self.n * self.patches() * o];
        let tile = self.tile();
        y.par_chunks_mut(tile * self.patches() * o)
            .zip(x.par_chunks(tile * self.image()))
            .for_each(|(y, x)| {
                let m = y.len() / o;
                with_buffer(m * patch, |rows| {
                    self.rows_from_images(x, rows);
                    if narrow::suits(m, o) {
                        narrow::product((m, o, patch), y, rows, w);
                    } else {
                        let rows = (&*rows, View::rows(patch));
                        matmul((m, o, patch), y, rows, weights, false, self.threads());
                    }
                    apply(fold, y);
                });
            });
        y
    }

    /// Few results, each a long sum: the sums are split, because there are too few results to
    /// distribute over threads.
    fn forward_one_patch<T: Real>(self, x: &[T], w: &[T]) -> Vec<T> {
        let (n, patch, o) = (self.n, self.patch(), self.o);
        let step = patch.div_ceil(PARTIAL_SUMS);
        let starts: Vec<usize> = (0..patch).step_by(step).collect();
        let sum = |&start: &usize| {
            let len = step.min(patch - start);
            let mut sum = vec![T::zero(); n * o];
            let a = View { start, ..View::rows(patch) };
            let b = View { start: start * o, ..View::rows(o) };
            matmul((n, o, len), &mut sum, (x, a), (w, b), false, Threads::One);
            sum
        };
        add_all(starts.par_iter().map(sum).collect())
    }

    fn backward_input<T: Real>(self, dy: &[T], w: &[T], fold: Option<Rows<'_, T>>) -> Vec<T> {
        if let Some(dx) = winograd::backward_input(self, dy, w, fold) {
            return dx;
        }
        let (patch, o) = (self.patch(), self.o);
        let mut dx = vec![T::zero(); self.n * self.image()];
        let weights = (w, View::transposed(o));
        if self.is_one_patch() {
            matmul((self.n, patch, o), &mut dx, (dy, View::rows(o)), weights, false, Threads::All);
            apply(fold, &mut dx);
            return dx;
        }
        let tile = self.tile();
        dx.par_chunks_mut(tile * self.image())
            .zip(dy.par_chunks(tile * self.patches() * o))
            .for_each(|(dx, dy)| {
                let m = dy.len() / o;
                with_buffer(m * patch, |rows| {
                    if narrow::suits_transposed(m, o) {
                        narrow::product_transposed((m, patch, o), rows, dy, w);
                    } else {
                        let dy = (dy, View::rows(o));
                        matmul((m, patch, o), rows, dy, weights, false, self.threads());
                    }
                    self.add_rows_to_images(rows, dx);
                    apply(fold, dx);
                });
            });
        dx
    }

    fn backward_weight<T: Real>(self, x: &[T], dy: &[T]) -> Vec<T> {
        if let Some(dw) = winograd::backward_weight(self, x, dy) {
            return dw;
        }
        let (patch, o) = (self.patch(), self.o);
        if self.is_one_patch() {
            let mut dw = vec![T::zero(); patch * o];
            let (a, b) = ((x, View::transposed(patch)), (dy, View::rows(o)));
            matmul((patch, o, self.n), &mut dw, a, b, false, Threads::All);
            return dw;
        }
        let tile = self.tile();
        let piece = self.n.div_ceil(PARTIAL_SUMS).max(1);
        let sums: Vec<Vec<T>> = x
            .par_chunks(piece * self.image())
            .zip(dy.par_chunks(piece * self.patches() * o))
            .map(|(x, dy)| {
                let mut sum = vec![T::zero(); patch * o];
                let tiles = x.chunks(tile * self.image()).zip(dy.chunks(tile * self.patches() * o));
                for (index, (x, dy)) in tiles.enumerate() {
                    let m = dy.len() / o;
                    with_buffer(m * patch, |rows| {
                        self.rows_from_images(x, rows);
                        let (a, b) = ((&*rows, View::transposed(patch)), (dy, View::rows(o)));
                        matmul((patch, o, m), &mut sum, a, b, index > 0, Threads::One);
                    });
                }
                sum
            })
            .collect();
        add_all(sums)
    }

    /// Lays out each patch as a row: `rows[(n, y, x), (ky, kx, i)]`, with zeros outside the image.
    fn rows_from_images<T: Real>(self, images: &[T], rows: &mut [T]) {
        let segment = self.conv.kernel * self.i;
        self.for_each_segment(rows.len() / self.patch(), |at, source, (low, high)| {
            let row = &mut rows[at..at + segment];
            match source {
                Some(start) => {
                    row[..low].fill(T::zero());
                    row[low..high].copy_from_slice(&images[start..start + high - low]);
                    row[high..].fill(T::zero());
                }
                None => row.fill(T::zero()),
            }
        });
    }

    /// The transpose of [`Self::rows_from_images`]: adds each row to its patch.
    fn add_rows_to_images<T: Real>(self, rows: &[T], images: &mut [T]) {
        self.for_each_segment(rows.len() / self.patch(), |at, target, (low, high)| {
            if let Some(start) = target {
                let target = &mut images[start..start + high - low];
                for (p, &r) in target.iter_mut().zip(&rows[at + low..at + high]) {
                    *p += r;
                }
            }
        });
    }

    /// Visits each kernel row of each patch, which in channels-last order is one contiguous run of
    /// K·I values. Calls back with the run's position in the rows, the position in the images where
    /// its inside part starts (`None` if it is completely outside), and which part of the run is
    /// inside.
    #[inline(always)]
    fn for_each_segment(
        self,
        patches: usize,
        mut visit: impl FnMut(usize, Option<usize>, (usize, usize)),
    ) {
        let Conv2d { kernel: k, stride, padding } = self.conv;
        let (i, segment) = (self.i, k * self.i);
        let mut at = 0;
        for image in 0..patches / self.patches() {
            for oy in 0..self.oh {
                for ox in 0..self.ow {
                    let left = ox * stride;
                    let low = padding.saturating_sub(left).min(k);
                    let high = (self.w + padding).saturating_sub(left).min(k).max(low);
                    for ky in 0..k {
                        let row = (oy * stride + ky).wrapping_sub(padding);
                        let inside = row < self.h && low < high;
                        let start = inside
                            .then(|| ((image * self.h + row) * self.w + left + low - padding) * i);
                        visit(at, start, (low * i, high * i));
                        at += segment;
                    }
                }
            }
        }
    }
}

/// The sum of vectors of equal length, added first to last for any number of threads.
fn add_all<T: Real>(sums: Vec<Vec<T>>) -> Vec<T> {
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_default();
    let rest: Vec<Vec<T>> = sums.collect();
    total.par_chunks_mut(crate::activation::BLOCK).enumerate().for_each(|(block, total)| {
        let start = block * crate::activation::BLOCK;
        for sum in &rest {
            for (t, &s) in total.iter_mut().zip(&sum[start..]) {
                *t += s;
            }
        }
    });
    total
}
