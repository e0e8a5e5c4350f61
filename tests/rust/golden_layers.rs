//! Every layer against PyTorch, forward and backward (`tests/golden/layers/make.py`).
#![allow(clippy::unwrap_used)] // a test that cannot read its case must fail loudly

mod case;

use candle::{DType, Tensor};
use carina::nn::{self, Activation, Attend, AttentionInput, Bias, Conv2dConfig, Pass, Window};

use case::{Case, device};

#[test]
fn linear_maps_equal_pytorch() {
    for (name, dims, bias) in
        [("linear", (7, 5), Bias::With), ("linear_no_bias", (33, 65), Bias::Without)]
    {
        let case = Case::load("dense", name);
        let layer = nn::Linear::new(dims.0, dims.1, bias, case.vb()).unwrap();
        case.check(layer.forward(case.x()));
    }
}

#[test]
fn low_rank_adapters_equal_pytorch_and_merge_into_the_weight() {
    let case = Case::load("dense", "lora");
    let mut layer = nn::Linear::new(8, 6, Bias::With, case.vb()).unwrap();
    layer.with_lora(3, 12.0, case.vb()).unwrap();
    case.check(layer.forward(case.x()));
    let merged = layer.merged_weight().unwrap();
    let merged = nn::linear(case.x(), &merged, layer.bias()).unwrap();
    case.close("merged", &merged, &case.tensors["out"]);
}

#[test]
fn a_frozen_base_gets_no_gradient_under_an_adapter() {
    let case = Case::load("dense", "lora");
    let mut layer = nn::Linear::new(8, 6, Bias::With, case.vb()).unwrap();
    layer.with_lora(3, 12.0, case.vb()).unwrap();
    let store = layer.forward(case.x()).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&case.vars["w.weight"]).is_none());
    assert!(store.get(&case.vars["w.lora_B.weight"]).is_some());
}

#[test]
fn normalisations_equal_pytorch() {
    for (name, dim, eps) in [("layer_norm", 37, 1e-6), ("layer_norm_small", 3, 1e-5)] {
        let case = Case::load("dense", name);
        case.check(nn::LayerNorm::new(dim, eps, case.vb()).unwrap().forward(case.x()));
    }
    let case = Case::load("dense", "rms_norm");
    case.check(nn::RmsNorm::new(19, 1e-6, case.vb()).unwrap().forward(case.x()));
}

#[test]
fn softmax_equals_pytorch() {
    let case = Case::load("dense", "softmax");
    case.check(nn::softmax(case.x()));
}

#[test]
fn activations_equal_pytorch_by_their_configuration_names() {
    for name in ["relu", "gelu", "gelu_tanh", "quick_gelu", "silu"] {
        let case = Case::load("dense", name);
        let activation: Activation = serde_json::from_value(name.into()).unwrap();
        case.check(activation.apply(case.x()));
    }
}

#[test]
fn feed_forward_blocks_equal_pytorch() {
    let case = Case::load("dense", "mlp");
    let config =
        nn::MlpConfig { dim: 6, hidden: 11, activation: Activation::Gelu, bias: Bias::With };
    case.check(nn::Mlp::new(&config, ["fc1", "fc2"], case.vb()).unwrap().forward(case.x()));
    let case = Case::load("dense", "swiglu");
    let config =
        nn::MlpConfig { dim: 6, hidden: 10, activation: Activation::Silu, bias: Bias::Without };
    let layer = nn::GatedMlp::new(&config, nn::GatedMlp::LLAMA, case.vb()).unwrap();
    case.check(layer.forward(case.x()));
}

#[test]
fn embeddings_equal_pytorch() {
    let case = Case::load("dense", "embedding");
    case.check(nn::Embedding::new(9, 4, case.vb()).unwrap().forward(&case.tensors["ids"]));
}

#[test]
fn convolutions_equal_pytorch() {
    let geometries = [
        ("k3", [4, 6, 3, 1, 1, 1], Bias::With),
        ("k3_s2", [3, 5, 3, 2, 1, 1], Bias::Without),
        ("k7_s2_p3", [3, 4, 7, 2, 3, 1], Bias::With),
        ("k1", [6, 3, 1, 1, 0, 1], Bias::With),
        ("k1_s2", [4, 3, 1, 2, 0, 1], Bias::Without),
        ("grouped", [6, 8, 3, 1, 1, 2], Bias::With),
        ("depthwise", [5, 5, 3, 1, 1, 5], Bias::Without),
        ("depthwise_k5_s2", [3, 3, 5, 2, 2, 3], Bias::With),
        ("depthwise_doubled", [3, 6, 3, 2, 1, 3], Bias::With),
        ("valid", [2, 3, 3, 3, 0, 1], Bias::With),
    ];
    for (name, [in_channels, out_channels, kernel, stride, padding, groups], bias) in geometries {
        let case = Case::load("conv", name);
        let config =
            Conv2dConfig { in_channels, out_channels, kernel, stride, padding, groups, bias };
        case.check(nn::Conv2d::new(&config, case.vb()).unwrap().forward(case.x()));
        let window = Window { kernel, stride, padding };
        let expected = case.tensors["out"].dims()[2];
        assert_eq!(window.count(case.x().dims()[2]).unwrap(), expected);
    }
}

#[test]
fn batch_norm_equals_pytorch_and_moves_its_statistics_only_in_training() {
    for (name, pass) in
        [("batch_norm_train", Pass::training(0, 0)), ("batch_norm_eval", Pass::inference())]
    {
        let case = Case::load("conv", name);
        let layer = nn::BatchNorm2d::new(3, 1e-3, 0.2, case.vb()).unwrap();
        case.check(layer.forward(case.x(), &pass));
        for statistic in ["running_mean", "running_var"] {
            let expected = &case.tensors[&format!("after.{statistic}")];
            case.close(statistic, &case.vars[&format!("w.{statistic}")], expected);
        }
    }
}

