//! Every layer through the gradient check, and what layers refuse.

use candle::{DType, Device, Tensor};

use super::testing::{check_gradients, check_precision, flat, noise};
use super::{
    Activation, Attend, Attention, AttentionConfig, AttentionInput, AttentionLayout, BatchNorm2d,
    Bias, Conv2d, Conv2dConfig, CrossEntropy, DropPath, Dropout, Embedding, GatedMlp, LayerNorm,
    Linear, Mlp, MlpConfig, Parameters, Pass, PatchEmbed2d, PatchEmbed2dConfig, PatchEmbed3d,
    PatchEmbed3dConfig, RmsNorm, Rope, RopeLayout, adaptive_avg_pool2d, attend, avg_pool2d,
    max_pool2d, position, softmax,
};
use crate::kernels::with_threads;
use crate::random::Random;

#[test]
fn linear_maps_have_true_gradients() {
    for bias in [Bias::With, Bias::Without] {
        check_gradients(&[&[2, 3, 5]], |x, vb| Linear::new(5, 4, bias, vb)?.forward(&x[0]));
    }
    check_gradients(&[&[37]], |x, vb| Linear::new(37, 33, Bias::With, vb)?.forward(&x[0]));
}

#[test]
fn adapters_have_true_gradients() {
    check_gradients(&[&[3, 7]], |x, vb| {
        // The frozen base must not ask the builder, or it would be missing a gradient.
        let base = Tensor::ones((5, 7), x[0].dtype(), &Device::Cpu)?;
        let mut layer = Linear::from_tensors(base, None);
        layer.with_lora(2, 8.0, vb)?;
        layer.forward(&x[0])
    });
}

#[test]
fn convolutions_have_true_gradients() {
    let geometries = [
        [3, 4, 3, 1, 1, 1], // in, out, kernel, stride, padding, groups
        [3, 2, 3, 2, 1, 1],
        [4, 6, 3, 2, 0, 2],
        [4, 4, 3, 1, 1, 4],
        [3, 6, 5, 2, 2, 3],
        [5, 3, 1, 1, 0, 1],
        [2, 3, 1, 2, 0, 1],
        [1, 2, 4, 3, 2, 1],
    ];
    for [in_channels, out_channels, kernel, stride, padding, groups] in geometries {
        for bias in [Bias::With, Bias::Without] {
            let config =
                Conv2dConfig { in_channels, out_channels, kernel, stride, padding, groups, bias };
            check_gradients(&[&[2, in_channels, 7, 6]], |x, vb| {
                Conv2d::new(&config, vb)?.forward(&x[0])
            });
        }
    }
}

#[test]
fn batch_norm_has_true_gradients_through_the_statistics() {
    for training in [true, false] {
        check_gradients(&[&[3, 2, 3, 4]], |x, vb| {
            let pass = if training { Pass::training(0, 0) } else { Pass::inference() };
            BatchNorm2d::new(2, 1e-3, 0.1, vb)?.forward(&x[0], &pass)
        });
    }
}

#[test]
fn pools_have_true_gradients() {
    for [kernel, stride, padding] in [[3, 2, 1], [2, 2, 0], [3, 1, 1], [5, 3, 2], [1, 1, 0]] {
        check_gradients(&[&[2, 3, 7, 8]], |x, _| max_pool2d(&x[0], kernel, stride, padding));
        check_gradients(&[&[2, 3, 7, 8]], |x, _| avg_pool2d(&x[0], kernel, stride, padding));
    }
    for (h, w) in [(1, 1), (3, 5), (7, 8), (9, 2)] {
        check_gradients(&[&[2, 3, 7, 8]], |x, _| adaptive_avg_pool2d(&x[0], h, w));
    }
}

#[test]
fn norms_have_true_gradients() {
    for dim in [1, 2, 19, 64] {
        check_gradients(&[&[3, 2, dim]], |x, vb| LayerNorm::new(dim, 1e-3, vb)?.forward(&x[0]));
        check_gradients(&[&[3, 2, dim]], |x, vb| RmsNorm::new(dim, 1e-3, vb)?.forward(&x[0]));
    }
}

#[test]
fn softmax_has_true_gradients() {
    for dim in [1, 3, 40] {
        check_gradients(&[&[2, 3, dim]], |x, _| softmax(&x[0]));
    }
}

#[test]
fn activations_have_true_gradients() {
    use Activation::{Gelu, GeluTanh, QuickGelu, Relu, Silu};
    for activation in [Relu, Gelu, GeluTanh, QuickGelu, Silu] {
        check_gradients(&[&[7, 5]], |x, _| activation.apply(&(&x[0] * 3.0)?));
        check_gradients(&[&[7, 5], &[7, 5]], |x, _| activation.gated(&(&x[0] * 3.0)?, &x[1]));
    }
}

