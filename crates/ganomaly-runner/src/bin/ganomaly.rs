//! tmp
fn main() -> anyhow::Result<()> {
    for t in std::env::args().skip(1) { let p = ganomaly_runner::parity::check_trace(t.as_ref())?; print!("{}", p.table()); println!("{}", p.holds()); }
    Ok(())
}
