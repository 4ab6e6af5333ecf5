//! The kernels as nodes of candle's graph.
//!
//! Candle's backward pass adds every gradient to fresh zeros, and turns the gradient of a permuted
//! view. So that neither happens at every layer, all that candle sees between two layers is one
//! number, the layer's handle. The layer's gradients wait beside it in a [`Slot`], and what candle
//! adds up for the handle says which of them belong to this backward pass: gradient i is 2ⁱ.

use super::suits;
use crate::layout::reversed;
use crate::loss::{product_of, sum_of};
use crate::storage::{dispatch, read};
use candle_core::{
    CpuStorage, CustomOp3, Device, InplaceOp1, Layout, Result, Shape, Tensor, TensorId, bail,
};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// A layer's input.
#[derive(Clone)]
pub(super) struct Value {
    /// `[N, H, W, C]`, contiguous, outside the graph.
    pub numbers: Tensor,
    /// The tensor in the graph that gets the gradient: a handle, or the numbers themselves.
    pub source: Tensor,
    /// The handle's.
    slot: Option<Arc<Slot>>,
}

impl Value {
    /// `x`, `[N, C, H, W]`, copied only if it is not the output of a layer.
    pub fn of(x: &Tensor) -> Result<Self> {
        let source = channels_last(x)?;
        let numbers = source.detach();
        // What a tensor was made from comes next among its nodes.
        let handle = source.sorted_nodes().get(1).map(|&handle| handle.clone());
        let slot = handle.as_ref().and_then(|handle| lock(&SLOTS).get(&handle.id())?.upgrade());
        match (handle, slot) {
            (Some(source), Some(slot)) => Ok(Self { numbers, source, slot: Some(slot) }),
            _ => Ok(Self { numbers, source, slot: None }),
        }
    }

    /// What candle should add to the source's gradient for this gradient of the numbers.
    pub fn receive(&self, gradient: Tensor) -> Result<Tensor> {
        match &self.slot {
            Some(slot) => slot.put(gradient),
            None => Ok(gradient),
        }
    }
}

/// `[N, C, H, W]` to `[N, H, W, C]`, contiguous and differentiable. Copies nothing if `x` is the
/// output of one of these layers.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    let last = x.permute((0, 2, 3, 1))?;
    if !suits(x, []) {
        return last.contiguous();
    }
    if !last.is_contiguous() {
        let x = x.contiguous()?;
        let (n, c, h, w) = x.dims4()?;
        let y = reversed(&x, [n, c, 1, h * w], (n, h, w, c))?;
        return raw([&x; 3], y, move |_, dy| {
            Ok([Some(reversed(dy, [n, h * w, 1, c], (n, c, h, w))?), None, None])
        });
    }
    match x.sorted_nodes().get(1) {
        Some(source) if same_numbers(source, &last)? => Ok((*source).clone()),
        _ => Ok(last),
    }
}

/// `[N, C, H, W]`, contiguous: as [`Tensor::contiguous`], but faster for the output of one of these
/// layers.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    if !suits(x, []) || x.rank() != 4 || x.is_contiguous() {
        return x.contiguous();
    }
    let x = Value::of(x)?;
    let (n, h, w, c) = x.numbers.dims4()?;
    let y = reversed(&x.numbers, [n, h * w, 1, c], (n, c, h, w))?;
    let from = x.source.clone();
    raw([&from; 3], y, move |_, dy| {
        let dx = reversed(dy, [n, c, 1, h * w], (n, h, w, c))?;
        Ok([Some(x.receive(dx)?), None, None])
    })
}

/// `x` times a mask that is constant, `[N, C, H, W]` both.
pub fn masked(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if !suits(x, [mask]) || x.rank() != 4 || x.shape() != mask.shape() {
        return x * mask.detach();
    }
    let (x, mask) = (Value::of(x)?, channels_last(&mask.detach())?);
    let y = product_of(&x.numbers, &mask)?;
    node(&x, [None; 2], y, move |_, dy| Ok([Some(product_of(dy, &mask)?), None, None]))
}

/// Whether two tensors are the same view of the same memory.
fn same_numbers(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.shape() != b.shape() || a.dtype() != b.dtype() || !a.is_contiguous() {
        return Ok(false);
    }
    dispatch!(a, T => read(a, |a: &[T]| read(b, |b: &[T]| std::ptr::eq(a, b)))?)
}

/// Gradients of a node's three arguments, where there are any.
pub(super) type Gradients = [Option<Tensor>; 3];

