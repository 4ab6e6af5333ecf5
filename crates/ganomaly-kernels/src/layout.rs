//! Conversions between the kernels' layouts and those of candle and PyTorch.

use candle_core::{Result, Tensor};

/// `[N, C, H, W]` to `[N, H, W, C]`, contiguous. Copies nothing if there is one channel.
pub fn nhwc_from_nchw(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if c == 1 {
        x.contiguous()?.reshape((n, h, w, 1))
    } else {
        x.permute((0, 2, 3, 1))?.contiguous()
    }
}

/// `[N, H, W, C]` to `[N, C, H, W]`, contiguous. Copies nothing if there is one channel.
pub fn nchw_from_nhwc(x: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if c == 1 {
        x.contiguous()?.reshape((n, 1, h, w))
    } else {
        x.permute((0, 3, 1, 2))?.contiguous()
    }
}

/// A convolution's weight from PyTorch's `[O, I, K, K]` to `[K, K, I, O]`. A transposed
/// convolution's `[in, out, K, K]` is the weight of the convolution whose input gradient it is, so
/// the same conversion works for both.
pub fn kernel_from_oikk(w: &Tensor) -> Result<Tensor> {
    w.permute((2, 3, 1, 0))?.contiguous()
}

/// The inverse of [`kernel_from_oikk`].
pub fn oikk_from_kernel(w: &Tensor) -> Result<Tensor> {
    w.permute((3, 2, 0, 1))?.contiguous()
}