#[test]
fn feed_forward_blocks_have_true_gradients() {
    let config =
        MlpConfig { dim: 5, hidden: 9, activation: Activation::GeluTanh, bias: Bias::With };
    check_gradients(&[&[2, 3, 5]], |x, vb| {
        Mlp::new(&config, ["a.dense", "b.dense"], vb)?.forward(&x[0])
    });
    for activation in [Activation::Silu, Activation::Gelu] {
        let config = MlpConfig { dim: 5, hidden: 7, activation, bias: Bias::Without };
        check_gradients(&[&[2, 3, 5]], |x, vb| {
            GatedMlp::new(&config, GatedMlp::LLAMA, vb)?.forward(&x[0])
        });
    }
}

#[test]
fn cross_entropies_have_true_gradients() {
    let targets = Tensor::new(&[[4i64, -100, 0], [2, 2, -100]], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[0.5f32, 1.0, 2.0, 0.1, 1.5], &Device::Cpu).unwrap();
    for (smoothing, weights) in
        [(0.0, None), (0.2, None), (0.0, Some(&weights)), (0.2, Some(&weights))]
    {
        let loss = CrossEntropy { smoothing, weights, ..CrossEntropy::default() };
        check_gradients(&[&[2, 3, 5]], |x, _| loss.of_logits(&x[0], &targets));
        let parts: [&[usize]; 3] = [&[2, 3, 7], &[5, 7], &[5]];
        check_gradients(&parts, |x, _| loss.of_states(&x[0], &x[1], Some(&x[2]), &targets));
        check_gradients(&parts[..2], |x, _| loss.of_states(&x[0], &x[1], None, &targets));
    }
}

#[test]
fn attention_has_true_gradients() {
    let mask = Tensor::new(&[[1u8, 0, 1, 1, 0], [0, 0, 0, 0, 0]], &Device::Cpu).unwrap();
    for (heads, mask) in [(2, None), (2, Some(&mask)), (6, None), (6, Some(&mask))] {
        for causal in [false, true] {
            let shapes: [&[usize]; 4] =
                [&[2, heads, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 3], &[heads, 3, 5]];
            check_gradients(&shapes[..3], |x, _| {
                attend(&x[0], &x[1], &x[2], &Attend { causal, mask, ..Attend::default() })
            });
            check_gradients(&shapes, |x, _| {
                let options =
                    Attend { scale: Some(0.7), causal, bias: Some(&x[3]), mask, window: None };
                attend(&x[0], &x[1], &x[2], &options)
            });
        }
    }
}

#[test]
fn attention_with_a_fixed_bias_has_true_gradients() {
    let bias: Vec<f32> =
        (0..15).map(|i| if i % 4 == 0 { f32::NEG_INFINITY } else { 0.1 }).collect();
    let bias = Tensor::from_vec(bias, (3, 5), &Device::Cpu).unwrap();
    check_gradients(&[&[2, 4, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 3]], |x, _| {
        let bias = bias.to_dtype(x[0].dtype())?;
        attend(&x[0], &x[1], &x[2], &Attend { bias: Some(&bias), ..Attend::default() })
    });
}

#[test]
fn attention_layers_have_true_gradients() {
    let fused = AttentionConfig { kv_heads: 2, ..AttentionConfig::new(8, 4) };
    check_gradients(&[&[2, 5, 8]], |x, vb| {
        Attention::new(&fused, vb)?.forward(&x[0], &AttentionInput::default())
    });
    let whole = AttentionConfig::new(12, 3);
    let mask = Tensor::new(&[[1u8, 1, 0, 1, 1], [1, 0, 0, 0, 1]], &Device::Cpu).unwrap();
    for causal in [false, true] {
        check_gradients(&[&[2, 5, 12]], |x, vb| {
            let input = AttentionInput { causal, mask: Some(&mask), ..AttentionInput::default() };
            Attention::new(&whole, vb)?.forward(&x[0], &input)
        });
    }
    let split = AttentionConfig {
        head_dim: Some(6),
        context_dim: Some(3),
        bias: Bias::Without,
        layout: AttentionLayout::split("self.query", "self.key", "self.value", "out.dense"),
        ..AttentionConfig::new(8, 2)
    };
    check_gradients(&[&[2, 4, 8], &[2, 3, 3]], |x, vb| {
        let input = AttentionInput { context: Some(&x[1]), ..AttentionInput::default() };
        Attention::new(&split, vb)?.forward(&x[0], &input)
    });
}

