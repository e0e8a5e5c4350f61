//! The hot layers at the sizes of real encoders: forward, and forward with backward.
//!
//! Beside criterion's times each line says how much of this machine's peak was reached: of
//! float32 multiply-adds where arithmetic counts, of copying memory where that does. Products on
//! units for bfloat16 may exceed the former; what stays in the caches may exceed the latter.

#![allow(unsafe_code, clippy::print_stdout)] // a table is what a benchmark is for

mod peak;

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use candle::{Device, Tensor, Var};
use carina::Result;
use carina::nn::{self, Activation, Attend, Bias, Conv2d, Conv2dConfig, Parameters};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peak::Peak;

static PEAK: LazyLock<Peak> = LazyLock::new(Peak::measure);

/// What a forward pass does, and a forward with its backward.
#[derive(Clone, Copy)]
enum Work {
    /// Multiplications and additions.
    Operations(f64, f64),
    /// Bytes read and written at least.
    Bytes(f64, f64),
}

impl Work {
    /// `n` multiply-adds; their two gradients take as many each.
    fn products(n: usize) -> Self {
        Self::Operations(2.0 * n as f64, 6.0 * n as f64)
    }

    /// Attention recomputes its scores, so that its backward is five products to the forward's two.
    fn attention(n: usize) -> Self {
        Self::Operations(4.0 * n as f64, 14.0 * n as f64)
    }

    /// A map of `n` numbers: one read, one written; its backward reads two and writes one.
    fn map(n: usize) -> Self {
        Self::Bytes(8.0 * n as f64, 20.0 * n as f64)
    }

    fn throughput(self, backward: bool) -> Throughput {
        match self {
            Self::Operations(one, both) => {
                Throughput::Elements(if backward { both } else { one } as u64)
            }
            Self::Bytes(one, both) => Throughput::Bytes(if backward { both } else { one } as u64),
        }
    }

    fn report(self, backward: bool, seconds: f64) -> String {
        let (amount, unit, peak) = match self {
            Self::Operations(one, both) => {
                (if backward { both } else { one }, "GFLOP/s", PEAK.operations)
            }
            Self::Bytes(one, both) => (if backward { both } else { one }, "GB/s", PEAK.bytes),
        };
        let rate = amount / seconds;
        format!("{:.1} {unit}, {:.0} % of {:.0}", rate / 1e9, 100.0 * rate / peak, peak / 1e9)
    }
}

fn noise(shape: &[usize]) -> Var {
    let tensor = Tensor::randn(0f32, 1.0, shape, &Device::Cpu);
    Var::from_tensor(&tensor.expect("a CPU tensor can be drawn")).expect("and be a variable")
}

fn pair(bench: &mut Criterion, name: &str, work: Work, layer: impl Fn() -> Result<Tensor>) {
    let mut group = bench.benchmark_group(name);
    for backward in [false, true] {
        let run = || {
            let out = layer().expect("shapes fit");
            if backward {
                black_box(out.backward().expect("all have gradients"));
            }
        };
        let mut best = f64::INFINITY;
        group.throughput(work.throughput(backward));
        group.bench_function(if backward { "backward" } else { "forward" }, |b| {
            b.iter_custom(|n| {
                let start = Instant::now();
                (0..n).for_each(|_| run());
                let time = start.elapsed();
                best = best.min(time.as_secs_f64() / n as f64);
                time
            });
        });
        if best.is_finite() {
            println!("    at best {}", work.report(backward, best)); // it was not filtered out
        }
    }
    group.finish();
}

