//! From tensors to slices and back: the only place that knows how candle stores numbers on the CPU.

use candle_core::{
    CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Neg;

/// A float type that the kernels run in. The scratch buffer is one of each thread's own and is
/// reused from call to call, so that the inner loops never ask the allocator for memory.
pub(crate) trait Real: WithDType + Neg<Output = Self> + Default {
    fn sqrt(self) -> Self;
    /// Lends the thread's scratch buffer, `len` long, with unspecified contents.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
    /// Mutable access to the numbers, which candle offers by enum variant only.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

macro_rules! real {
    ($t:ty, $variant:ident) => {
        impl Real for $t {
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static SCRATCH: RefCell<Vec<$t>> = const { RefCell::new(Vec::new()) });
                SCRATCH.with_borrow_mut(|scratch| {
                    if scratch.len() < len {
                        scratch.resize(len, 0.0);
                    }
                    f(&mut scratch[..len])
                })
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