#[test]
fn rotary_positions_have_true_gradients_inside_attention() {
    for layout in [RopeLayout::Halves, RopeLayout::Interleaved] {
        let rope = Rope::new(4, 100.0, 9, layout, &Device::Cpu).unwrap();
        check_gradients(&[&[2, 2, 5, 4]], |x, _| rope.turn(&x[0], 4));
        check_gradients(&[&[2, 2, 5, 7]], |x, _| rope.turn(&x[0], 0)); // features 4..7 stay
        check_gradients(&[&[1, 3, 8]], |x, vb| {
            let input = AttentionInput {
                causal: true,
                rope: Some((&rope, 2)),
                ..AttentionInput::default()
            };
            Attention::new(&AttentionConfig::new(8, 2), vb)?.forward(&x[0], &input)
        });
    }
}

#[test]
fn patch_embeddings_have_true_gradients() {
    let flat = PatchEmbed2dConfig { in_channels: 2, dim: 5, patch: [3, 2], bias: Bias::With };
    check_gradients(&[&[2, 2, 6, 8]], |x, vb| PatchEmbed2d::new(&flat, vb)?.forward(&x[0]));
    let deep = PatchEmbed3dConfig { in_channels: 2, dim: 3, patch: [2, 1, 3], bias: Bias::Without };
    check_gradients(&[&[2, 2, 4, 2, 6]], |x, vb| PatchEmbed3d::new(&deep, vb)?.forward(&x[0]));
}

#[test]
fn learned_tables_have_true_gradients_when_looked_up_and_resized() {
    let ids = Tensor::new(&[[3u32, 0], [3, 1]], &Device::Cpu).unwrap();
    check_gradients(&[], |_, vb| Embedding::new(4, 3, vb)?.forward(&ids));
    for antialias in [position::Antialias::Off, position::Antialias::On] {
        check_gradients(&[&[2 + 12, 3]], |x, _| {
            position::interpolate_bicubic(&x[0], (3, 4), (5, 2), 2, antialias)
        });
    }
}

#[test]
fn dropout_keeps_the_mean_and_passes_the_gradient_of_what_it_keeps() {
    check_gradients(&[&[5, 3, 4]], |x, _| {
        let pass = Pass::training(3, 1);
        DropPath::new(0.5)?.forward(&Dropout::new(0.3)?.forward(&x[0], &pass)?, &pass)
    });
    let x = Tensor::ones((400, 100), DType::F32, &Device::Cpu).unwrap();
    let out = Dropout::new(0.2).unwrap().forward(&x, &Pass::training(0, 0)).unwrap();
    let mean = out.mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    let rows = DropPath::new(0.5).unwrap().forward(&x, &Pass::training(0, 1)).unwrap();
    let means = rows.mean(1).unwrap().to_vec1::<f32>().unwrap();
    assert!(means.iter().all(|mean| *mean == 0.0 || (*mean - 2.0).abs() < 1e-6));
}

#[test]
fn dropout_does_nothing_without_training_and_draws_anew_in_every_layer() {
    let x = Tensor::ones((8, 8), DType::F32, &Device::Cpu).unwrap();
    let dropout = Dropout::new(0.5).unwrap();
    let sum = |pass: &Pass| dropout.forward(&x, pass).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(sum(&Pass::inference()), x.to_vec2::<f32>().unwrap());
    let pass = Pass::training(1, 2);
    let first = sum(&pass);
    assert_ne!(first, sum(&pass));
    assert_eq!(first, sum(&Pass::training(1, 2)));
}

#[test]
fn batch_norm_moves_the_statistics_that_are_saved() {
    let parameters = Parameters::new(0, &Device::Cpu);
    let layer = BatchNorm2d::new(2, 1e-5, 0.5, parameters.builder().pp("bn1")).unwrap();
    let x = Tensor::new(&[[[[1f32, 3.0]], [[0.0, 4.0]]]], &Device::Cpu).unwrap();
    layer.forward(&x, &Pass::inference()).unwrap();
    let saved = |name: &str| parameters.get(name).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(saved("bn1.running_mean"), [0.0, 0.0]);
    layer.forward(&x, &Pass::training(0, 0)).unwrap();
    assert_eq!(saved("bn1.running_mean"), [1.0, 1.0]);
    assert_eq!(saved("bn1.running_var"), [1.5, 4.5]); // unbiased variances 2 and 8
    let names: Vec<String> = parameters.trainable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bn1.bias", "bn1.weight"]);
}

