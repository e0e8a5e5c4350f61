//! Decoders against logits, gradients and texts stored from transformers.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod stored;

use candle::{DType, Tensor};
use carina::language::{Cache, Generation, Llama, LlamaConfig, Prompts, Stopping};
use carina::nn::{Linear, Parameters, Pass, Precision, record};
use carina::progress::Progress;
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
        let run = |pass: &Pass| {
            let x = self.model.embed(&ids).unwrap();
            let states = self.model.forward(&x, Some(&mask), pass).unwrap();
            let logits = self.real(&self.model.logits(&states).unwrap());
            assert_close("logits", &logits.detach(), &self.expected.get("logits"));
            self.model.loss(&states, &self.expected.get("labels"))
        };
        let loss = run(&Pass::training(0, 0)).unwrap();
        assert_close("loss", &loss.reshape(1).unwrap(), &self.expected.get("loss"));
        let gradients = loss.backward().unwrap();
        let folder = folder("llama", &self.name);
        assert_gradients(&folder, self.map, &self.parameters, &gradients, |parameters| {
            Llama::new(&self.config, parameters.builder()).unwrap();
        });
        let (loss, tape) = record(|| run(&Pass::training(0, 0).recomputing())).unwrap();
        let mut again = tape.backward(&loss).unwrap();
        for (name, var) in self.parameters.trainable() {
            assert_close(&name, &again.take(&var).unwrap(), gradients.get(&var).unwrap());
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
            cache.truncate(9).unwrap();
            let rest = |x: &Tensor| x.narrow(1, 9, 4).unwrap();
            let states = model.forward_after(&mut cache, &rest(&x), Some(&rest(&mask))).unwrap();
            let again = model.logits(&states).unwrap();
            let real = rest(&mask).to_dtype(DType::F32).unwrap().unsqueeze(2).unwrap();
            let again = again.broadcast_mul(&real).unwrap();
            assert_close("logits read again", &again, &rest(&self.expected.get("logits")));
        }
    }
}

#[test]
fn logits_losses_and_gradients_are_those_of_transformers() {
    let all = cases("llama");
    assert_eq!(all.len(), 5, "{all:?}");
    for name in &all {
        Case::open(name).check_training();
    }
}

#[test]
fn texts_read_in_pieces_give_the_logits_of_the_whole() {
    for name in &cases("llama") {
        Case::open(name).check_cache();
    }
}

impl Case {
    /// Prompts of the two stored rows, the second of which is left-padded.
    fn prompts(&self) -> Vec<Vec<u32>> {
        let [ids, mask] = ["prompts", "prompt_mask"].map(|key| {
            let rows = self.expected.get(key).to_dtype(DType::U32).unwrap();
            rows.to_vec2::<u32>().unwrap()
        });
        let real = |(ids, mask): (&Vec<u32>, &Vec<u32>)| {
            ids.iter().zip(mask).filter(|(_, real)| **real == 1).map(|(id, _)| *id).collect()
        };
        ids.iter().zip(&mask).map(real).collect()
    }

    /// What the library wrote, up to the end token.
    fn written(&self, key: &str) -> Vec<Vec<u32>> {
        let rows = self.expected.get(key).to_dtype(DType::U32).unwrap().to_vec2::<u32>().unwrap();
        let before = |row: &Vec<u32>| row.iter().copied().take_while(|id| *id != 2).collect();
        rows.iter().map(before).collect()
    }