fn dense(bench: &mut Criterion) {
    let parameters = Parameters::new(0, &Device::Cpu);
    let vb = parameters.builder();
    let (tokens, dim) = (8 * 197, 768);
    let x = noise(&[8, 197, dim]);
    let wide = noise(&[8, 197, 4 * dim]);
    let norm = nn::LayerNorm::new(dim, 1e-6, vb.pp("norm")).expect("sizes are valid");
    pair(bench, "layer_norm 8x197x768", Work::map(tokens * dim), || norm.forward(&x));
    pair(bench, "gelu 8x197x3072", Work::map(4 * tokens * dim), || Activation::Gelu.apply(&wide));
    let linear = nn::Linear::new(dim, 4 * dim, Bias::With, vb.pp("fc1")).expect("sizes are valid");
    let work = Work::products(tokens * dim * 4 * dim);
    pair(bench, "linear 8x197x768 to 3072", work, || linear.forward(&x));
    let half = nn::Linear::new(
        dim,
        4 * dim,
        Bias::With,
        parameters.builder_in(nn::Precision::Bf16).pp("fc1"),
    );
    let half = half.expect("sizes are valid");
    pair(bench, "linear 8x197x768 to 3072, bf16", work, || half.forward(&x));
    let scores = noise(&[8, 12, 197, 197]);
    pair(bench, "softmax 8x12x197x197", Work::map(96 * 197 * 197), || nn::softmax(&scores));
}

fn attention(bench: &mut Criterion) {
    let [q, k, v] = [(); 3].map(|()| noise(&[8, 12, 197, 64]));
    let work = Work::attention(96 * 197 * 197 * 64);
    pair(bench, "attend 8x12x197x64", work, || nn::attend(&q, &k, &v, &Attend::default()));
    let [q, k, v] = [(); 3].map(|()| noise(&[1, 12, 4481, 64]));
    let work = Work::attention(12 * 4481 * 4481 * 64);
    pair(bench, "attend 1x12x4481x64", work, || nn::attend(&q, &k, &v, &Attend::default()));
}

fn convolution(bench: &mut Criterion) {
    let cases = [
        ("conv 3x3 64 to 64 56x56 b2", [64, 64, 3, 1, 1, 1], [2, 64, 56, 56]),
        ("conv 3x3 128 to 32 28x28 b8", [128, 32, 3, 1, 1, 1], [8, 128, 28, 28]),
        ("conv 7x7 s2 3 to 64 224x224 b1", [3, 64, 7, 2, 3, 1], [1, 3, 224, 224]),
        ("conv 1x1 256 to 128 28x28 b8", [256, 128, 1, 1, 0, 1], [8, 256, 28, 28]),
        ("depthwise 3x3 144 56x56 b1", [144, 144, 3, 1, 1, 144], [1, 144, 56, 56]),
        ("depthwise 5x5 672 14x14 b8", [672, 672, 5, 1, 2, 672], [8, 672, 14, 14]),
    ];
    for (name, [in_channels, out_channels, kernel, stride, padding, groups], shape) in cases {
        let parameters = Parameters::new(0, &Device::Cpu);
        let bias = Bias::Without;
        let config =
            Conv2dConfig { in_channels, out_channels, kernel, stride, padding, groups, bias };
        let layer = Conv2d::new(&config, parameters.builder()).expect("sizes are valid");
        let places = shape[0] * (shape[2] / stride) * (shape[3] / stride);
        let work = Work::products(places * out_channels * in_channels / groups * kernel * kernel);
        let x = noise(&shape);
        pair(bench, name, work, || layer.forward(&x));
    }
    let shape = [2, 64, 112, 112];
    let (x, work) = (noise(&shape), Work::map(shape.iter().product()));
    pair(bench, "max_pool 3 s2 64 112x112 b2", work, || nn::max_pool2d(&x, 3, 2, 1));
    let parameters = Parameters::new(0, &Device::Cpu);
    let norm = nn::BatchNorm2d::new(64, 1e-5, 0.1, parameters.builder()).expect("sizes are valid");
    let pass = nn::Pass::training(0, 0);
    pair(bench, "batch_norm 64 112x112 b2", work, || norm.forward(&x, &pass));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    targets = dense, attention, convolution
}
criterion_main!(benches);
