//! Which driver calls are made, and what is reported if the driver is unsuitable: a stand-in for
//! its library, without a GPU, takes its place in a separate process.

#![cfg(target_os = "linux")]

#[path = "../../../tests/skip.rs"]
mod skip;

use ganomaly_gpu::Precision;
use ganomaly_gpu::cuda::{Gpu, describe, gpus};
use std::process::Command;

/// Sets what the stand-in reports: its CUDA version, `cuInit`'s result, and the number of GPUs.
/// Memory is free only after a synchronisation.
const ASKED: &str = "GANOMALY_STAND_IN_DRIVER";

const SOURCE: &str = "
#include <stdlib.h>
#include <string.h>
static int number(int which) {
    const char *text = getenv(\"GANOMALY_STAND_IN_DRIVER\");
    for (; which > 0; which--) text = strchr(text, ' ') + 1;
    return atoi(text);
}
int cuDriverGetVersion(int *version) { *version = number(0); return 0; }
int cuInit(unsigned flags) { (void)flags; return number(1); }
int cuDeviceGetCount(int *count) { *count = number(2); return 0; }
int cuGetErrorString(int error, const char **text) { (void)error; *text = \"an error\"; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int len, int device) {
    (void)device;
    strncpy(name, \"stand-in\", len);
    return 0;
}
int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    *value = which == 75 ? 9 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = &number; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxGetCurrent(void **context) { *context = &number; return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
static size_t waited = 0;
int cuCtxSynchronize(void) { waited = 1; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *all) { *all = (size_t)3 << 30; *free = waited << 30; return 0; }
";

/// In the process with the stand-in: the result of every way to reach a GPU.
#[test]
fn in_a_process_of_its_own() {
    if std::env::var_os(ASKED).is_some() {
        println!("GPUs: {}", gpus().map_or_else(|e| e.to_string(), |n| n.to_string()));
        let described = describe(0).map(|d| format!("{d:?}"));
        println!("describe: {}", described.unwrap_or_else(|e| e.to_string()));
        if gpus().is_ok_and(|n| n > 0) {
            return;
        }
        let gpu = Gpu::new(0, &[1], Precision::F32).err().map(|e| e.to_string());
        println!("new: {}", gpu.unwrap_or_default());
    }
}

#[test]
fn a_driver_is_asked_in_order_and_what_it_lacks_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("driver.c"), dir.path().join("libcuda.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut build = Command::new(&compiler);
    match build.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status() {
        Ok(status) => assert!(status.success()),
        Err(e) => return skip::missing(&format!("there is no C compiler {compiler}: {e}")),
    }
    let said = |driver: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "in_a_process_of_its_own", "--nocapture"]);
        child.env(ASKED, driver).env("LD_LIBRARY_PATH", dir.path());
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    // 100: no device; 34: a toolkit's stub of the library; 803: driver and kernel module do not
    // match.
    for (driver, words) in [
        ("13000 100 0", &["GPUs: 0\n", "describe: there is no GPU 0: the driver knows 0"][..]),
        ("13000 0 0", &["GPUs: 0\n", "new: there is no GPU 0: the driver knows 0"]),
        (
            "12040 0 1",
            &["GPUs: the NVIDIA driver knows CUDA 12.4, this program needs 12.8 or later"],
        ),
        ("12060 100 0", &["new: the NVIDIA driver knows CUDA 12.6", "update the driver"]),
        ("13000 34 0", &["GPUs: no NVIDIA driver: libcuda.so, other than the stub"]),
        ("12080 0 1", &["GPUs: 1\n", "capability: (9, 0), memory_mib: (1024, 3072)"]),
        ("13000 803 0", &["GPUs: counting GPUs failed", "SYSTEM_DRIVER_MISMATCH"]),
    ] {
        let said = said(driver);
        for words in words {
            assert!(said.contains(words), "{driver}: {words:?} in\n{said}");
        }
    }
}
