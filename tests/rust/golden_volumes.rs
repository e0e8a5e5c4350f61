//! Encoders of volumes against what PyTorch gave, and against the output of the authors' own code.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod stored;

use candle::{Tensor, Var};
use carina::fusion::{Perceiver, PerceiverConfig};
use carina::nn::{Parameters, Pass, position};
use carina::vision::{
    CtScale, CtVit, CtVitConfig, CtVitSize, TokenGrid, VisionEncoder, Vit3d, Vit3dConfig,
};
use carina::weights::{Checkpoint, NameMap, Strictness, load};

use stored::{Expected, assert_close, assert_gradients, device, folder};

/// Parameters that `build` declares, strictly filled from the case's checkpoint.
fn filled<M>(kind: &str, case: &str, build: impl FnOnce(&Parameters) -> M) -> (M, Parameters) {
    let parameters = Parameters::blank(&device());
    let model = build(&parameters);
    let weights = Checkpoint::open(folder(kind, case).join("model.safetensors")).unwrap();
    let map = NameMap::named(kind).unwrap();
    assert!(load(&parameters, &weights, &map, Strictness::Strict).unwrap().complete());
    (model, parameters)
}

fn ctvit(
    dim: usize,
    depth: usize,
    heads: usize,
    scales: &[([usize; 3], [usize; 3])],
) -> CtVitConfig {
    let scales = scales.iter().map(|&(size, patch)| CtScale { size, patch }).collect();
    CtVitConfig { dim, depth, heads, scales, ..CtVitConfig::of(CtVitSize::Tiny) }
}

/// The class token and the patches of `out` in a row.
fn joined(out: &TokenGrid) -> Tensor {
    let class = out.pooled.as_ref().unwrap().unsqueeze(1).unwrap();
    Tensor::cat(&[&class, &out.tokens], 1).unwrap()
}

#[test]
fn ctvit_at_three_scales_with_and_without_voxel_sizes() {
    const VOXELS: [[f64; 3]; 2] = [[2.0, 0.53, 0.57], [1.0, 0.703_125, 0.71]];
    let scales = [([4, 6, 8], [2, 3, 4]), ([6, 8, 6], [3, 2, 2]), ([4, 6, 6], [4, 2, 3])];
    let config = ctvit(16, 2, 2, &scales);
    let (model, parameters) =
        filled("ctvit", "scales", |p| CtVit::new(&config, p.builder()).unwrap());
    let still = CtVit::new(&config, parameters.frozen()).unwrap();
    let expected = Expected::open(&folder("ctvit", "scales"));
    let pass = Pass::inference();
    let (mut loss, mut leaves) =
        (Tensor::zeros((), candle::DType::F32, &device()).unwrap(), Vec::new());
    for (i, (size, patch)) in scales.into_iter().enumerate() {
        let get = |key: &str| expected.get(&format!("{key}_{i}"));
        let pixels = Var::from_tensor(&get("pixels")).unwrap();
        let plain = model.forward(&pixels, &pass).unwrap();
        let sized = model.forward_sized(&pixels, &VOXELS, &pass).unwrap();
        assert_eq!(plain.grid, std::array::from_fn(|axis| size[axis] / patch[axis]));
        assert!(plain.spacing.is_none());
        let cell = |voxel: [f64; 3]| std::array::from_fn(|axis| voxel[axis] * patch[axis] as f64);
        assert_eq!(sized.spacing.as_ref().unwrap(), &VOXELS.map(cell));
        let (plain, sized) = (joined(&plain), joined(&sized));
        assert_close("plain", &plain, &get("plain"));
        assert_close("sized", &sized, &get("sized"));
        let used = still.forward_sized(&get("pixels"), &VOXELS, &pass).unwrap();
        assert!(!used.tokens.track_op());
        assert_close("in use", &joined(&used), &get("sized"));
        loss = (loss + ((plain + sized).unwrap() * get("weight")).unwrap().sum_all().unwrap())
            .unwrap();
        leaves.push(pixels);
    }
    let tokens = still.embed(&expected.get("pixels_2"), None).unwrap().0;
    let masked = still.encode(&tokens, Some(&expected.get("mask")), &pass).unwrap();
    assert_close("masked", &masked, &expected.get("masked"));
    let gradients = loss.backward().unwrap();
    for (i, pixels) in leaves.iter().enumerate() {
        let found = gradients.get(pixels).unwrap();
        assert_close("pixels", found, &expected.get(&format!("pixels_gradient_{i}")));
    }
    assert_gradients(&folder("ctvit", "scales"), "ctvit", &parameters, &gradients, |p| {
        CtVit::new(&config, p.builder()).unwrap();
    });
}

#[test]
fn ctvit_tokenizes_at_all_four_scales_as_the_authors_code_does() {
    let case = "released_tokenizer";
    let scales = [
        ([4, 32, 32], [2, 8, 8]),
        ([16, 32, 32], [8, 8, 8]),
        ([16, 32, 48], [8, 8, 16]),
        ([16, 48, 32], [8, 16, 8]),
    ];
    let config = ctvit(12, 1, 1, &scales);
    let parameters = Parameters::blank(&device());
    let model = CtVit::new(&config, parameters.builder()).unwrap();
    let weights = Checkpoint::open(folder("ctvit", case).join("model.safetensors")).unwrap();
    let map = NameMap::named("ctvit").unwrap();
    let report = load(&parameters, &weights, &map, Strictness::AllowMissing).unwrap();
    assert!(report.missing.iter().all(|name| name.starts_with("encoder_img.")), "{report}");
    let expected = Expected::open(&folder("ctvit", case));
    for i in 0..scales.len() {
        let (tokens, _) = model.embed(&expected.get(&format!("image_{i}")), None).unwrap();
        assert_close(&format!("scale {i}"), &tokens, &expected.get(&format!("tokens_{i}")));
    }
}

