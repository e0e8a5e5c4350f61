//! Encoders against outputs and gradients stored from timm and transformers.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod stored;

use candle::{Device, Tensor};
use carina::language::{Bert, BertConfig, SiglipText, T5};
use carina::nn::{Parameters, Pass};
use carina::vision::{
    BlockKind, DenseNetConfig, EfficientNetConfig, ImageEncoder, ImageEncoderConfig, ResNet,
    ResNetConfig, VisionEncoder, Vit, VitConfig, VitLayout,
};
use carina::weights::{Checkpoint, NameMap, Strictness, load};

use stored::{Expected, assert_close, assert_gradients, cases, device, folder};

fn check_vit(case: &str, config: &VitConfig, layout: VitLayout) {
    let folder = folder("vit", case);
    let weights = Checkpoint::open(&folder).unwrap();
    let (model, parameters, report) = Vit::load(config, layout, &weights, &device()).unwrap();
    assert!(report.complete(), "{report}");
    let expected = Expected::open(&folder);
    let pixels = candle::Var::from_tensor(&expected.get("pixels")).unwrap();
    let pass = Pass::inference();

    let (patches, grid) = model.embed(&pixels).unwrap();
    assert_eq!(grid, (4, 4));
    let tokens = model.encode(&patches, &pass).unwrap();
    let pooled = model.pool(&tokens).unwrap().unwrap();
    assert_close("tokens", &tokens, &expected.get("tokens"));
    assert_close("pooled", &pooled, &expected.get("pooled"));
    let out = model.forward(&pixels, &pass).unwrap();
    assert_eq!(out.tokens.dims(), [2, 16, 16]);
    assert_close("pooled by forward", &out.pooled.unwrap(), &expected.get("pooled"));

    let loss = ((tokens * expected.get("tokens_weight")).unwrap().sum_all().unwrap()
        + (pooled * expected.get("pooled_weight")).unwrap().sum_all().unwrap())
    .unwrap();
    let gradients = loss.backward().unwrap();
    assert_close("pixels", gradients.get(&pixels).unwrap(), &expected.get("pixels_gradient"));
    assert_gradients(&folder, layout.map_name(), &parameters, &gradients, |parameters| {
        Vit::new(config, parameters.builder()).unwrap();
    });

    // As it is used: without a graph, on weights laid out for speed.
    let still = Vit::new(config, parameters.frozen()).unwrap();
    let tokens = still.encode(&still.embed(&expected.get("pixels")).unwrap().0, &pass).unwrap();
    assert!(!tokens.track_op());
    assert_close("tokens in use", &tokens, &expected.get("tokens"));
    let pooled = still.pool(&tokens).unwrap().unwrap();
    assert_close("pooled in use", &pooled, &expected.get("pooled"));

    let (patches, grid) = model.embed(&expected.get("other_pixels")).unwrap();
    assert_eq!(grid, (6, 3));
    let tokens = model.encode(&patches, &pass).unwrap();
    assert_close("resized tokens", &tokens, &expected.get("other_tokens"));
    let pooled = model.pool(&tokens).unwrap().unwrap();
    assert_close("resized pooled", &pooled, &expected.get("other_pooled"));
}

fn check_timm(case: &str) {
    let text = std::fs::read_to_string(folder("vit", case).join("config.json")).unwrap();
    check_vit(case, &serde_json::from_str(&text).unwrap(), VitLayout::VitTimm);
}

fn check_hugging_face(case: &str, expected: VitLayout) {
    let path = folder("vit", case).join("config.json");
    let (config, layout) = VitConfig::from_hf_file(&path).unwrap();
    assert_eq!(layout, expected);
    let (_, opened, report) = Vit::open(folder("vit", case), &device()).unwrap();
    assert_eq!(report.numbers, opened.count());
    check_vit(case, &config, layout);
}

#[test]
fn timm_with_class_token_registers_and_layer_scale() {
    check_timm("timm_class");
}

#[test]
fn timm_with_mean_pooling_and_no_class_token() {
    check_timm("timm_mean");
}

#[test]
fn timm_with_attention_pooling_and_positions_on_patches_only() {
    check_timm("timm_attention");
}

#[test]
fn hugging_face_vit() {
    check_hugging_face("vit_hf", VitLayout::VitHf);
}

#[test]
fn clip_vision_tower() {
    check_hugging_face("clip_vision", VitLayout::ClipVision);
}