#[test]
fn layers_refuse_what_they_cannot_compute_and_say_why() {
    let parameters = Parameters::new(0, &Device::Cpu);
    let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
    let vb = || parameters.builder().pp("a");
    let linear = Linear::new(5, 2, Bias::With, vb()).unwrap();
    let says = |result: crate::Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(says(linear.forward(&x)), "linear: expected shape (…, 5), got [2, 3, 4]");
    assert_eq!(
        says(max_pool2d(&x.unsqueeze(0).unwrap(), 5, 1, 0)),
        "window: kernel 5 does not fit 3 padded pixels"
    );
    let config = Conv2dConfig { in_channels: 4, out_channels: 6, groups: 3, ..Default::default() };
    assert_eq!(
        Conv2d::new(&config, vb()).unwrap_err().to_string(),
        "config field `groups`: found 3, expected a divisor of 4 and 6"
    );
    assert_eq!(
        Dropout::new(1.0).unwrap_err().to_string(),
        "config field `dropout`: found 1, expected a probability in [0, 1)"
    );
    let patch = PatchEmbed2dConfig { in_channels: 1, dim: 2, patch: [2, 3], bias: Bias::With };
    let film = Tensor::zeros((1, 1, 4, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        says(PatchEmbed2d::new(&patch, parameters.builder().pp("b")).unwrap().forward(&film)),
        "patch embedding: expected shape (B, 1, 2·n, 3·n), got [1, 1, 4, 4]"
    );
    let heads = |h, n| Tensor::zeros((1, h, n, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        says(attend(&heads(3, 2), &heads(2, 2), &heads(2, 2), &Attend::default())),
        "key heads: found 2, expected a divisor of 3 query heads"
    );
    let rope = Rope::new(4, 1e4, 3, RopeLayout::Halves, &Device::Cpu).unwrap();
    assert_eq!(says(rope.turn(&heads(1, 2), 2)), "rope length: found 4, expected at most 3");
}

/// Sizes that fill several blocks of every kernel, in several threads.
#[test]
fn large_tensors_have_true_gradients() {
    check_precision(&[&[300, 130]], |x, vb| LayerNorm::new(130, 1e-5, vb)?.forward(&x[0]));
    check_precision(&[&[300, 130]], |x, vb| RmsNorm::new(130, 1e-5, vb)?.forward(&x[0]));
    check_precision(&[&[260, 170]], |x, vb| Linear::new(170, 90, Bias::With, vb)?.forward(&x[0]));
    check_precision(&[&[200, 201]], |x, _| softmax(&x[0]));
    check_precision(&[&[40_001]], |x, _| Activation::Gelu.apply(&x[0]));
    check_precision(&[&[2, 4, 150, 8], &[2, 2, 170, 8], &[2, 2, 170, 8]], |x, _| {
        attend(&x[0], &x[1], &x[2], &Attend { causal: true, ..Attend::default() })
    });
    let (in_channels, kernel) = (32, 3);
    for (stride, padding, groups) in [(1, 1, 1), (2, 1, 2), (1, 1, 32)] {
        let config = Conv2dConfig {
            in_channels,
            out_channels: 32,
            kernel,
            stride,
            padding,
            groups,
            bias: Bias::Without,
        };
        check_precision(&[&[10, in_channels, 27, 40]], |x, vb| {
            Conv2d::new(&config, vb)?.forward(&x[0])
        });
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let conv = Conv2dConfig {
        in_channels: 6,
        out_channels: 8,
        kernel: 3,
        padding: 1,
        ..Conv2dConfig::default()
    };
    let run = |threads: usize| -> Vec<Vec<u64>> {
        let work = || {
            let parameters = Parameters::new(3, &Device::Cpu);
            let vb = parameters.builder();
            let x = noise(&[3, 6, 33, 41], &mut Random::new(5, &[]));
            let x = x.to_dtype(DType::F32).unwrap();
            let x = Conv2d::new(&conv, vb.pp("conv")).unwrap().forward(&x).unwrap();
            let pass = Pass::training(0, 0);
            let x = BatchNorm2d::new(8, 1e-5, 0.1, vb.pp("bn")).unwrap().forward(&x, &pass);
            let x = max_pool2d(&x.unwrap(), 3, 2, 1).unwrap(); // (3, 8, 17, 21)
            let x = x.flatten_from(2).unwrap().transpose(1, 2).unwrap(); // (3, 357, 8)
            let x = LayerNorm::new(8, 1e-5, vb.pp("norm")).unwrap().forward(&x).unwrap();
            let config = AttentionConfig::new(8, 2);
            let layer = Attention::new(&config, vb.pp("attn")).unwrap();
            let x = layer.forward(&x, &AttentionInput::default()).unwrap();
            let store = x.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let bits = |x: &Tensor| flat(x).into_iter().map(f64::to_bits).collect();
            let learnt = parameters.trainable();
            learnt.iter().map(|(_, var)| bits(store.get(var).unwrap())).chain([bits(&x)]).collect()
        };
        with_threads(threads, work)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}