#[test]
fn pooling_equals_pytorch_with_overlap_padding_and_ties() {
    let check = |name: &str, pool: &dyn Fn(&Tensor) -> carina::Result<Tensor>| {
        let case = Case::load("conv", name);
        case.check(pool(case.x()));
    };
    check("max_3_2_1", &|x| nn::max_pool2d(x, 3, 2, 1));
    check("max_2_2_0", &|x| nn::max_pool2d(x, 2, 2, 0));
    check("max_3_1_1", &|x| nn::max_pool2d(x, 3, 1, 1));
    check("avg_3_2_1", &|x| nn::avg_pool2d(x, 3, 2, 1));
    check("avg_2_2_0", &|x| nn::avg_pool2d(x, 2, 2, 0));
    check("adaptive_3_5", &|x| nn::adaptive_avg_pool2d(x, 3, 5));
    check("adaptive_1_1", &|x| nn::adaptive_avg_pool2d(x, 1, 1));
}

#[test]
fn patch_embeddings_equal_pytorchs_convolutions() {
    let case = Case::load("conv", "patch_2d");
    let config = nn::PatchEmbed2dConfig { in_channels: 3, dim: 5, patch: [4, 2], bias: Bias::With };
    case.check(nn::PatchEmbed2d::new(&config, case.vb()).unwrap().forward(case.x()));
    let case = Case::load("conv", "patch_3d");
    let config =
        nn::PatchEmbed3dConfig { in_channels: 2, dim: 5, patch: [2, 4, 3], bias: Bias::With };
    case.check(nn::PatchEmbed3d::new(&config, case.vb()).unwrap().forward(case.x()));
}

#[test]
fn attention_equals_pytorch() {
    let check = |name: &str, options: &Attend| {
        let case = Case::load("attention", name);
        case.check(nn::attend(case.input("q"), case.input("k"), case.input("v"), options));
    };
    check("plain", &Attend::default());
    check("cross", &Attend::default());
    check("grouped", &Attend::default());
    check("scaled", &Attend { scale: Some(1.0), ..Attend::default() });
    check("causal", &Attend { causal: true, ..Attend::default() });
    check("causal_late", &Attend { causal: true, ..Attend::default() });
}

#[test]
fn masked_attention_equals_pytorch_and_a_fully_masked_row_is_zero() {
    let case = Case::load("attention", "masked");
    let mask = &case.tensors["mask"];
    let [q, k, v] = ["q", "k", "v"].map(|name| case.input(name));
    let options = Attend { mask: Some(mask), ..Attend::default() };
    let out = nn::attend(q, k, v, &options).unwrap();
    let hidden = out.narrow(0, 1, 1).unwrap().abs().unwrap().sum_all().unwrap();
    assert!(hidden.to_scalar::<f32>().unwrap() == 0.0);
    case.check(Ok(out));
    // The same mask as an additive bias of -inf.
    let seen = mask.to_dtype(DType::F32).unwrap().log().unwrap().reshape((2, 1, 1, 8)).unwrap();
    case.check(nn::attend(q, k, v, &Attend { bias: Some(&seen), ..Attend::default() }));
}

#[test]
fn additive_biases_equal_pytorch_and_learn() {
    for name in ["bias", "bias_shared", "bias_row"] {
        let case = Case::load("attention", name);
        let options = Attend { bias: Some(case.input("bias")), ..Attend::default() };
        case.check(nn::attend(case.input("q"), case.input("k"), case.input("v"), &options));
    }
}

#[test]
fn attention_layers_equal_pytorch() {
    let case = Case::load("attention", "module_fused");
    let layer = nn::Attention::new(&nn::AttentionConfig::new(8, 2), case.vb()).unwrap();
    case.check(layer.forward(case.x(), &AttentionInput::default()));
    let case = Case::load("attention", "module_cross");
    let config = nn::AttentionConfig {
        context_dim: Some(6),
        bias: Bias::Without,
        out_bias: Bias::Without,
        layout: nn::AttentionLayout::split("query", "key", "value", "out"),
        ..nn::AttentionConfig::new(8, 2)
    };
    let layer = nn::Attention::new(&config, case.vb()).unwrap();
    let input = AttentionInput {
        context: Some(case.input("context")),
        mask: Some(&case.tensors["mask"]),
        ..AttentionInput::default()
    };
    case.check(layer.forward(case.x(), &input));
}

#[test]
fn rotary_positions_equal_transformers() {
    for (name, layout) in
        [("rope_halves", nn::RopeLayout::Halves), ("rope_interleaved", nn::RopeLayout::Interleaved)]
    {
        let case = Case::load("position", name);
        let rope = nn::Rope::new(8, 1e4, 10, layout, &device()).unwrap();
        case.check(rope.turn(case.x(), 3));
    }
}

#[test]
fn fixed_positions_equal_the_masked_autoencoders() {
    let case = Case::load("position", "sincos_1d");
    case.check(nn::position::sincos_1d(10, 6, &device()));
    let case = Case::load("position", "sincos_2d");
    case.check(nn::position::sincos_2d(12, 4, 5, &device()));
}

#[test]
fn resized_positions_equal_pytorchs_bicubic() {
    use nn::position::{Antialias, interpolate_bicubic};
    for (name, to) in [("up", (9, 7)), ("down", (2, 3)), ("mixed", (7, 3))] {
        for (suffix, antialias) in [("", Antialias::Off), ("_antialias", Antialias::On)] {
            let case = Case::load("position", &format!("bicubic_{name}{suffix}"));
            case.check(interpolate_bicubic(case.input("table"), (4, 5), to, 1, antialias));
        }
    }
}
