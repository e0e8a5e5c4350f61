//! Decoders against logits, gradients and texts stored from transformers.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod stored;

use candle::{DType, Tensor};
use carina::language::{Cache, Llama, LlamaConfig};
use carina::nn::{Parameters, Pass};
use carina::weights::{Checkpoint, NameMap, Strictness, load};
use stored::{Expected, assert_close, assert_gradients, cases, device, folder};

struct Case {
    name: String,
    map: &'static str,
    config: LlamaConfig,
    parameters: Parameters,
    model: Llama,
    expected: Expected,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = folder("llama", name);
        let config = LlamaConfig::from_hf_file(&folder.join("config.json")).unwrap();
        let parameters = Parameters::blank(&device());
        let model = Llama::new(&config, parameters.builder()).unwrap();
        let map = if config.tied { "llama_tied" } else { "llama" };
        let names = NameMap::named(map).unwrap();
        let weights = Checkpoint::open(&folder).unwrap();
        assert!(load(&parameters, &weights, &names, Strictness::Strict).unwrap().complete());
        let expected = Expected::open(&folder);
        Self { name: name.to_owned(), map, config, parameters, model, expected }
    }

    /// The model as it is used: without a graph.
    fn still(&self) -> Llama {
        Llama::new(&self.config, self.parameters.frozen()).unwrap()
    }

    /// What counts of logits (B, T, V): those at real tokens.
    fn real(&self, logits: &Tensor) -> Tensor {
        let mask = self.expected.get("mask").to_dtype(DType::F32).unwrap();
        logits.broadcast_mul(&mask.unsqueeze(2).unwrap()).unwrap()
    }

    fn check_training(&self) {
        let (ids, mask) = (self.expected.get("ids"), self.expected.get("mask"));
        for pass in [Pass::training(0, 0), Pass::training(0, 0).recomputing()] {
            let x = self.model.embed(&ids).unwrap();
            let states = self.model.forward(&x, Some(&mask), &pass).unwrap();
            let logits = self.real(&self.model.logits(&states).unwrap());
            assert_close("logits", &logits, &self.expected.get("logits"));
            let loss = self.model.loss(&states, &self.expected.get("labels")).unwrap();
            assert_close("loss", &loss.reshape(1).unwrap(), &self.expected.get("loss"));
            if !pass.recomputes() {
                let gradients = loss.backward().unwrap();
                let folder = folder("llama", &self.name);
                assert_gradients(&folder, self.map, &self.parameters, &gradients, |parameters| {
                    Llama::new(&self.config, parameters.builder()).unwrap();
                });
                continue;
            }
            let plain = loss_of(&self.model, &ids, &mask, &self.expected).backward().unwrap();
            let again = pass.backward(&loss).unwrap();
            for (name, var) in self.parameters.trainable() {
                let found = again.get(&var).unwrap().unwrap();
                assert_close(&name, &found, plain.get(&var).unwrap());
            }
        }
    }

    fn check_cache(&self) {
        let (ids, mask) = (self.expected.get("ids"), self.expected.get("mask"));
        let model = self.still();
        let x = model.embed(&ids).unwrap();
        for pieces in [vec![13], vec![5, 1, 1, 6], vec![1; 13]] {
            let (mut cache, mut parts) = (Cache::default(), Vec::new());
            for piece in pieces {
                let start = cache.len();
                let part = |x: &Tensor| x.narrow(1, start, piece).unwrap();
                let states = model.forward_after(&mut cache, &part(&x), Some(&part(&mask)));
                parts.push(model.logits(&states.unwrap()).unwrap());
            }
            let logits = self.real(&Tensor::cat(&parts, 1).unwrap());
            assert!(!logits.track_op());
            assert_close("logits in pieces", &logits, &self.expected.get("logits"));
        }
    }
}

fn loss_of(model: &Llama, ids: &Tensor, mask: &Tensor, expected: &Expected) -> Tensor {
    let pass = Pass::training(0, 0);
    let states = model.forward(&model.embed(ids).unwrap(), Some(mask), &pass).unwrap();
    model.loss(&states, &expected.get("labels")).unwrap()
}

#[test]
fn logits_losses_and_gradients_are_those_of_transformers() {
    let all = cases("llama");
    assert_eq!(all.len(), 5, "{all:?}");
    all.iter().for_each(|name| Case::open(name).check_training());
}

#[test]
fn texts_read_in_pieces_give_the_logits_of_the_whole() {
    cases("llama").iter().for_each(|name| Case::open(name).check_cache());
}
