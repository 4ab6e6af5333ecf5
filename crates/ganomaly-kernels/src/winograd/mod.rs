//! Winograd's minimal filtering for 4×4 convolutions of stride 2, of which these networks are made.
//!
//! The even and odd rows and columns of the padded input are its four phases, and the same holds
//! for the kernel: the convolution is the sum over phases of 2×2 convolutions of stride 1 (kernel
//! row 2a + p meets input row 2(y + a) + p). An M×M tile of such an output needs (M + 1)² products
//! per channel pair instead of 4·M²: 0.56 of the arithmetic for M = 2, 0.39 for M = 4. The phases
//! are summed in the transformed domain, as 4·I channels.
//!
//! With X̃ = Bᵀ x B, W̃ = G w Gᵀ and ỹ = Σ X̃ W̃, a tile is y = Aᵀ ỹ A (Lavin & Gray, Fast
//! Algorithms for Convolutional Neural Networks, 2015). Both gradients are the transpose of this,
//! with the same three matrices:
//! dỹ = A dy Aᵀ, dX̃ = dỹ W̃ᵀ, dx = B dX̃ Bᵀ, dW̃ = X̃ᵀ dỹ, dw = Gᵀ dW̃ G.

mod filter;
mod passes;
mod tiles;
mod weights;

use crate::conv::Shape;
use crate::cpu::for_level;
use crate::rows::Rows;
use crate::simd::LANES;
use crate::storage::Real;
use filter::{F2, F4, Filter};
use std::marker::PhantomData;

/// Tiles that a block of images should have: enough rows for a matrix product, few enough for the
/// cache.
const ROWS: usize = 32;
/// The cost of transforming the weights, in rows of the products, measured on the paper's layers.
const WEIGHT_ROWS: usize = 40;

/// How to compute a convolution of this shape, chosen by arithmetic cost alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    Direct,
    Tiles2,
    Tiles4,
}

impl Method {
    pub fn of(s: &Shape) -> Self {
        let c = s.conv;
        let fits = (c.kernel, c.stride) == (4, 2)
            && s.i.is_multiple_of(LANES)
            && s.o.is_multiple_of(LANES);
        if !fits || s.n == 0 {
            return Self::Direct;
        }
        let cost = |m: usize| {
            let tiles = s.n * s.oh.div_ceil(m) * s.ow.div_ceil(m);
            (m + 1) * (m + 1) * (tiles + WEIGHT_ROWS)
        };
        let direct = 4 * s.n * s.oh * s.ow;
        [(direct, Self::Direct), (cost(2), Self::Tiles2), (cost(4), Self::Tiles4)]
            .into_iter()
            .min_by_key(|(cost, _)| *cost)
            .map_or(Self::Direct, |(_, method)| method)
    }

    /// Multiply-adds of the products.
    pub fn multiply_adds(self, s: &Shape) -> usize {
        let of_tiles = |m: usize| {
            let tiles = s.n * s.oh.div_ceil(m) * s.ow.div_ceil(m);
            4 * (m + 1) * (m + 1) * tiles * s.i * s.o
        };
        match self {
            Self::Direct => s.n * s.oh * s.ow * s.conv.kernel * s.conv.kernel * s.i * s.o,
            Self::Tiles2 => of_tiles(2),
            Self::Tiles4 => of_tiles(4),
        }
    }
}

/// Wraps methods of [`Plan`] as kernels.
macro_rules! kernels {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*);)*) => {$(
        pub(super) struct $name<'a, T, F, const M: usize, const S: usize> {
            pub plan: &'a Plan<F, M, S>,
            $(pub $arg: $type),*
        }

        impl<T: Real, F: Filter<M, S>, const M: usize, const S: usize> crate::simd::Kernel
            for $name<'_, T, F, M, S>
        {
            type Output = ();
            #[inline(always)]
            fn run<I: Instructions>(self) {
                self.plan.$method::<I, T>($(self.$arg),*);
            }
        }
    )*};
}
use kernels;

/// The forward pass, if a method other than the direct one is chosen.
pub(crate) fn forward<T: Real>(
    s: Shape,
    x: &[T],
    w: &[T],
    fold: Option<Rows<'_, T>>,
) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).pass::<I, T>(Way::Forward, x, w, fold)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).pass::<I, T>(Way::Forward, x, w, fold)),
    })
}

/// The gradient of the input, if a method other than the direct one is chosen.
pub(crate) fn backward_input<T: Real>(
    s: Shape,
    dy: &[T],
    w: &[T],
    fold: Option<Rows<'_, T>>,
) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).pass::<I, T>(Way::Backward, dy, w, fold)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).pass::<I, T>(Way::Backward, dy, w, fold)),
    })
}

/// The gradient of the weight, if a method other than the direct one is chosen.
pub(crate) fn backward_weight<T: Real>(s: Shape, x: &[T], dy: &[T]) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).backward_weight::<I, T>(x, dy)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).backward_weight::<I, T>(x, dy)),
    })
}

/// One convolution divided into tiles.
struct Plan<F, const M: usize, const S: usize> {
    s: Shape,
    filter: PhantomData<F>,
    /// Tiles down and across an image.
    tiles: (usize, usize),
    /// Images in a block.
    block: usize,
}

/// The direction of the products.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// From the input to the output: from 4·I transformed channels to O.
    Forward,
    /// From the output's gradient to the input's: from O to 4·I.
    Backward,
}

/// One end of a pass.
#[derive(Clone, Copy)]
struct End {
    /// Elements of an image.
    image: usize,
    /// Elements of a tile at each point.
    columns: usize,
}

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    fn new(s: Shape) -> Self {
        let tiles = (s.oh.div_ceil(M), s.ow.div_ceil(M));
        let block = ROWS.div_ceil(tiles.0 * tiles.1).min(s.n.div_ceil(2)).max(1);
        Self { s, filter: PhantomData, tiles, block }
    }

    /// Tiles in a number of images.
    fn rows(&self, images: usize) -> usize {
        images * self.tiles.0 * self.tiles.1
    }

    /// The input's and the output's end.
    fn input_and_output(&self) -> (End, End) {
        let Shape { i, o, .. } = self.s;
        let input = End { image: self.s.image(), columns: 4 * i };
        (input, End { image: self.s.patches() * o, columns: o })
    }

    /// Where a pass starts and where it ends.
    fn ends(&self, way: Way) -> (End, End) {
        let (input, output) = self.input_and_output();
        if way == Way::Forward { (input, output) } else { (output, input) }
    }
}