#[test]
fn ctvit_encodes_sized_volumes_as_the_authors_code_does() {
    let case = "released_encoder";
    let config = ctvit(48, 2, 4, &[([4, 32, 32], [2, 8, 8])]);
    let (model, _) = filled("ctvit", case, |p| CtVit::new(&config, p.builder()).unwrap());
    let expected = Expected::open(&folder("ctvit", case));
    let (pixels, pass) = (expected.get("pixels"), Pass::inference());
    assert_close("tokens", &model.embed(&pixels, None).unwrap().0, &expected.get("tokens"));
    let out = model.forward_sized(&pixels, &[[2.5, 0.57, 0.57]; 2], &pass).unwrap();
    assert_close("encoded", &joined(&out), &expected.get("encoded"));
}

#[test]
fn voxel_sizes_become_the_features_of_the_authors_code() {
    let expected = Expected::open(&folder("ctvit", "released_sizes"));
    let patches = [
        [32.0, 8.48, 8.48],
        [40.0, 9.12, 9.12],
        [4.0, 11.25, 11.25],
        [80.0, 14.4, 7.2],
        [2.5, 7.812_496, 15.624_992],
    ];
    for dim in [48, 96, 768, 1024, 1280] {
        for (i, patch) in patches.into_iter().enumerate() {
            let found = position::sincos_sizes(dim, &[patch], &device()).unwrap();
            assert_close("sizes", &found, &expected.get(&format!("size_embed_{dim}_{i}")));
        }
    }
}

#[test]
fn vit3d_of_radfm_at_every_depth() {
    let config = Vit3dConfig {
        patch: [4, 8, 8],
        tables: [16, 8, 8],
        dim: 48,
        depth: 2,
        heads: 2,
        head_dim: 16,
        mlp_dim: 96,
        ..Vit3dConfig::default()
    };
    let (model, parameters) =
        filled("vit3d", "radfm", |p| Vit3d::new(&config, p.builder()).unwrap());
    let still = Vit3d::new(&config, parameters.frozen()).unwrap();
    let expected = Expected::open(&folder("vit3d", "radfm"));
    // The authors' tokens come row by row, column by column, slice by slice.
    let ordered = |out: &TokenGrid| {
        let (batch, count, dim) = out.tokens.dims3().unwrap();
        let [d, h, w] = out.grid;
        let tokens = out.tokens.reshape((batch, d, h * w, dim)).unwrap().transpose(1, 2).unwrap();
        tokens.reshape((batch, count, dim)).unwrap()
    };
    let pass = Pass::inference();
    let grids = [("d4", [1, 4, 4]), ("d8", [2, 2, 3]), ("d16", [4, 2, 2]), ("d32", [8, 1, 2])];
    for (name, grid) in grids.into_iter().chain([("b2", [1, 3, 2])]) {
        let volume = expected.get(&format!("volume_{name}"));
        let out = model.forward(&volume, &pass).unwrap();
        assert_eq!(out.grid, grid);
        let tokens = expected.get(&format!("tokens_{name}"));
        assert_close(name, &ordered(&out), &tokens);
        let used = still.forward(&volume, &pass).unwrap();
        assert!(!used.tokens.track_op());
        assert_close("in use", &ordered(&used), &tokens);
        let voxels = vec![[2.0, 0.5, 0.7]; tokens.dims()[0]];
        let sized = still.forward_sized(&volume, &voxels, &pass).unwrap();
        assert_eq!(sized.spacing.unwrap(), vec![[8.0, 4.0, 5.6]; voxels.len()]);
    }
    let out = model.forward(&expected.get("volume_d4"), &pass).unwrap();
    let loss = (ordered(&out) * expected.get("weight")).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_gradients(&folder("vit3d", "radfm"), "vit3d", &parameters, &gradients, |p| {
        Vit3d::new(&config, p.builder()).unwrap();
    });
}

fn check_perceiver(case: &str, config: &PerceiverConfig) {
    let build = |p: &Parameters| Perceiver::new(config, &p.builder()).unwrap();
    let (model, parameters) = filled("perceiver", case, build);
    let expected = Expected::open(&folder("perceiver", case));
    let tokens = Var::from_tensor(&expected.get("tokens")).unwrap();
    let queries = model.forward(&tokens).unwrap();
    assert_close("queries", &queries, &expected.get("queries"));
    let still = Perceiver::new(config, &parameters.frozen()).unwrap();
    let used = still.forward(&expected.get("tokens")).unwrap();
    assert!(!used.track_op());
    assert_close("in use", &used, &expected.get("queries"));
    let loss = (queries * expected.get("weight")).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_close("tokens", gradients.get(&tokens).unwrap(), &expected.get("tokens_gradient"));
    assert_gradients(&folder("perceiver", case), "perceiver", &parameters, &gradients, |p| {
        build(p);
    });
}

#[test]
fn perceiver_of_radfm() {
    let two = PerceiverConfig {
        dim: 48,
        depth: 2,
        heads: 2,
        head_dim: 16,
        latents: 8,
        ..PerceiverConfig::default()
    };
    check_perceiver("two_layers", &two);
    let wide = PerceiverConfig { dim: 24, depth: 1, head_dim: 64, latents: 4, ..two };
    check_perceiver("wide_heads", &wide);
}
