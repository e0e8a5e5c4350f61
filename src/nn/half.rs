//! Half precision where the kernels are, in the one place that knows of it: a layer computes in
//! float32 and rounds once, at its end. Elsewhere layers compute in the type of their matrices.

use candle::{DType, Tensor};

use crate::{Error, Result, kernels};

/// What `layer` makes of `tensors` in float32, rounded to their type, where that is bfloat16 or
/// float16 and the kernels reach them; `None` where the layer takes them as they are.
///
/// Gradients pass through the widening and the rounding. Fails where the kernels reach tensors of
/// several types.
pub(super) fn widened<const N: usize>(
    name: &str,
    tensors: [(&str, &Tensor); N],
    layer: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    let Some((&(_, first), rest)) = tensors.split_first() else { return Ok(None) };
    for (part, x) in rest {
        same_type(&format!("{name} {part}"), x, first)?;
    }
    if !matches!(first.dtype(), DType::BF16 | DType::F16) || !kernels::reach(first) {
        return Ok(None);
    }
    let wide = tensors.iter().map(|(_, x)| x.to_dtype(DType::F32));
    let wide = wide.collect::<candle::Result<Vec<Tensor>>>()?;
    let y = layer(std::array::from_fn(|i| &wide[i]))?;
    Ok(Some(y.to_dtype(first.dtype())?))
}

