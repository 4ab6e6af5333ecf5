//! The kernels for real cards, where the run-time compiler is at hand; no card is needed for that.

#![cfg(feature = "cuda")]

use ganomaly_gpu::Error;
use ganomaly_gpu::cuda::{cards, compile};

#[test]
fn kernels_compile_for_every_card_since_volta() {
    for capability in [(7, 5), (8, 0), (9, 0), (10, 0)] {
        match compile(capability) {
            Ok(ptx) => assert!(!ptx.to_src().is_empty()),
            Err(Error::NoCompiler(library)) => return println!("skipped: no {library}"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn without_a_card_the_error_says_what_is_missing() {
    match cards() {
        Ok(n) if n > 0 => println!("skipped: {n} cards"),
        Ok(_) => {}
        Err(e) => assert!(e.to_string().contains("libcuda.so"), "{e}"),
    }
}
