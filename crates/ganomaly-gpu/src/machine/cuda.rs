//! A program on a GPU: one stream, permanent buffers, and each list of launches recorded once as a
//! CUDA graph and replayed.

#![allow(unsafe_code)]

use crate::KERNELS;
use crate::error::{Error, Result};
use crate::machine::launch::{Args, Buffer, Launch, THREADS};
use crate::machine::once::Once;
use crate::machine::precision::Precision;
use crate::machine::{Machine, Peak};
use cudarc::driver::sys::{
    CUdevice_attribute, CUevent_flags, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode,
};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr,
    DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};
use std::collections::HashMap;
use std::sync::Arc;

// SAFETY: plain numbers in C layout, the same as in the kernels.
unsafe impl DeviceRepr for Args {}

/// The CUDA version of the oldest supported driver, major and minor. It introduced
/// `cuEventElapsedTime_v2`; cudarc looks up a driver function when it is first called, and panics
/// if it is missing.
const OLDEST_DRIVER: (i32, i32) = (12, 8);

/// Compiles the kernels to PTX for a compute capability, e.g. (9, 0), once per process. Needs the
/// run-time compiler's library, but no GPU.
pub fn compile(capability: (i32, i32), precision: Precision) -> Result<Ptx> {
    static ALL: Once<((i32, i32), Precision), Ptx> = Once::new();
    ALL.get((capability, precision), || compile_now(capability, precision))
}

fn compile_now((major, minor): (i32, i32), precision: Precision) -> Result<Ptx> {
    if precision != Precision::F32 && major < 8 {
        return Err(Error::Precision { precision, capability: format!("{major}.{minor}") });
    }
    check_compiler()?;
    let architecture = format!("compute_{major}{minor}");
    let options = CompileOptions {
        options: [vec![format!("--gpu-architecture={architecture}")], precision.defines().to_vec()]
            .concat(),
        name: Some("kernels.cu".into()),
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(KERNELS, options).map_err(|e| {
        let log = match &e {
            CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        };
        Error::Compile { architecture, log }
    })
}

/// Returns an error if the run-time compiler is missing.
fn check_compiler() -> Result<()> {
    // SAFETY: only opens the compiler's library.
    match unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        true => Ok(()),
        false => Err(Error::NoCompiler("libnvrtc.so")),
    }
}

/// The number of GPUs that the driver knows, 0 if it has none. An error if there is no driver, or
/// it is too old. Everything that calls the driver checks this first.
pub fn gpus() -> Result<usize> {
    // SAFETY: only opens the driver's library.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(Error::NoDriver("libcuda.so"));
    }
    let driver = driver_version()?;
    if driver < OLDEST_DRIVER {
        return Err(Error::OldDriver { driver, needed: OLDEST_DRIVER });
    }
    match CudaContext::device_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
        Err(e) => Err(failed("counting GPUs")(e)),
    }
}

/// Opens a GPU, or returns why that is impossible.
fn open(ordinal: usize) -> Result<Arc<CudaContext>> {
    let there = gpus()?;
    if ordinal >= there {
        return Err(Error::NoGpu { wanted: ordinal, there });
    }
    CudaContext::new(ordinal).map_err(failed("opening the GPU"))
}

/// A GPU's memory in bytes, free and total.
fn memory(context: &CudaContext) -> Result<(usize, usize)> {
    let ask = failed("asking for free memory");
    // Buffers are freed in stream order, so their memory becomes free only when the GPU gets there.
    context.synchronize().map_err(&ask)?;
    context.mem_get_info().map_err(&ask)
}

/// Information about a GPU before it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: (i32, i32),
    /// Memory in MiB, free and total.
    pub memory_mib: (usize, usize),
    /// The newest CUDA version that its driver supports, major and minor.
    pub driver: (i32, i32),
}