/// Refuses `x`, called `name`, where the kernels reach it and it is of another type than the
/// layer's input.
pub(super) fn same_type(name: &str, x: &Tensor, input: &Tensor) -> Result<()> {
    if x.dtype() == input.dtype() || !kernels::reach(input) {
        return Ok(());
    }
    let [found, expected] = [x, input].map(|x| x.dtype().as_str());
    Err(Error::value(name, format!("found {found}, expected {expected}, the type of the input")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle::{Device, Var};
    use candle_nn::VarBuilder;

    use super::super::testing::{flat, noise};
    use super::super::{
        Activation, Attend, Attention, AttentionConfig, AttentionInput, BatchNorm2d, Block,
        BlockConfig, CrossEntropy, Linear, Parameters, Pass, Rope, RopeLayout, Window,
        adaptive_avg_pool2d, attend, avg_pool2d, conv2d, layer_norm, linear, max_pool2d, rms_norm,
        shared_cross_entropy, softmax,
    };
    use super::*;
    use crate::random::Random;

    /// Asserts that the layer gives, and learns, what it does in float32, rounded once.
    fn rounds_once(shapes: &[&[usize]], layer: impl Fn(&[Var]) -> Result<Tensor>) {
        for dtype in [DType::BF16, DType::F16] {
            let mut random = Random::new(3, &[]);
            let mut variable = |shape: &&[usize]| {
                Var::from_tensor(&noise(shape, &mut random).to_dtype(dtype).unwrap()).unwrap()
            };
            let narrow: Vec<Var> = shapes.iter().map(&mut variable).collect();
            let widen = |x: &Var| Var::from_tensor(&x.to_dtype(DType::F32).unwrap()).unwrap();
            let wide: Vec<Var> = narrow.iter().map(widen).collect();
            let run = |inputs: &[Var]| {
                let out = layer(inputs).unwrap();
                let probe = noise(out.dims(), &mut Random::new(4, &[])).to_dtype(dtype).unwrap();
                let single = |x: &Tensor| x.to_dtype(DType::F32).unwrap();
                let sum = (single(&out) * single(&probe)).unwrap().sum_all().unwrap();
                let store = sum.backward().unwrap();
                let learnt = inputs.iter().map(|x| store.get(x).unwrap().clone());
                [out].into_iter().chain(learnt).collect::<Vec<Tensor>>()
            };
            for (found, exact) in run(&narrow).iter().zip(run(&wide)) {
                assert_eq!(found.dtype(), dtype);
                assert_eq!(flat(found), flat(&exact.to_dtype(dtype).unwrap()));
            }
        }
    }

    #[test]
    fn half_precision_is_computed_in_float32_and_rounded_once() {
        rounds_once(&[&[5, 33], &[33], &[33]], |x| layer_norm(&x[0], &x[1], &x[2], 1e-5));
        rounds_once(&[&[5, 33], &[33]], |x| rms_norm(&x[0], &x[1], 1e-5));
        rounds_once(&[&[5, 33]], |x| softmax(&x[0]));
        rounds_once(&[&[5, 33]], |x| Activation::Gelu.apply(&x[0]));
        rounds_once(&[&[5, 33], &[5, 33]], |x| Activation::Silu.gated(&x[0], &x[1]));
        rounds_once(&[&[5, 33], &[7, 33]], |x| linear(&x[0], &x[1], None));
        rounds_once(&[&[5, 33], &[7, 33], &[7]], |x| linear(&x[0], &x[1], Some(&x[2])));
        let window = Window { kernel: 3, stride: 1, padding: 1 };
        rounds_once(&[&[2, 3, 6, 5], &[4, 3, 3, 3]], |x| conv2d(&x[0], &x[1], None, window, 1));
        rounds_once(&[&[2, 3, 6, 5]], |x| max_pool2d(&x[0], 3, 2, 1));
        rounds_once(&[&[2, 3, 6, 5]], |x| avg_pool2d(&x[0], 3, 2, 1));
        rounds_once(&[&[2, 3, 6, 5]], |x| adaptive_avg_pool2d(&x[0], 4, 1));
    }

    #[test]
    fn half_precision_attends_and_loses_as_float32_does() {
        let heads: [&[usize]; 4] = [&[2, 2, 6, 8], &[2, 2, 9, 8], &[2, 2, 9, 4], &[6, 9]];
        rounds_once(&heads[..3], |x| attend(&x[0], &x[1], &x[2], &Attend::default()));
        rounds_once(&heads, |x| {
            attend(&x[0], &x[1], &x[2], &Attend { bias: Some(&x[3]), ..Attend::default() })
        });
        let rope = Rope::new(8, 1e4, 9, RopeLayout::Halves, &Device::Cpu).unwrap();
        rounds_once(&heads[..1], |x| rope.turn(&x[0], 3));
        let targets = Tensor::new(&[2i64, -100, 6, 0], &Device::Cpu).unwrap();
        let loss = CrossEntropy::default();
        rounds_once(&[&[4, 7]], |x| loss.of_logits(&x[0], &targets));
        rounds_once(&[&[4, 5], &[7, 5]], |x| loss.of_states(&x[0], &x[1], None, &targets));
        rounds_once(&[&[4, 7]], |x| shared_cross_entropy(&x[0], &x[0].detach().abs()?));
    }

    #[test]
    fn whole_layers_run_in_the_precision_of_their_parameters() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let pass = Pass::training(0, 0);
        let film = noise(&[2, 3, 4, 5], &mut Random::new(1, &[])).to_dtype(DType::BF16).unwrap();
        let tokens = noise(&[2, 5, 8], &mut Random::new(1, &[])).to_dtype(DType::BF16).unwrap();
        let run = |vb: VarBuilder, film: &Tensor, tokens: &Tensor| {
            let norm = BatchNorm2d::new(3, 1e-3, 0.5, vb.pp("norm"))?;
            norm.forward(film, &pass)?;
            let film = norm.forward(film, &Pass::inference())?;
            let block = Block::new(&BlockConfig::new(8, 2), vb.pp("block"))?;
            Ok([film, block.forward(tokens, &AttentionInput::default(), &pass)?])
        };
        let single = |x: &Tensor| x.to_dtype(DType::F32).unwrap();
        let exact: Result<_> = run(parameters.builder(), &single(&film), &single(&tokens));
        let narrow = |var: &Var| var.to_dtype(DType::BF16).unwrap();
        let all: HashMap<String, Tensor> = Parameters::all(&parameters)
            .iter()
            .map(|(name, var)| match name.as_str() {
                "norm.running_mean" => (name.clone(), narrow(var).zeros_like().unwrap()),
                "norm.running_var" => (name.clone(), narrow(var).ones_like().unwrap()),
                _ => (name.clone(), narrow(var)),
            })
            .collect();
        let vb = VarBuilder::from_tensors(all, DType::BF16, &Device::Cpu);
        for (found, exact) in run(vb, &film, &tokens).unwrap().iter().zip(exact.unwrap()) {
            assert_eq!(found.dtype(), DType::BF16);
            let error = (single(found) - exact).unwrap().abs().unwrap().max_all().unwrap();
            assert!(error.to_scalar::<f32>().unwrap() < 0.06, "{error}");
        }
    }

    #[test]
    fn mixed_types_are_refused_by_the_name_of_the_parameter() {
        let half = |shape: &[usize]| Tensor::zeros(shape, DType::BF16, &Device::Cpu).unwrap();
        let single = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let says = |result: Result<Tensor>| result.unwrap_err().to_string();
        let mixed = ": found f32, expected bf16, the type of the input";
        let (x, w) = (half(&[2, 3]), single(&[3]));
        let of = |name: &str| format!("{name}{mixed}");
        assert_eq!(says(layer_norm(&x, &w, &half(&[3]), 1e-5)), of("layer norm weight"));
        assert_eq!(says(layer_norm(&x, &half(&[3]), &w, 1e-5)), of("layer norm bias"));
        assert_eq!(says(rms_norm(&x, &w, 1e-5)), of("RMS norm weight"));
        assert_eq!(says(Activation::Silu.gated(&x, &single(&[2, 3]))), of("gated values"));
        assert_eq!(says(linear(&x, &single(&[4, 3]), None)), of("linear weight"));
        assert_eq!(says(linear(&x, &half(&[4, 3]), Some(&single(&[4])))), of("linear bias"));
        let layer = Linear::from_tensors(half(&[4, 3]), None);
        assert_eq!(says(layer.forward_onto(&x, &single(&[2, 4]))), of("residual"));
        let (film, window) = (half(&[1, 3, 4, 4]), Window { kernel: 1, stride: 1, padding: 0 });
        let weight = half(&[2, 3, 1, 1]);
        let conv = |weight: &Tensor, bias: &Tensor| conv2d(&film, weight, Some(bias), window, 1);
        assert_eq!(says(conv(&single(&[2, 3, 1, 1]), &half(&[2]))), of("conv2d weight"));
        assert_eq!(says(conv(&weight, &single(&[2]))), of("conv2d bias"));
        let heads = half(&[1, 1, 2, 4]);
        let keys = single(&[1, 1, 2, 4]);
        let plain = Attend::default();
        assert_eq!(says(attend(&heads, &keys, &heads, &plain)), of("attention keys"));
        assert_eq!(says(attend(&heads, &heads, &keys, &plain)), of("attention values"));
        let biased = Attend { bias: Some(&single(&[2, 2])), ..plain };
        assert_eq!(says(attend(&heads, &heads, &heads, &biased)), of("attention bias"));
        let parameters = Parameters::new(0, &Device::Cpu);
        let vb = parameters.builder();
        let norm = BatchNorm2d::new(3, 1e-5, 0.1, vb.pp("norm")).unwrap();
        assert_eq!(says(norm.forward(&film, &Pass::inference())), of("batch norm weight"));
        let attention = Attention::new(&AttentionConfig::new(4, 1), vb.pp("attn")).unwrap();
        let input = AttentionInput::default();
        assert_eq!(says(attention.forward(&half(&[1, 2, 4]), &input)), of("linear weight"));
        let targets = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
        let loss = CrossEntropy::default();
        let head = single(&[4, 3]);
        assert_eq!(
            says(loss.of_states(&x, &head, None, &targets)),
            of("cross-entropy head weight")
        );
        let shares = single(&[2, 3]);
        assert_eq!(says(shared_cross_entropy(&x, &shares)), of("cross-entropy target shares"));
    }
}
