//! From tensors to slices and back: the only place that knows how candle stores numbers on the CPU.

use crate::simd::{Instructions, Vector};
use candle_core::{
    CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Neg, Range};
use std::sync::{Mutex, PoisonError};

/// A float type that the kernels run in.
pub(crate) trait Real: WithDType + Neg<Output = Self> + Default {
    /// Its register in an instruction set.
    type Register<I: Instructions>: Vector<Self>;
    fn sqrt(self) -> Self;
    /// Buffers that nobody uses now.
    fn spare_buffers() -> &'static Mutex<Vec<Vec<Self>>>;
    /// Mutable access to the numbers, which candle offers by enum variant only.
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

/// Lends a buffer with unspecified contents, one that an earlier call has used where there is one: a training step
/// asks for the same sizes again and again, and fresh memory costs more than the arithmetic on it.
pub(crate) fn with_buffer<T: Real, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let spare = || T::spare_buffers().lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = {
        let mut spare = spare();
        // The smallest that suffices, else the largest, which then grows.
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

/// A vector of `len` numbers that `fill` writes, with no pass that zeroes them first.
///
/// # Safety
/// `fill` must write every number.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled<T: Real>(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    fill(&mut numbers.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is there, and `fill` has written all of it, as the caller promises.
    unsafe { numbers.set_len(len) };
    numbers
}

/// Numbers that several tasks write at once, each its own. Whoever makes one promises that they do.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    numbers: PhantomData<&'a mut [T]>,
}

// SAFETY: no two tasks are at the same place, by the promise made to `new`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}

#[allow(unsafe_code)]
impl<'a, T: Real> Shared<'a, T> {
    /// # Safety
    /// No place is used by two tasks at once, none is used while a [`Self::part`] that holds it is, and none is added to before it
    /// has been written.
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
        // SAFETY: the places exist, and nobody else is there.
        unsafe { numbers.store_at(self.start.add(at)) }
    }

    #[inline(always)]
    pub fn add<V: Vector<T>>(self, numbers: V, at: usize) {
        assert!(V::LANES <= self.len && at <= self.len - V::LANES);
        // SAFETY: as above, and they have been written.
        unsafe { numbers.plus(V::load_at(self.start.add(at))).store_at(self.start.add(at)) }
    }

    /// Some of the numbers.
    pub fn part(self, places: Range<usize>) -> &'a mut [MaybeUninit<T>] {
        assert!(places.start <= places.end && places.end <= self.len);
        // SAFETY: the places exist, and nobody else is there.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(places.start).cast(), places.len()) }
    }
}

/// Runs the body with `$t` bound to the Rust type of the tensor's numbers.
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

/// Lends the numbers of a contiguous CPU tensor.
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

/// Wraps numbers as a CPU tensor; nothing is copied.
pub(crate) fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Lends the numbers of a contiguous CPU tensor for change in place.
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

/// A closure as a candle operation: the way in which candle lends storage for change.
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
