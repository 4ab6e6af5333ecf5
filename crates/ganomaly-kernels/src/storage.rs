//! From tensors to slices and back: the only module that knows how candle stores data on the CPU.

use crate::simd::{Instructions, Vector};
use candle_core::{
    CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Neg, Range};
use std::sync::{Mutex, PoisonError};

/// A float type that the kernels support.
pub(crate) trait Real: WithDType + Neg<Output = Self> + Default {
    /// Its register type in an instruction set.
    type Register<I: Instructions>: Vector<Self>;
    fn sqrt(self) -> Self;
    /// Buffers that are not in use.
    fn spare_buffers() -> &'static Mutex<Vec<Vec<Self>>>;
    /// Mutable access to the data, which candle offers by enum variant only.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! real {
    ($t:ty, $variant:ident) => {
        impl Real for $t {
            type Register<I: Instructions> = I::$variant;
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn spare_buffers() -> &'static Mutex<Vec<Vec<Self>>> {
                static SPARE: Mutex<Vec<Vec<$t>>> = Mutex::new(Vec::new());
                &SPARE
            }
            fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(data) => Ok(data),
                    _ => bail!("expected {} numbers", stringify!($t)),
                }
            }
        }
    };
}
real!(f32, F32);
real!(f64, F64);

/// Lends a buffer with unspecified contents, reusing an earlier one if possible: a training step
/// asks for the same sizes repeatedly, and fresh memory costs more than the arithmetic on it.
pub(crate) fn with_buffer<T: Real, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let spare = || T::spare_buffers().lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = {
        let mut spare = spare();
        // The smallest that is large enough, else the largest, which then grows.
        let fits = |b: &&(usize, usize)| b.1 >= len;
        let sizes: Vec<(usize, usize)> = spare.iter().map(Vec::len).enumerate().collect();
        let best = sizes.iter().filter(fits).min_by_key(|b| b.1);
        let best = best.or_else(|| sizes.iter().max_by_key(|b| b.1)).map(|b| b.0);
        best.map_or_else(Vec::new, |at| spare.swap_remove(at))
    };
    if buffer.len() < len {
        buffer.clear();
        buffer.resize(len, T::zero());
    }
    let result = f(&mut buffer[..len]);
    spare().push(buffer);
    result
}

/// A vector of `len` values that `fill` writes, without zeroing them first.
///
/// # Safety
/// `fill` must write every value.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled<T: Real>(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    fill(&mut numbers.spare_capacity_mut()[..len]);
    // SAFETY: the capacity suffices, and `fill` has written all of it, as the caller promises.
    unsafe { numbers.set_len(len) };
    numbers
}

/// Data that several tasks write at once, each its own part, as the creator promises.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    numbers: PhantomData<&'a mut [T]>,
}

// SAFETY: no two tasks use the same index, by the promise made to `new`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}

#[allow(unsafe_code)]
impl<'a, T: Real> Shared<'a, T> {
    /// # Safety
    /// No index is used by two tasks at once, or while a [`Self::part`] that holds it is in use,
    /// and nothing is added to an index before it has been written.
    pub unsafe fn new(numbers: &'a mut [MaybeUninit<T>]) -> Self {
        Self { start: numbers.as_mut_ptr().cast(), len: numbers.len(), numbers: PhantomData }
    }

    /// # Safety
    /// As for [`Self::new`].
    pub unsafe fn from_slice(numbers: &'a mut [T]) -> Self {
        Self { start: numbers.as_mut_ptr(), len: numbers.len(), numbers: PhantomData }
    }

    #[inline(always)]
    pub fn write<V: Vector<T>>(self, numbers: V, at: usize) {
        assert!(V::LANES <= self.len && at <= self.len - V::LANES);
        // SAFETY: the range is in bounds, and no other task uses it.
        unsafe { numbers.store_at(self.start.add(at)) }
    }

    #[inline(always)]
    pub fn add<V: Vector<T>>(self, numbers: V, at: usize) {
        assert!(V::LANES <= self.len && at <= self.len - V::LANES);
        // SAFETY: as above, and the values have been written.
        unsafe { numbers.plus(V::load_at(self.start.add(at))).store_at(self.start.add(at)) }
    }

    /// A part of the data.
    pub fn part(self, places: Range<usize>) -> &'a mut [MaybeUninit<T>] {
        assert!(places.start <= places.end && places.end <= self.len);
        // SAFETY: the range is in bounds, and no other task uses it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(places.start).cast(), places.len()) }
    }
}

/// Runs the body with `$t` bound to the Rust type of the tensor's elements.
macro_rules! dispatch {
    ($tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                #[allow(unused_imports)]
                use candle_core::WithDType as _;
                #[allow(unused_imports)]
                use num_traits::{One as _, Zero as _};
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                #[allow(unused_imports)]
                use candle_core::WithDType as _;
                #[allow(unused_imports)]
                use num_traits::{One as _, Zero as _};
                type $t = f64;
                $body
            }
            other => candle_core::bail!("{other:?} tensors are not supported: use f32 or f64"),
        }
    };
}
pub(crate) use dispatch;

/// Lends the data of a contiguous CPU tensor.
pub(crate) fn read<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("this kernel runs on the CPU only, but the tensor is on {:?}", tensor.device());
    };
    Ok(f(contiguous(T::cpu_storage_as_slice(storage)?, layout)?))
}

fn contiguous<'a, T>(data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => bail!("the tensor of shape {:?} is not contiguous", layout.shape()),
    }
}

/// Wraps a vector as a CPU tensor without copying.
pub(crate) fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Lends the data of a contiguous CPU tensor for modification in place.
pub(crate) fn update<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    let op = Update { f: Cell::new(Some(f)), result: Cell::new(None), element: PhantomData };
    tensor.inplace_op1(&op)?;
    match op.result.take() {
        Some(result) => Ok(result),
        None => {
            bail!("this kernel runs on the CPU only, but the tensor is on {:?}", tensor.device())
        }
    }
}

/// A closure as a candle operation, which is how candle lends storage mutably.
struct Update<T, F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<R>>,
    element: PhantomData<T>,
}

impl<T: Real, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Update<T, F, R> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("the tensor of shape {:?} is not contiguous", layout.shape());
        };
        if let Some(f) = self.f.take() {
            self.result.set(Some(f(&mut T::slice_mut(storage)?[start..end])));
        }
        Ok(())
    }
}
