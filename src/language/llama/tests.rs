use super::*;
use crate::nn::Parameters;

fn config() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 20,
        dim: 8,
        depth: 2,
        heads: 4,
        kv_heads: 2,
        mlp_dim: 12,
        max_positions: 16,
        window: Some(3),
        family: Family::Mistral,
        ..LlamaConfig::default()
    }
}

#[test]
fn gradients_of_the_vectors_agree_with_finite_differences() {
    let parameters = Parameters::new(0, &Device::Cpu);
    let model = Llama::new(&config(), parameters.builder()).unwrap();
    let targets = Tensor::new(&[[1i64, 2, 3, 4, -100, 6]], &Device::Cpu).unwrap();
    let loss = |x: &Tensor| {
        let states = model.forward(x, None, &Pass::training(0, 0)).unwrap();
        model.loss(&states, &targets).unwrap()
    };
    let x: Vec<f32> = (0..48).map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0).collect();
    let tensor = |x: &[f32]| Tensor::from_slice(x, (1, 6, 8), &Device::Cpu).unwrap();
    let var = candle::Var::from_tensor(&tensor(&x)).unwrap();
    let gradient = loss(var.as_tensor()).backward().unwrap().get(&var).unwrap().clone();
    let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for i in 0..x.len() {
        let at = |by: f32| {
            let mut x = x.clone();
            x[i] += by;
            f64::from(loss(&tensor(&x)).to_scalar::<f32>().unwrap())
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((slope - f64::from(gradient[i])).abs() < 2e-3, "{i}: {slope} {}", gradient[i]);
    }
}

#[test]
fn misshapen_vectors_and_targets_are_refused() {
    let parameters = Parameters::new(0, &Device::Cpu);
    let model = Llama::new(&config(), parameters.builder()).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let error = |x: &Tensor| model.forward(x, None, &Pass::inference()).unwrap_err().to_string();
    let long = error(&zeros(&[1, 17, 8]));
    assert_eq!(long, "token vectors: expected shape (B, 1 to 16, 8), got [1, 17, 8]");
    assert!(error(&zeros(&[1, 0, 8])).contains("1 to 16"));
    assert!(error(&zeros(&[1, 4, 7])).contains("got [1, 4, 7]"));
    let ids = Tensor::new(&[20u32], &Device::Cpu).unwrap();
    assert!(model.embed(&ids).unwrap_err().to_string().contains("expected shape (B, T)"));
    let one = Tensor::new(&[[1i64]], &Device::Cpu).unwrap();
    let error = model.loss(&zeros(&[1, 1, 8]), &one).unwrap_err().to_string();
    assert!(error.contains("of at least two tokens"), "{error}");
    let mut cache = Cache::default();
    model.forward_after(&mut cache, &zeros(&[2, 3, 8]), None).unwrap();
    let error = model.forward_after(&mut cache, &zeros(&[1, 1, 8]), None).unwrap_err();
    assert!(error.to_string().contains("expected shape (2, N, D)"), "{error}");
    assert!(cache.choose(&[2]).unwrap_err().to_string().contains("expected less than the 2"));
    let long = model.forward_after(&mut cache, &zeros(&[2, 14, 8]), None).unwrap_err();
    assert!(long.to_string().contains("1 to 13"), "{long}");
}