/// Describes a GPU.
pub fn describe(ordinal: usize) -> Result<Description> {
    let context = open(ordinal)?;
    let ask = failed("describing the GPU");
    let (free, all) = memory(&context)?;
    Ok(Description {
        name: context.name().map_err(&ask)?,
        capability: context.compute_capability().map_err(&ask)?,
        memory_mib: (free >> 20, all >> 20),
        driver: driver_version()?,
    })
}

/// The newest CUDA version that the driver supports.
fn driver_version() -> Result<(i32, i32)> {
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(failed("asking for the driver's version"))?;
    Ok((version / 1000, version % 1000 / 10))
}

/// The CUDA version of the run-time compiler.
fn compiler_version() -> Result<(i32, i32)> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    let asked = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    asked.result().map_err(|e| Error::Driver {
        what: "asking for the compiler's version",
        message: format!("{e:?}"),
    })?;
    Ok((major, minor))
}

fn failed(what: &'static str) -> impl Fn(DriverError) -> Error {
    move |e| match e {
        DriverError(CUresult::CUDA_ERROR_STUB_LIBRARY) => {
            Error::NoDriver("libcuda.so, other than the stub of a CUDA toolkit,")
        }
        e => Error::Driver { what, message: format!("{e:?}") },
    }
}

/// A program's buffers and kernels on a GPU.
pub struct Gpu {
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: HashMap<&'static str, CudaFunction>,
    buffers: Vec<CudaSlice<f32>>,
    addresses: Vec<u64>,
}

/// Launches recorded as one graph.
pub struct Recording(CudaGraph);

