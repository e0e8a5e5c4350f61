//! Blocks that run again in the backward give the gradients of blocks that keep their graph.
#![allow(clippy::float_cmp, clippy::unwrap_used)] // the same bits, and the helpers of tests

use candle::{DType, Device, Tensor};
use carina::language::{Bert, BertConfig};
use carina::nn::{BatchNorm2d, Parameters, Pass, record};
use carina::vision::{Pool, VisionEncoder, Vit, VitConfig};

/// Loss and gradients, by name.
type Step = (f32, Vec<(String, Vec<f32>)>);

fn step(parameters: &Parameters, pass: &Pass, run: impl Fn(&Pass) -> Tensor) -> Step {
    let (loss, tape) = record(|| run(pass).exp()?.mean_all()).unwrap();
    let mut found = tape.backward(&loss).unwrap();
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let one = |(name, var): (String, candle::Var)| {
        let gradient = found.take(&var).unwrap_or_else(|| panic!("{name}: no gradient"));
        (name, values(&gradient))
    };
    (values(&loss.reshape(1).unwrap())[0], parameters.trainable().into_iter().map(one).collect())
}

fn same(parameters: &Parameters, run: impl Fn(&Pass) -> Tensor) {
    let whole = step(parameters, &Pass::training(3, 1), &run);
    let again = step(parameters, &Pass::training(3, 1).recomputing(), &run);
    assert_eq!(whole, again, "gradients differ");
    let other = step(parameters, &Pass::training(3, 2).recomputing(), &run);
    assert_ne!(whole.0, other.0, "nothing was left out at random");
    assert!(whole.1.iter().any(|(_, gradient)| gradient.iter().any(|g| *g != 0.0)));
}

fn pixels(batch: usize) -> Tensor {
    let values: Vec<f32> = (0..batch * 32 * 32).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_vec(values, (batch, 1, 32, 32), &Device::Cpu).unwrap()
}

#[test]
fn a_vision_transformer_replays_the_masks_of_dropout_and_stochastic_depth() {
    for layer_scale in [None, Some(0.5)] {
        let config = VitConfig {
            image_size: 32,
            patch_size: 8,
            channels: 1,
            dim: 24,
            depth: 4,
            heads: 3,
            layer_scale,
            dropout: 0.2,
            drop_path: 0.3,
            pool: Pool::Attention,
            ..VitConfig::default()
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = Vit::new(&config, parameters.builder()).unwrap();
        same(&parameters, |pass| {
            let out = model.forward(&pixels(5), pass).unwrap();
            let pooled = out.pooled.unwrap().sum_all().unwrap().reshape(1).unwrap();
            Tensor::cat(&[&out.tokens.flatten_all().unwrap(), &pooled], 0).unwrap()
        });
    }
}

#[test]
fn a_text_encoder_keeps_its_mask() {
    let config = BertConfig {
        vocab_size: 30,
        dim: 16,
        depth: 3,
        heads: 2,
        mlp_dim: 32,
        max_positions: 8,
        dropout: 0.2,
        ..BertConfig::default()
    };
    let parameters = Parameters::new(0, &Device::Cpu);
    let model = Bert::new(&config, parameters.builder()).unwrap();
    let ids = Tensor::new(&[[1u32, 2, 3, 4], [5, 6, 0, 0]], &Device::Cpu).unwrap();
    let mask = Tensor::new(&[[1u32, 1, 1, 1], [1, 1, 0, 0]], &Device::Cpu).unwrap();
    same(&parameters, |pass| model.forward(&ids, Some(&mask), pass).unwrap());
}

#[test]
fn running_statistics_move_once() {
    let parameters = Parameters::new(0, &Device::Cpu);
    let first = parameters.builder().get_with_hints((2, 1, 4, 4), "x", candle_nn::Init::Const(0.3));
    let first = first.unwrap();
    let layer = BatchNorm2d::new(2, 1e-5, 0.5, parameters.builder().pp("bn")).unwrap();
    let run = |pass: &Pass| {
        let layer = layer.clone();
        let x = (Tensor::arange(0f32, 64.0, &Device::Cpu).unwrap().reshape((2, 2, 4, 4)).unwrap())
            .broadcast_add(&first)
            .unwrap();
        let block = || pass.block(&x, move |x, pass| layer.forward(x, pass)).unwrap();
        let work = || block().sqr()?.sum_all();
        let (loss, tape) = record(work).unwrap();
        tape.backward(&loss).unwrap();
        parameters.get("bn.running_mean").unwrap().to_vec1::<f32>().unwrap()
    };
    let once = run(&Pass::training(0, 0));
    for name in ["bn.running_mean", "bn.running_var"] {
        let start = if name.ends_with("mean") { 0f32 } else { 1.0 };
        let start = Tensor::full(start, 2, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        parameters.set(name, &start).unwrap();
    }
    assert_eq!(run(&Pass::training(0, 0).recomputing()), once);
}

#[test]
fn without_a_graph_a_block_runs_as_always() {
    let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
    for pass in [Pass::inference().recomputing(), Pass::training(0, 0).recomputing()] {
        let y = pass.block(&x, |x, _| Ok((x * 2.0)?)).unwrap();
        assert_eq!(y.sum_all().unwrap().to_scalar::<f32>().unwrap(), 12.0);
        assert!(!y.track_op());
    }
}