#[test]
fn siglip_vision_tower_with_its_attention_head() {
    check_hugging_face("siglip_vision", VitLayout::SiglipVision);
}

#[test]
fn dinov2() {
    check_hugging_face("dinov2_hf", VitLayout::Dinov2Hf);
}

#[test]
fn dinov2_with_registers() {
    check_hugging_face("dinov2_registers", VitLayout::Dinov2Hf);
}

fn check_bert(case: &str, offset: usize) {
    let folder = folder("bert", case);
    let config = BertConfig::from_hf_file(&folder.join("config.json")).unwrap();
    assert_eq!(config.position_offset, offset);
    let parameters = Parameters::new(0, &device());
    let model = Bert::new(&config, parameters.builder()).unwrap();
    let map = NameMap::named("bert").unwrap();
    let weights = Checkpoint::open(&folder).unwrap();
    assert!(load(&parameters, &weights, &map, Strictness::Strict).unwrap().complete());
    let expected = Expected::open(&folder);
    let (ids, mask) = (expected.get("ids"), expected.get("mask"));
    let tokens = model.forward(&ids, Some(&mask), &Pass::inference()).unwrap();
    let pooled = model.pool(&tokens).unwrap().unwrap();
    let real = mask.to_dtype(candle::DType::F32).unwrap().unsqueeze(2).unwrap();
    assert_close("tokens", &tokens.broadcast_mul(&real).unwrap(), &expected.get("tokens"));
    assert_close("pooled", &pooled, &expected.get("pooled"));
    let still = Bert::new(&config, parameters.frozen()).unwrap();
    let used = still.forward(&ids, Some(&mask), &Pass::inference()).unwrap();
    assert!(!used.track_op());
    assert_close("tokens in use", &used.broadcast_mul(&real).unwrap(), &expected.get("tokens"));
    let loss = ((tokens * expected.get("tokens_weight")).unwrap().sum_all().unwrap()
        + (pooled * expected.get("pooled_weight")).unwrap().sum_all().unwrap())
    .unwrap();
    let gradients = loss.backward().unwrap();
    assert_gradients(&folder, "bert", &parameters, &gradients, |parameters| {
        Bert::new(&config, parameters.builder()).unwrap();
    });
}

#[test]
fn bert_with_padding_and_pooler() {
    check_bert("bert", 0);
}

#[test]
fn roberta_with_its_shifted_positions() {
    check_bert("roberta", 2);
}

#[test]
fn the_text_tower_of_siglip() {
    let folder = folder("siglip_text", "two_layers");
    let (model, parameters, report) = SiglipText::open(&folder, &device()).unwrap();
    assert!(report.complete(), "{report}");
    let expected = Expected::open(&folder);
    let pass = Pass::inference();
    let still = SiglipText::new(model.config(), &parameters.frozen()).unwrap();
    for (prefix, model) in [("", &model), ("short_", &model), ("", &still)] {
        let get = |name: &str| expected.get(&format!("{prefix}{name}"));
        let tokens = model.forward(&get("ids"), None, &pass).unwrap();
        assert_close("tokens", &tokens, &get("tokens"));
        assert_close("pooled", &model.pool(&tokens).unwrap(), &get("pooled"));
    }
    let tokens = model.forward(&expected.get("ids"), None, &pass).unwrap();
    let pooled = model.pool(&tokens).unwrap();
    let loss = ((tokens * expected.get("tokens_weight")).unwrap().sum_all().unwrap()
        + (pooled * expected.get("pooled_weight")).unwrap().sum_all().unwrap())
    .unwrap();
    let gradients = loss.backward().unwrap();
    assert_gradients(&folder, "siglip_text", &parameters, &gradients, |parameters| {
        SiglipText::new(model.config(), &parameters.builder()).unwrap();
    });
}

fn check_t5(case: &str, gated: bool) {
    let folder = folder("t5", case);
    let (model, parameters, report) = T5::open(&folder, &device()).unwrap();
    assert!(report.complete(), "{report}");
    assert_eq!(model.config().gated, gated);
    let expected = Expected::open(&folder);
    let (ids, mask) = (expected.get("ids"), expected.get("mask"));
    let real = mask.to_dtype(candle::DType::F32).unwrap().unsqueeze(2).unwrap();
    let tokens = model.forward(&ids, Some(&mask), &Pass::inference()).unwrap();
    assert_close("tokens", &tokens.broadcast_mul(&real).unwrap(), &expected.get("tokens"));
    let still = T5::new(model.config(), parameters.frozen()).unwrap();
    let used = still.forward(&ids, Some(&mask), &Pass::inference()).unwrap();
    assert!(!used.track_op());
    assert_close("tokens in use", &used.broadcast_mul(&real).unwrap(), &expected.get("tokens"));
    let loss = (tokens * expected.get("tokens_weight")).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_gradients(&folder, "t5", &parameters, &gradients, |parameters| {
        T5::new(model.config(), parameters.builder()).unwrap();
    });
}