    fn check_texts(&self) {
        let model = self.still();
        let prompts = self.prompts();
        let plain = || Generation { max_new_tokens: 20, ..Generation::default() };
        let beam = |beams| Generation { beams, ..plain() };
        let ways = [
            ("greedy", plain()),
            ("greedy_rules", Generation { repetition_penalty: 1.3, no_repeat_ngram: 2, ..plain() }),
            ("beam4", beam(4)),
            ("beam3_long", Generation { length_penalty: 2.0, ..beam(3) }),
            ("beam3_short", Generation { length_penalty: -1.0, ..beam(3) }),
            (
                "beam3_early",
                Generation { stopping: Stopping::Early, no_repeat_ngram: 3, ..beam(3) },
            ),
            ("beam3_never", Generation { stopping: Stopping::Never, ..beam(3) }),
        ];
        for (key, options) in ways {
            let what = format!("{} {key}", self.name);
            let expected = self.written(key);
            // The library counts the padding of a prompt as tokens that repeat.
            let rules = options.no_repeat_ngram > 0;
            let count = if rules { 1 } else { prompts.len() };
            let read = Prompts::of_tokens(&model, &prompts[..count]).unwrap();
            let found = model.generate(&read, &options, 0, &Progress::silent()).unwrap();
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(&found.tokens, expected, "{what}, row {i}");
                assert_eq!(found.ended, expected.len() < 20, "{what}, row {i}");
            }
            if options.beams > 1 {
                let scores = self.expected.get(&format!("{key}_scores")).to_vec1::<f32>().unwrap();
                for (found, expected) in found.iter().zip(scores) {
                    let off = found.score.unwrap() - f64::from(expected);
                    assert!(off.abs() < 1e-3, "{what}: {found:?}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn greedy_and_beam_search_write_what_transformers_writes() {
    for name in &cases("llama") {
        Case::open(name).check_texts();
    }
}

#[test]
fn draws_are_the_same_for_a_seed_however_many_prompts_share_a_batch() {
    let case = Case::open("llama");
    let (model, prompts) = (case.still(), case.prompts());
    let options = Generation {
        max_new_tokens: 15,
        temperature: 0.8,
        top_k: Some(20),
        top_p: 0.9,
        seed: 5,
        ..Generation::default()
    };
    let run = |prompts: &[Vec<u32>], row, options: &Generation| {
        let prompts = Prompts::of_tokens(&model, prompts).unwrap();
        model.generate(&prompts, options, row, &Progress::silent()).unwrap()
    };
    let both = run(&prompts, 0, &options);
    assert_eq!(both, run(&prompts, 0, &options));
    assert_eq!(both[..1], run(&prompts[..1], 0, &options));
    assert_eq!(both[1..], run(&prompts[1..], 1, &options));
    assert_ne!(both, run(&prompts, 0, &Generation { seed: 6, ..options.clone() }));
    let stopped = Generation { stop: vec![both[0].tokens[2]], ..options };
    let first = &run(&prompts, 0, &stopped)[0];
    assert!(first.ended && both[0].tokens.starts_with(&first.tokens) && first.tokens.len() < 3);
}

#[test]
fn writing_beyond_the_positions_is_refused_and_a_stop_is_heard() {
    let case = Case::open("llama");
    let (model, prompts) = (case.still(), case.prompts());
    let prompts = Prompts::of_tokens(&model, &prompts).unwrap();
    let options = Generation { max_new_tokens: 59, ..Generation::default() };
    let error = model.generate(&prompts, &options, 0, &Progress::silent()).unwrap_err();
    let expected = "max_new_tokens: found 59 after a prompt of 6 tokens, expected at most 58: the \
                    decoder has 64 positions";
    assert_eq!(error.to_string(), expected);
    let progress = Progress::silent();
    progress.stop();
    let options = Generation::default();
    let stopped =
        model.generate(&prompts, &Generation { max_new_tokens: 5, ..options }, 0, &progress);
    assert!(matches!(stopped, Err(carina::Error::Interrupted)));
    let error = Prompts::of_tokens(&model, &[vec![60u32]]).unwrap_err().to_string();
    assert_eq!(error, "prompt 0: found token 60, expected less than 60");
    let none: [Vec<u32>; 0] = [];
    let none = Prompts::of_tokens(&model, &none).unwrap();
    assert!(
        model.generate(&none, &Generation::default(), 0, &Progress::silent()).unwrap().is_empty()
    );
}

#[test]
fn vectors_among_the_words_are_read_like_words() {
    let case = Case::open("qwen2_late_window");
    let (model, prompts) = (case.still(), case.prompts());
    let options = Generation { max_new_tokens: 8, ..Generation::default() };
    let run =
        |prompts: &Prompts| model.generate(prompts, &options, 0, &Progress::silent()).unwrap();
    let ids = Tensor::new(prompts[0].as_slice(), &device()).unwrap().unsqueeze(0).unwrap();
    let vectors = Prompts::of_vectors(model.embed(&ids).unwrap(), None).unwrap();
    let words = Prompts::of_tokens(&model, &prompts[..1]).unwrap();
    assert_eq!(run(&vectors), run(&words));
}

#[test]
fn fewer_bits_give_nearly_the_same_logits_in_a_part_of_the_memory() {
    if !device().is_cpu() {
        return;
    }
    let case = Case::open("llama3_biased_tied");
    let ids = case.expected.get("ids");
    let run = |model: &Llama| {
        let states = model.forward(&model.embed(&ids).unwrap(), None, &Pass::inference()).unwrap();
        model.logits(&states).unwrap()
    };
    let exact = run(&case.still());
    let size = exact.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    for (precision, allowed) in [(Precision::Bf16, 0.05), (Precision::Q8_0, 0.05)] {
        let vb = case.parameters.frozen_in(precision);
        let mut sealed = Llama::sealed(&case.config, vb, Linear::seal).unwrap();
        let off = (run(&sealed) - &exact).unwrap().sqr().unwrap().mean_all().unwrap();
        let off = off.to_scalar::<f32>().unwrap().sqrt();
        assert!(off > 0.0 || precision == Precision::Bf16, "{precision:?} changes nothing");
        assert!(off < allowed * size, "{precision:?}: {off} of {size}");
        sealed.linears_mut()[0].seal().unwrap(); // again is nothing
    }
    let mut learning = Llama::new(&case.config, case.parameters.builder()).unwrap();
    let error = learning.linears_mut()[0].seal().unwrap_err().to_string();
    assert!(error.contains("found a weight that learns"), "{error}");
}
