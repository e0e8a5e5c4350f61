//! The hot layers at the sizes of real encoders: forward, and forward with backward.

use std::hint::black_box;
use std::time::Duration;

use candle::{DType, Device, Tensor, Var};
use carina::Result;
use carina::nn::{self, Activation, Attend, Bias, Conv2d, Conv2dConfig, Parameters};
use criterion::{Criterion, criterion_group, criterion_main};

fn noise(shape: &[usize]) -> Var {
    let tensor = Tensor::randn(0f32, 1.0, shape, &Device::Cpu);
    Var::from_tensor(&tensor.expect("a CPU tensor can be drawn")).expect("and be a variable")
}

fn pair(bench: &mut Criterion, name: &str, layer: impl Fn() -> Result<Tensor>) {
    let mut group = bench.benchmark_group(name);
    group.bench_function("forward", |b| b.iter(|| black_box(layer().expect("shapes fit"))));
    group.bench_function("backward", |b| {
        b.iter(|| black_box(layer().expect("shapes fit").backward().expect("all have gradients")));
    });
    group.finish();
}

fn dense(bench: &mut Criterion) {
    let parameters = Parameters::new(0, &Device::Cpu);
    let vb = parameters.builder();
    let x = noise(&[8, 197, 768]);
    let wide = noise(&[8, 197, 3072]);
    let norm = nn::LayerNorm::new(768, 1e-6, vb.pp("norm")).expect("sizes are valid");
    pair(bench, "layer_norm 8x197x768", || norm.forward(&x));
    pair(bench, "gelu 8x197x3072", || Activation::Gelu.apply(&wide));
    let linear = nn::Linear::new(768, 3072, Bias::With, vb.pp("fc1")).expect("sizes are valid");
    pair(bench, "linear 8x197x768 to 3072", || linear.forward(&x));
    let scores = noise(&[8, 12, 197, 197]);
    pair(bench, "softmax 8x12x197x197", || nn::softmax(&scores));
}

fn attention(bench: &mut Criterion) {
    let [q, k, v] = [(); 3].map(|()| noise(&[8, 12, 197, 64]));
    pair(bench, "attend 8x12x197x64", || nn::attend(&q, &k, &v, &Attend::default()));
    let parameters = Parameters::new(0, &Device::Cpu);
    let config = nn::AttentionConfig::new(768, 12);
    let layer = nn::Attention::new(&config, parameters.builder()).expect("sizes are valid");
    let x = noise(&[8, 197, 768]);
    let input = nn::AttentionInput::default();
    pair(bench, "attention layer 8x197x768", || layer.forward(&x, &input));
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
        let x = noise(&shape);
        pair(bench, name, || layer.forward(&x));
    }
    let x = noise(&[2, 64, 112, 112]);
    pair(bench, "max_pool 3 s2 64 112x112 b2", || nn::max_pool2d(&x, 3, 2, 1));
    let parameters = Parameters::new(0, &Device::Cpu);
    let norm = nn::BatchNorm2d::new(64, 1e-5, 0.1, parameters.builder()).expect("sizes are valid");
    let pass = nn::Pass::training(0, 0);
    pair(bench, "batch_norm 64 112x112 b2", || norm.forward(&x, &pass));
    assert_eq!(x.dtype(), DType::F32);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    targets = dense, attention, convolution
}
criterion_main!(benches);
