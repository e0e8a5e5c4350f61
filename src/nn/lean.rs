//! Functions that keep no graph: their backward runs them again.
//!
//! A layer composed of candle's operations keeps what each of them gave until the loss is gone:
//! six tensors for a norm, and for attention some of the size of all scores. Here a layer keeps
//! its inputs only.
//!
//! Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, at
//! the grain of one layer.

use candle::{CpuStorage, CudaStorage, CustomOp3, Layout, Shape, Tensor, Var};

use super::given::{Given, as_candle};
use crate::Result;

/// What `forward` gives for one to three inputs, with the gradients of `composed`.
///
/// Both compute the same; `forward` runs without a graph and may use operations that have no
/// gradient.
pub(super) fn lean(
    inputs: &[&Tensor],
    forward: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    composed: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let still: Vec<Tensor> = inputs.iter().map(|input| input.detach()).collect();
    let result = forward(&still)?;
    if !inputs.iter().any(|input| input.track_op()) {
        return Ok(result);
    }
    let result = Given::new(&result)?;
    let op = Again { composed, inputs: inputs.len(), result };
    // candle has operations of three inputs: for a missing one the last comes again.
    let input = |i: usize| inputs[i.min(inputs.len() - 1)];
    Ok(input(0).apply_op3(input(1), input(2), op)?)
}

struct Again<F> {
    composed: F,
    /// How many of the three inputs are different ones.
    inputs: usize,
    /// What the run without a graph gave.
    result: Given,
}

impl<F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync> Again<F> {
    fn gradients(&self, inputs: &[&Tensor], gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let leaf = |input: &&Tensor| Ok(Var::from_tensor(&input.detach())?);
        let leaves: Vec<Var> = inputs.iter().map(leaf).collect::<Result<_>>()?;
        let tensors: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
        let result = (self.composed)(&tensors)?;
        // The gradient of the sum of products is the gradient itself.
        let mut store = (result * gradient)?.sum_all()?.backward()?;
        Ok(leaves.iter().map(|leaf| store.remove(leaf)).collect())
    }
}

impl<F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync> CustomOp3 for Again<F> {
    fn name(&self) -> &'static str {
        "layer without a graph"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle::Result<(CpuStorage, Shape)> {
        self.result.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle::Result<(CudaStorage, Shape)> {
        self.result.cuda()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let inputs = &[a, b, c][..self.inputs];
        let gradients = self.gradients(inputs, gradient).map_err(as_candle)?;
        let mut gradients = gradients.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next(), next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    fn product(parts: &[Tensor]) -> Result<Tensor> {
        Ok(parts[0].exp()?.broadcast_mul(&parts[1])?)
    }

    #[test]
    fn gradients_are_those_of_the_graph_that_is_not_kept() {
        let x = Var::new(&[[0.5f32, -1.0], [2.0, 0.1]], &Device::Cpu).unwrap();
        let y = Var::new(&[3f32, -2.0], &Device::Cpu).unwrap();
        let gradients = |z: Tensor| {
            let store = (z.sqr().unwrap() + &z).unwrap().sum_all().unwrap().backward().unwrap();
            let of = |var: &Var| store.get(var).unwrap().flatten_all().unwrap();
            [of(&x), of(&y)].map(|g| g.to_vec1::<f32>().unwrap())
        };
        let kept = product(&[x.as_tensor().clone(), y.as_tensor().clone()]).unwrap();
        let leaner = lean(&[&x, &y], product, product).unwrap();
        assert_eq!(gradients(kept), gradients(leaner));
    }

    #[test]
    fn one_input_gets_its_gradient_once_and_none_learning_gives_no_graph() {
        let x = Var::new(&[0.5f32, -1.0], &Device::Cpu).unwrap();
        let square = |parts: &[Tensor]| Ok(parts[0].sqr()?);
        let y = lean(&[&x], square, square).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(store.get(&x).unwrap().to_vec1::<f32>().unwrap(), [1.0, -2.0]);
        let still = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        assert!(!lean(&[&still], square, square).unwrap().track_op());
    }
}
