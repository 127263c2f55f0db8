//! How long a cloud takes to be brought into the plane, for `tests/reference/bench_reductions.py`, which runs scikit-learn and
//! umap-learn in turns with it:
//!
//! ```text
//! cargo bench --bench reductions -- FILE WIDTH t-sne
//! ```
//!
//! `FILE` holds vectors of `WIDTH` numbers as `f32`, the lowest byte first. Printed are milliseconds.

use std::error::Error;
use std::time::Instant;

use alignscope::reduction;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [file, width, key] = arguments.as_slice() else {
        println!("name a file of vectors, their length, and one of pca, t-sne, umap");
        return Ok(());
    };
    let bytes = std::fs::read(file)?;
    let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let vectors: Vec<&[f32]> = numbers.chunks_exact(width.parse()?).collect();
    let reduction = reduction::named(key).ok_or("there is no such reduction")?;
    let begin = Instant::now();
    let plane = (reduction.reduce)(&vectors, 0, &mut |_| true)?;
    println!("{:.1} {}", begin.elapsed().as_secs_f64() * 1000.0, plane.points.len());
    Ok(())
}
