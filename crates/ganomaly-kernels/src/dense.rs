//! Dense layers: `y = x · wᵀ` and its two gradients.
//!
//! The weights `[O, I]` are multiplied as they lie. As a 1×1 convolution, each use of them would
//! first copy them to another order, which took longer than the products.

use crate::Fold;
use crate::fold::{Channels, apply};
use crate::gemm::{Threads, View, matmul};
use crate::narrow::{ROWS_MAX, product_transposed};
use crate::storage::{Real, dispatch, read, tensor};
use candle_core::{Result, Tensor, bail};

/// `[N, O]` from `x`, `[N, I]`, and `w`, `[O, I]`, then the fold over O channels. A row does not
/// depend on the others.
pub(crate) fn forward(x: &Tensor, w: &Tensor, fold: Option<&Fold<'_>>) -> Result<Tensor> {
    let ((n, i), (o, inputs)) = (x.dims2()?, w.dims2()?);
    if i != inputs {
        bail!("{i} inputs of a dense layer with weights for {inputs}");
    }
    dispatch!(x, T => {
        let fold = fold.map(|fold| fold.convert::<T>(o)).transpose()?;
        let y = read(x, |x: &[T]| read(w, |w: &[T]| {
            let mut y = vec![T::zero(); n * o];
            for (x, y) in x.chunks(ROWS_MAX * i).zip(y.chunks_mut(ROWS_MAX * o)) {
                product_transposed((x.len() / i, o, i), y, x, w);
            }
            apply(fold.as_ref().map(Channels::rows), &mut y);
            y
        }))??;
        tensor(y, (n, o))
    })
}

/// The gradient of `x`, `[N, I]`, from that of `y`, `[N, O]`.
pub(crate) fn backward_input(dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    let ((n, o), (_, i)) = (dy.dims2()?, w.dims2()?);
    dispatch!(dy, T => multiply::<T>((n, i, o), (dy, View::rows(o)), (w, View::rows(i))))
}

/// The gradient of `w`, `[O, I]`, from `x` and the gradient of `y`.
pub(crate) fn backward_weight(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let ((n, i), (_, o)) = (x.dims2()?, dy.dims2()?);
    dispatch!(dy, T => multiply::<T>((o, i, n), (dy, View::transposed(o)), (x, View::rows(i))))
}

/// A product m × k by k × n.
fn multiply<T: Real>(
    (m, n, k): (usize, usize, usize),
    (a, a_view): (&Tensor, View),
    (b, b_view): (&Tensor, View),
) -> Result<Tensor> {
    let mut c = vec![T::zero(); m * n];
    read(a, |a: &[T]| {
        read(b, |b: &[T]| {
            matmul((m, n, k), &mut c, (a, a_view), (b, b_view), false, Threads::All);
        })
    })??;
    tensor(c, (m, n))
}