/// Makes `y`, `[N, H, W, C]`, fresh from a kernel, a node of candle's graph that depends on `x` and
/// two other tensors, and returns it as `[N, C, H, W]`. `backward` takes y and its gradient.
pub(super) fn node<F>(
    x: &Value,
    others: [Option<&Tensor>; 2],
    y: Tensor,
    backward: F,
) -> Result<Tensor>
where
    F: Fn(&Tensor, &Tensor) -> Result<Gradients> + Send + Sync + 'static,
{
    let [b, c] = others.map(|other| other.unwrap_or(&x.source));
    if [&x.source, b, c].iter().all(|argument| !argument.track_op()) {
        return y.permute((0, 3, 1, 2));
    }
    let slot = Arc::new(Slot::default());
    let handle = raw([&x.source, b, c], Tensor::new(&[0f64], &Device::Cpu)?, {
        let (own, x) = (slot.clone(), x.clone());
        move |_, sum| {
            let (Some(y), Some(dy)) = (own.y.get(), own.take(sum)?) else {
                bail!("a layer's gradient is missing")
            };
            let [dx, db, dc] = backward(y, &dy)?;
            Ok([dx.map(|dx| x.receive(dx)).transpose()?, db, dc])
        }
    })?;
    slot.handle.get_or_init(|| handle.id());
    lock(&SLOTS).insert(handle.id(), Arc::downgrade(&slot));
    let to = slot.clone();
    let y = raw([&handle; 3], y, move |_, dy| Ok([Some(to.put(dy.clone())?), None, None]))?;
    slot.y.get_or_init(|| y.detach());
    y.permute((0, 3, 1, 2))
}

/// `[N, A, H, W]` and `[N, B, H, W]` to `[N, A + B, H, W]`, as [`Tensor::cat`] along the channels.
pub fn cat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !suits(a, [b]) || a.rank() != 4 || b.rank() != 4 {
        return Tensor::cat(&[a, b], 1);
    }
    let (a, b) = (Value::of(a)?, Value::of(b)?);
    let y = Tensor::cat(&[&a.numbers, &b.numbers], 3)?;
    let (a_channels, b_channels) = (a.numbers.dim(3)?, b.numbers.dim(3)?);
    let (wants_a, second) = (a.source.track_op(), b.clone());
    node(&a, [Some(&b.source), None], y, move |_, dy| {
        let part = |from, channels| dy.narrow(3, from, channels)?.contiguous();
        let da = wants_a.then(|| part(0, a_channels)).transpose()?;
        let wanted = second.source.track_op().then(|| part(a_channels, b_channels));
        let db = wanted.transpose()?.map(|db| second.receive(db)).transpose()?;
        Ok([da, db, None])
    })
}

/// The slots of all handles.
static SLOTS: LazyLock<Mutex<HashMap<TensorId, Weak<Slot>>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer's output and the gradients that wait for it.
#[derive(Default)]
struct Slot {
    handle: OnceLock<TensorId>,
    y: OnceLock<Tensor>,
    waiting: Mutex<Vec<Option<Tensor>>>,
}

impl Slot {
    /// Adds a gradient; returns its number.
    fn put(&self, gradient: Tensor) -> Result<Tensor> {
        let mut waiting = lock(&self.waiting);
        let place = waiting.iter().position(Option::is_none).unwrap_or(waiting.len());
        // A float64 holds 53 bits.
        if place >= 53 {
            bail!("more than 53 gradients of one layer's output");
        }
        if place == waiting.len() {
            waiting.push(None);
        }
        waiting[place] = Some(gradient);
        Tensor::new(&[(1u64 << place) as f64], &Device::Cpu)
    }

    /// The sum of the gradients with these numbers.
    fn take(&self, numbers: &Tensor) -> Result<Option<Tensor>> {
        let numbers = numbers.to_vec1::<f64>()?.iter().sum::<f64>() as u64;
        let gradients: Vec<Tensor> = lock(&self.waiting)
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| numbers >> place & 1 == 1)
            .filter_map(|(_, gradient)| gradient.take())
            .collect();
        let mut gradients = gradients.into_iter();
        let first = gradients.next();
        first.map(|first| gradients.try_fold(first, |sum, next| sum_of(&sum, &next))).transpose()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.get() {
            lock(&SLOTS).remove(handle);
        }
    }
}

/// Makes `y`, fresh from a kernel, a node of candle's graph. An argument may be given repeatedly;
/// only the first of its gradients is then set.
pub(super) fn raw<F>([a, b, c]: [&Tensor; 3], y: Tensor, backward: F) -> Result<Tensor>
where
    F: Fn(&Tensor, &Tensor) -> Result<Gradients> + Send + Sync + 'static,
{
    if !(a.track_op() || b.track_op() || c.track_op()) {
        return Ok(y);
    }
    let shape = y.shape().clone();
    let taken = Take(Cell::new(None));
    y.inplace_op1(&taken)?;
    let result = Mutex::new(taken.0.take().map(|storage| (storage, shape)));
    a.apply_op3(b, c, Node { result, backward })
}

struct Node<F> {
    result: Mutex<Option<(CpuStorage, Shape)>>,
    backward: F,
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Gradients>> CustomOp3 for Node<F> {
    fn name(&self) -> &'static str {
        "ganomaly-kernels"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match lock(&self.result).take() {
            Some(result) => Ok(result),
            None => bail!("a kernel's result can be used once only"),
        }
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.backward)(y, &dy.contiguous()?)?.into())
    }
}

/// Takes a tensor's memory, which candle lends to in-place operations only.
struct Take(Cell<Option<CpuStorage>>);

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        self.0.set(Some(std::mem::replace(storage, CpuStorage::U8(Vec::new()))));
        Ok(())
    }
}