#[test]
fn the_encoder_of_t5() {
    check_t5("v1_0", false);
}

#[test]
fn the_encoder_of_t5_with_gates() {
    check_t5("v1_1", true);
}

#[test]
fn old_names_and_prefixes_load_alike() {
    let folder = folder("bert", "bert");
    let weights = Checkpoint::open(&folder).unwrap();
    let renamed: Vec<(String, Tensor)> = weights
        .keys()
        .map(|key| {
            let old = key.replace("LayerNorm.weight", "LayerNorm.gamma");
            let old = old.replace("LayerNorm.bias", "LayerNorm.beta");
            (format!("module.bert.{old}"), weights.tensor(key, &device()).unwrap())
        })
        .collect();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("model.safetensors");
    carina::weights::save(&renamed, &path, &std::collections::BTreeMap::new()).unwrap();
    let config = BertConfig::from_hf_file(&folder.join("config.json")).unwrap();
    let open = |checkpoint: &Checkpoint| {
        let parameters = Parameters::new(0, &device());
        Bert::new(&config, parameters.builder()).unwrap();
        let map = NameMap::named("bert").unwrap();
        let report = load(&parameters, checkpoint, &map, Strictness::Strict).unwrap();
        let word = parameters.get("embeddings.LayerNorm.weight").unwrap();
        (report.renamed, report.matched.len(), word.to_vec1::<f32>().unwrap())
    };
    let (none, matched, values) = open(&weights);
    let (all, same, again) = open(&Checkpoint::open(&path).unwrap());
    assert_eq!((none, all, same), (0, matched, matched));
    assert_eq!(values, again);
}

/// Compares a residual network with timm's, in inference and in training, statistics included.
fn check_resnet(case: &str, config: &ResNetConfig) {
    let path = folder("resnet", &format!("{case}.safetensors"));
    let stored = Expected(Checkpoint::open(path).unwrap());
    let parameters = Parameters::new(0, &device());
    let model = ResNet::new(config, parameters.builder()).unwrap();
    for (name, _) in parameters.all() {
        parameters.set(&name, &stored.get(&format!("weights.{name}"))).unwrap();
    }
    let pixels = candle::Var::from_tensor(&stored.get("pixels")).unwrap();
    let inferred = model.forward(&pixels, &Pass::inference()).unwrap();
    assert_close("inferred", &inferred.tokens, &stored.get("inferred"));
    let still = ResNet::new(config, parameters.frozen()).unwrap();
    let used = still.forward(&pixels.as_detached_tensor(), &Pass::inference()).unwrap();
    assert!(!used.tokens.track_op());
    assert_close("in use", &used.tokens, &stored.get("inferred"));
    let trained = model.forward(&pixels, &Pass::training(0, 0)).unwrap();
    assert_close("trained", &trained.tokens, &stored.get("trained"));
    assert_eq!(trained.tokens.dims()[1], trained.grid.iter().product::<usize>());
    assert_eq!(trained.tokens.dims()[2], model.dim());
    let loss = (&trained.tokens * stored.get("weight")).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_close("pixels", gradients.get(&pixels).unwrap(), &stored.get("pixels_gradient"));
    for (name, var) in parameters.trainable() {
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name} got no gradient"));
        assert_close(&name, gradient, &stored.get(&format!("gradients.{name}")));
    }
    for (name, var) in parameters.all() {
        if carina::nn::is_statistic(&name) {
            assert_close(&name, var.as_tensor(), &stored.get(&format!("moved.{name}")));
        }
    }
}

#[test]
fn residual_network_of_basic_blocks() {
    let config = ResNetConfig {
        block: BlockKind::Basic,
        depths: vec![1, 2],
        widths: vec![4, 8],
        ..ResNetConfig::default()
    };
    check_resnet("basic", &config);
}

#[test]
fn residual_network_of_bottlenecks() {
    let config = ResNetConfig { depths: vec![1, 1], widths: vec![2, 4], ..ResNetConfig::default() };
    check_resnet("bottleneck", &config);
}