impl Gpu {
    /// Compiles the kernels for GPU `ordinal`, and allocates buffers of these sizes there, in
    /// four-byte numbers. Every buffer starts as zeros.
    pub fn new(ordinal: usize, buffers: &[usize], precision: Precision) -> Result<Self> {
        let context = open(ordinal)?;
        // SAFETY: all work is on one stream, in order.
        unsafe { context.disable_event_tracking() };
        let capability =
            context.compute_capability().map_err(failed("asking for its capability"))?;
        check_compiler()?;
        let (compiler, driver) = (compiler_version()?, driver_version()?);
        if compiler > driver {
            return Err(Error::Version { compiler, driver });
        }
        let kernels = compile(capability, precision)?;
        let module = context.load_module(kernels).map_err(failed("loading the kernels"))?;
        let stream = context.new_stream().map_err(failed("making a stream"))?;
        const MIB: usize = 1 << 20;
        let needed = buffers.iter().sum::<usize>() * size_of::<f32>() / MIB;
        let (free, _) = memory(&context)?;
        if needed > free / MIB {
            return Err(Error::Memory { free: free / MIB, needed });
        }
        // Other processes may have taken memory since, and the free memory may be fragmented.
        let allocate = |error: DriverError| match error {
            DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
                Error::Memory { free: free / MIB, needed }
            }
            other => failed("allocating")(other),
        };
        let zeros = |&len: &usize| stream.alloc_zeros::<f32>(len.max(1)).map_err(allocate);
        let buffers = buffers.iter().map(zeros).collect::<Result<Vec<_>>>()?;
        let addresses = buffers.iter().map(|b| b.device_ptr(&stream).0).collect();
        Ok(Self { stream, module, functions: HashMap::new(), buffers, addresses })
    }

    /// The GPU's name, and its limits as it reports them.
    pub fn limits(&self, precision: Precision) -> Result<Peak> {
        let context = self.stream.context();
        let ask = |what| {
            let number = context.attribute(what).map_err(failed("asking for its limits"))?;
            Ok::<_, Error>(f64::from(number))
        };
        use CUdevice_attribute as Ask;
        let capability = context.compute_capability().map_err(failed("asking for its limits"))?;
        let clock = 1e3 * ask(Ask::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
        let processors = ask(Ask::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        // Multiply-adds per clock and multiprocessor (CUDA C++ Programming Guide, arithmetic
        // instructions; NVIDIA H100 white paper). Other generations of tensor cores have other
        // rates.
        let per_clock = match (precision, capability) {
            (Precision::F32, (7, _) | (8, 0)) => Some(64.0),
            (Precision::F32, _) => Some(128.0),
            (Precision::Tf32, (9, _)) => Some(1024.0),
            (Precision::Bf16, (9, _)) => Some(2048.0),
            _ => None,
        };
        let memory_clock = 1e3 * ask(Ask::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?;
        let bus = ask(Ask::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)? / 8.0;
        Ok(Peak {
            name: context.name().map_err(failed("asking for its name"))?,
            flops_per_s: per_clock.map(|n| 2.0 * n * processors * clock),
            // Two transfers per clock.
            bytes_per_s: 2.0 * memory_clock * bus,
        })
    }

    /// A kernel, loaded on first use.
    fn function(&mut self, name: &'static str) -> Result<CudaFunction> {
        if let Some(function) = self.functions.get(name) {
            return Ok(function.clone());
        }
        let function = self.module.load_function(name).map_err(failed("finding a kernel"))?;
        // The driver loads a function's code when it is first needed, which must not happen while
        // launches are recorded. Querying its registers makes the driver load it now.
        function.num_regs().map_err(failed("loading a kernel"))?;
        self.functions.insert(name, function.clone());
        Ok(function)
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let args = launch.args(|b| self.addresses[b.0]);
        let [x, y, z] = launch.grid.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        let function = self.function(launch.kernel)?;
        let mut builder = self.stream.launch_builder(&function);
        builder.arg(&args);
        // SAFETY: the program's sizes bound what the kernels access, as the tests on the host show;
        // the buffers live as long as the `Gpu`.
        unsafe { builder.launch(config) }.map_err(failed("launching"))?;
        Ok(())
    }
}

impl Machine for Gpu {
    type Recording = Recording;

    fn set(&mut self, buffer: Buffer, numbers: &[f32]) -> Result<()> {
        let mut part = self.buffers[buffer.0].slice_mut(..numbers.len());
        self.stream.memcpy_htod(numbers, &mut part).map_err(failed("copying to the GPU"))
    }

    fn get(&mut self, buffer: Buffer) -> Result<Vec<f32>> {
        let numbers = self.stream.clone_dtoh(&self.buffers[buffer.0]);
        let numbers = numbers.map_err(failed("copying from the GPU"))?;
        self.stream.synchronize().map_err(failed("a kernel"))?;
        Ok(numbers)
    }

    fn record(&mut self, launches: &[Launch]) -> Result<Recording> {
        for launch in launches {
            self.function(launch.kernel)?;
        }
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("recording"))?;
        let launched = launches.iter().try_for_each(|launch| self.launch(launch));
        // Ended in any case, because a stream that is still recording is unusable.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        match graph.map_err(failed("recording"))? {
            Some(graph) => Ok(Recording(graph)),
            None => Err(Error::Driver { what: "recording", message: "an empty graph".into() }),
        }
    }

    fn replay(&mut self, recording: &Recording) -> Result<()> {
        recording.0.launch().map_err(failed("replaying"))
    }

    fn wait(&mut self) -> Result<()> {
        self.stream.synchronize().map_err(failed("a kernel"))
    }

    fn seconds(&mut self, launches: &[Launch]) -> Result<Vec<f64>> {
        let mark = |stream: &CudaStream| {
            let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
            stream.record_event(flags).map_err(failed("marking a time"))
        };
        let mut marks = vec![mark(&self.stream)?];
        for launch in launches {
            self.launch(launch)?;
            marks.push(mark(&self.stream)?);
        }
        self.wait()?;
        let between = |pair: &[CudaEvent]| {
            let ms = pair[0].elapsed_ms(&pair[1]).map_err(failed("reading a time"))?;
            Ok(f64::from(ms) / 1e3)
        };
        marks.windows(2).map(between).collect()
    }
}
