//! How long the operations take in which most of a pass is spent:
//!
//! ```text
//! cargo bench --bench kernels
//! ```

#[path = "mod.rs"]
mod kernels;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for (name, make) in kernels::KERNELS {
        let mut kernel = make().expect("a kernel");
        criterion.bench_function(name, |bencher| bencher.iter(|| kernel().expect("numbers")));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