/// Compares a convolutional trunk with the library's that `map` reads: strictly loaded, in
/// inference and in training, statistics included.
fn check_trunk(kind: &str, case: &str, config: &ImageEncoderConfig) {
    let folder = folder(kind, case);
    let read = |file: &str| {
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = ImageEncoder::new(config, parameters.builder()).unwrap();
        let stored = Checkpoint::open(folder.join(file)).unwrap();
        let map = NameMap::named(kind).unwrap();
        assert!(load(&parameters, &stored, &map, Strictness::Strict).unwrap().complete());
        (model, parameters)
    };
    let (model, parameters) = read("model.safetensors");
    let expected = Expected::open(&folder);
    let tokens = |key: &str| expected.get(key).flatten_from(2).unwrap().transpose(1, 2).unwrap();
    let pixels = candle::Var::from_tensor(&expected.get("pixels")).unwrap();
    let inferred = model.forward(&pixels, &Pass::inference()).unwrap();
    assert_close("inferred", &inferred.tokens, &tokens("inferred"));
    assert_close("pooled", &inferred.pooled.unwrap(), &expected.get("pooled"));

    let still = ImageEncoder::new(config, parameters.frozen()).unwrap();
    let used = still.forward(&pixels.as_detached_tensor(), &Pass::inference()).unwrap();
    assert!(!used.tokens.track_op());
    assert_close("in use", &used.tokens, &tokens("inferred"));
    assert_close("pooled in use", &used.pooled.unwrap(), &expected.get("pooled"));

    let trained = model.forward(&pixels, &Pass::training(0, 0)).unwrap();
    assert_close("trained", &trained.tokens, &tokens("trained"));
    assert_eq!(trained.tokens.dims()[2], model.dim());
    let loss = (&trained.tokens * tokens("weight")).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_close("pixels", gradients.get(&pixels).unwrap(), &expected.get("pixels_gradient"));
    let (_, step) = read("step.safetensors");
    for (name, var) in parameters.all() {
        let expected = step.get(&name).unwrap();
        if carina::nn::is_statistic(&name) {
            assert_close(&name, var.as_tensor(), expected.as_tensor());
        } else {
            let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name} got no gradient"));
            assert_close(&name, gradient, expected.as_tensor());
        }
    }
}

fn thin_efficientnet(depth: f64) -> EfficientNetConfig {
    let still = EfficientNetConfig { dropout: 0.0, drop_connect: 0.0, ..Default::default() };
    EfficientNetConfig { width: 0.1, depth, ..still }
}

#[test]
fn efficientnet_of_timm() {
    check_trunk("efficientnet", "timm", &ImageEncoderConfig::EfficientNet(thin_efficientnet(0.1)));
}

#[test]
fn efficientnet_with_the_padding_of_tensorflow() {
    let config = thin_efficientnet(0.1).as_in_tensorflow();
    check_trunk("efficientnet", "tensorflow", &ImageEncoderConfig::EfficientNet(config));
}

#[test]
fn efficientnet_of_torchvision() {
    let config = ImageEncoderConfig::EfficientNet(thin_efficientnet(0.3));
    check_trunk("efficientnet", "torchvision", &config);
}

fn thin_densenet(channels: usize, stem_width: usize, depths: &[usize]) -> ImageEncoderConfig {
    let depths = depths.to_vec();
    let thin =
        DenseNetConfig { channels, stem_width, growth: 4, expansion: 3, depths, dropout: 0.0 };
    ImageEncoderConfig::DenseNet(thin)
}

#[test]
fn densenet_of_torchvision() {
    check_trunk("densenet", "torchvision", &thin_densenet(3, 6, &[2, 3, 2, 2]));
}

#[test]
fn densenet_on_one_channel() {
    check_trunk("densenet", "one_channel", &thin_densenet(1, 16, &[3, 2]));
}

#[test]
fn every_registered_encoder_has_golden_cases_and_every_case_is_run() {
    let run = [include_str!("golden_encoders.rs"), include_str!("golden_volumes.rs")].concat();
    for block in ImageEncoderConfig::BLOCKS.iter().chain(&["Bert", "Perceiver"]) {
        let kind = block.to_lowercase();
        let found = cases(&kind);
        assert!(!found.is_empty(), "tests/golden/{kind}: found no case of the encoder {block}");
        for case in found {
            assert!(run.contains(&format!("\"{case}\"")), "tests/golden/{kind}/{case} is not run");
        }
    }
}
