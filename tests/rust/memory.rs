//! What a plan says against what is really allocated, byte by byte, by an allocator that counts.
#![cfg(not(feature = "python"))] // the extension has an allocator of its own
#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::unwrap_used)] // in the helpers of tests

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle::{DType, Device, Tensor};
use carina::Error;
use carina::fusion::{Negatives, Pairing, Words};
use carina::language::{Decoder, Generation, Line, LlamaConfig, Prompts, Tokenizer};
use carina::nn::{Account, Kind, Outline, Parameters, Pass, Precision, Shadow, Work, record};
use carina::progress::Progress;
use carina::random::Random;
use carina::systems::{
    DecoderSketch, Graft, Grafting, Lesson, Level, Model, ModelSpec, Plan, Sketch, preset,
};
use carina::training::{Conditions, Objective, Stage, plan};
use carina::vision::{
    CtScale, CtVitConfig, CtVitSize, ImageEncoder, ImageEncoderConfig, VisionEncoder, Vit3dConfig,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Only one test at a time may allocate.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: the system's allocator does the work; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held beyond what was there before: the least of some runs, for a
/// thread that joins in for the first time takes what it keeps for itself.
fn peak(work: impl Fn()) -> usize {
    let run = || {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        work();
        PEAK.load(Ordering::Relaxed) - before
    };
    [run(), run(), run()].into_iter().min().unwrap_or_default()
}

fn small(overrides: &str) -> ModelSpec {
    preset("elixr-small").unwrap().customised(128, Some(overrides)).unwrap()
}

const VIT: &str = r#"{"image": {"arch": "vit", "image_size": 128, "patch_size": 16, "channels": 1,
    "dim": 192, "depth": 6, "heads": 3, "pool": "none", "class_token": false, "drop_path": 0.1},
    "pool_heads": 3, "text": {"dim": 64, "depth": 2, "heads": 2, "mlp_dim": 128}}"#;

const EFFICIENTNET: &str = r#"{"image": {"arch": "efficientnet", "width": 0.4, "depth": 0.5},
    "pool_heads": 4, "text": {"dim": 64, "depth": 2, "heads": 2, "mlp_dim": 128}}"#;
const TENSORFLOW: &str = r#"{"image": {"arch": "efficientnet", "width": 0.3, "depth": 0.3,
    "padding": "same", "head": false, "cell": 2, "drop_connect": 0.0},
    "pool_heads": 4, "text": {"dim": 64, "depth": 2, "heads": 2, "mlp_dim": 128}}"#;
const DENSENET: &str = r#"{"image": {"arch": "densenet", "stem_width": 32, "growth": 16,
    "depths": [3, 6, 4], "dropout": 0.1},
    "pool_heads": 4, "text": {"dim": 64, "depth": 2, "heads": 2, "mlp_dim": 128}}"#;

fn specs() -> [(&'static str, ModelSpec); 8] {
    let mut vit = preset("elixr-base").unwrap();
    vit = vit.customised(128, Some(VIT)).unwrap();
    let bottleneck = r#"{"image": {"block": "bottleneck", "depths": [1, 2, 1, 1]}}"#;
    [
        ("basic", small("{}")),
        ("bottleneck", small(bottleneck)),
        ("vit", vit),
        ("efficientnet", small(EFFICIENTNET)),
        ("tensorflow", small(TENSORFLOW)),
        ("densenet", small(DENSENET)),
        ("tiny", preset("elixr-tiny").unwrap().customised(96, None).unwrap()),
        ("qformer", preset("elixr-qformer").unwrap().customised(96, None).unwrap()),
    ]
}

/// What is to be said when a prediction is off by more than `tolerance`.
fn off(name: &str, predicted: usize, measured: usize, tolerance: f64) -> Option<String> {
    let ratio = predicted as f64 / measured as f64;
    println!("{name}: {predicted} predicted, {measured} measured: {ratio:.3}");
    ((ratio - 1.0).abs() > tolerance).then(|| format!("{name}: {predicted} / {measured}"))
}

fn model(spec: &ModelSpec) -> Model {
    Model::create(spec.clone(), Tokenizer::builtin().unwrap(), 0, &Device::Cpu).unwrap()
}

fn beside(plan: &Plan, kinds: &[Kind]) -> usize {
    plan.total - kinds.iter().map(|kind| plan.of(*kind)).sum::<usize>()
}

#[test]
fn a_forward_pass_holds_what_is_planned() {
    let _alone = ALONE.lock();
    let mut wrong = Vec::new();
    for (name, spec) in specs() {
        let model = model(&spec);
        for batch in [1, 5] {
            let sketch = Sketch::new(model.spec(), None, Precision::F32).unwrap();
            let plan = sketch.encode(batch, Level::Pooled, Some(batch)).unwrap();
            let pixels = Tensor::zeros(&sketch.batch(batch), DType::F32, &Device::Cpu).unwrap();
            let run = || drop(model.features(&pixels, Level::Pooled, Precision::F32).unwrap());
            run(); // lays the weights out
            let there = [Kind::Weights, Kind::Data, Kind::Packed];
            wrong.extend(off(&format!("{name} {batch}"), beside(&plan, &there), peak(run), 0.05));
        }
        let texts: Vec<String> = vec!["effusion ".repeat(600); 7];
        let plan = Sketch::new(model.spec(), None, Precision::F32).unwrap().encode_text(7).unwrap();
        let run = || drop(model.embed_text(&texts).unwrap());
        run();
        let there = [Kind::Weights, Kind::Packed];
        wrong.extend(off(&format!("{name} texts"), beside(&plan, &there), peak(run), 0.1));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_step_of_training_holds_what_is_planned() {
    let _alone = ALONE.lock();
    let mut wrong = Vec::new();
    for (name, spec) in specs() {
        let mut model = model(&spec);
        for (recompute, batch) in [(false, 1), (false, 6), (true, 6)] {
            let mut stage = Stage::preset("supervised").unwrap();
            stage.batch_size = batch;
            stage.objective = Objective::Supervised {
                uncertain: carina::metrics::Policy::default(),
                balance: false,
                smoothing: 0.0,
            };
            model.set_findings(&["a".to_owned()]).unwrap();
            let conditions =
                Conditions { recompute, studies: Some(batch), ..Conditions::default() };
            let plan = plan(model.spec(), &stage, &conditions).unwrap();
            let [c, h, w] = model.output_shape().unwrap();
            let pixels = Tensor::zeros((batch, c, h, w), DType::F32, &Device::Cpu).unwrap();
            let pass = Pass::training(0, 0);
            let pass = if recompute { pass.recomputing() } else { pass };
            let run = || {
                let (loss, tape) = record(|| {
                    let towers = model.towers();
                    let grid = towers.encode_image(&pixels, &pass)?;
                    Ok::<_, Error>(towers.classify(&towers.gather(grid, &pass)?)?.sum_all()?)
                })
                .unwrap();
                drop(tape.backward(&loss).unwrap());
            };
            run(); // the threads take what they keep for themselves
            let there = [Kind::Weights, Kind::Optimiser, Kind::Data];
            let name = format!("{name} {batch} recompute={recompute}");
            wrong.extend(off(&name, beside(&plan, &there), peak(run), 0.05));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_decoder_holds_what_is_planned() {
    let _alone = ALONE.lock();
    let mut wrong = Vec::new();
    let config = LlamaConfig { depth: 3, max_positions: 600, ..LlamaConfig::preset("1m").unwrap() };
    let folder = tempfile::tempdir().unwrap();
    let single = Decoder::create(&config, 0, &Device::Cpu).unwrap();
    single.save(folder.path()).unwrap();
    for precision in [Precision::F32, Precision::Bf16, Precision::Q8_0] {
        let decoder = Decoder::open(folder.path(), precision, &Device::Cpu, &Progress::silent());
        let decoder = decoder.unwrap();
        let sketch = DecoderSketch::new(decoder.config(), precision).unwrap();
        let there = [Kind::Weights, Kind::Packed];
        for (batch, tokens, new, beams) in [(1, 100, 1, 1), (3, 200, 30, 1), (2, 120, 150, 3)] {
            let prompts = vec![vec![7u32; tokens]; batch];
            let options = Generation { max_new_tokens: new, beams, ..Generation::default() };
            let plan = sketch.write(batch, tokens, &options).unwrap();
            let run = || {
                let prompts = Prompts::of_tokens(decoder.model(), &prompts).unwrap();
                let progress = Progress::default();
                drop(decoder.model().generate(&prompts, &options, 0, &progress).unwrap());
            };
            run(); // lays the weights out
            let name = format!("{precision:?} {batch} × {tokens} + {new}, {beams} beams");
            wrong.extend(off(&name, beside(&plan, &there), peak(run), 0.1));
        }
        let text = "effusion ".repeat(300);
        let tokens = decoder.longest(&[&text]).unwrap();
        let plan = sketch.score(4, tokens);
        let run = || drop(decoder.score(&vec![&text; 4], 4, &Progress::default()).unwrap());
        run();
        wrong.extend(off(&format!("{precision:?} scores"), beside(&plan, &there), peak(run), 0.1));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_step_of_the_stage_of_a_q_former_holds_what_is_planned() {
    let _alone = ALONE.lock();
    let larger = r#"{"queries": 32, "text": {"dim": 192, "depth": 3, "mlp_dim": 768}}"#;
    let spec = preset("elixr-qformer").unwrap().customised(96, Some(larger)).unwrap();
    let model = model(&spec);
    let mut wrong = Vec::new();
    for (recompute, batch) in [(false, 4), (false, 16), (true, 16)] {
        let mut stage = Stage::preset("qformer").unwrap();
        stage.batch_size = batch;
        let conditions = Conditions { recompute, studies: Some(batch), ..Conditions::default() };
        let plan = plan(model.spec(), &stage, &conditions).unwrap();
        let pixels = Tensor::zeros((batch, 1, 96, 96), DType::F32, &Device::Cpu).unwrap();
        let pass = Pass::training(0, 0);
        let pass = if recompute { pass.recomputing() } else { pass };
        let texts: Vec<String> = (0..batch).map(|i| format!("effusion {i} ").repeat(90)).collect();
        let tokens = model.tokenize(&texts).unwrap();
        let (ids, mask) = tokens.to_tensors(&Device::Cpu).unwrap();
        let same = Tensor::eye(batch, DType::F32, &Device::Cpu).unwrap();
        let run = || {
            let (loss, tape) = record(|| {
                let still = model.still(Precision::F32)?;
                let grid = still.encode_image(&pixels, &Pass::inference())?;
                let draw = |chances: &_| Negatives::draw(chances, |i| Random::new(0, &[i as u64]));
                let losses = model.towers().qformer()?.losses(
                    &grid.tokens,
                    Words { ids: &ids, mask: &mask },
                    &same,
                    &Pairing::new(5),
                    draw,
                    &pass,
                )?;
                Ok::<_, Error>(((losses.contrast + losses.matching)? + losses.caption)?)
            })
            .unwrap();
            drop(tape.backward(&loss).unwrap());
        };
        run();
        let there = [Kind::Weights, Kind::Optimiser, Kind::Data, Kind::Packed];
        let name = format!("qformer {batch} recompute={recompute}");
        wrong.extend(off(&name, beside(&plan, &there), peak(run), 0.1));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_step_of_the_stages_of_a_decoder_holds_what_is_planned() {
    let _alone = ALONE.lock();
    let spec = preset("elixr-qformer").unwrap().customised(96, None).unwrap();
    let mut model = model(&spec);
    let config = LlamaConfig { depth: 3, ..LlamaConfig::preset("1m").unwrap() };
    let decoder = Decoder::create(&config, 0, &Device::Cpu).unwrap();
    model.graft(&decoder, &Grafting::default()).unwrap();
    let (own, _) = model.grafted().unwrap();
    let from = model.spec().elixr().query_dim();
    let still = model.frozen_graft(Precision::F32).unwrap();
    let mut wrong = Vec::new();
    for (name, recompute, batch) in
        [("graft", false, 3), ("graft", false, 12), ("graft", true, 12), ("language", false, 12)]
    {
        let mut stage = Stage::preset(name).unwrap();
        stage.batch_size = batch;
        let Objective::Instruct { per_study, max_tokens, blind, .. } = stage.objective else {
            panic!("{name} has no instructions")
        };
        let conditions = Conditions { recompute, studies: Some(batch), ..Conditions::default() };
        let plan = plan(model.spec(), &stage, &conditions).unwrap();
        let pixels = Tensor::zeros((batch, 1, 96, 96), DType::F32, &Device::Cpu).unwrap();
        let pass = Pass::training(0, 0);
        let pass = if recompute { pass.recomputing() } else { pass };
        let lesson = |number: usize| Lesson {
            line: Line {
                words: vec![7; max_tokens],
                images: if blind { Vec::new() } else { vec![(1, number / per_study)] },
            },
            answer: 1,
            kind: 0,
        };
        let lessons: Vec<Lesson> = (0..batch * per_study).map(lesson).collect();
        let run = || {
            let (loss, tape) = record(|| {
                let trains = stage.clone();
                let learning = model.parameters().learning_part(move |name| trains.trains(name));
                let graft = if blind {
                    Graft::new(own, from, &learning)?
                } else {
                    Graft::of(Graft::adapter(own, from, &learning)?, still.decoder().clone())
                };
                let films = if blind {
                    None
                } else {
                    let seen = model.still(Precision::F32)?.image(&pixels)?;
                    Some(graft.adapt(&seen.queries)?)
                };
                graft.loss(&lessons, films.as_ref(), &pass)
            })
            .unwrap();
            drop(tape.backward(&loss).unwrap());
        };
        run();
        let there = [Kind::Weights, Kind::Optimiser, Kind::Data, Kind::Packed];
        let name = format!("{name} {batch} recompute={recompute}");
        // A plan keeps to the safe side: it is 7 to 13 % above.
        wrong.extend(off(&name, beside(&plan, &there), peak(run), 0.15));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the tokens of two volumes hold beside the weights, planned and measured.
fn volume(config: &ImageEncoderConfig, [s, h, w]: [usize; 3], pass: &Pass) -> [usize; 2] {
    let learns = pass.trains();
    let account = Account::default();
    let outline = Outline::default().builder(learns, Precision::F32);
    let sketch = ImageEncoder::new(config, outline).unwrap();
    let pixels = account.input(Kind::Data, &[2, 1, s, h, w]);
    let tokens = sketch.trace(&pixels, pass).unwrap();
    if learns {
        // The loss is candle's: its gradient goes by way of zeros and sums, of the tokens and of all.
        let backward = 4 * size_of::<f32>() * tokens.dims().iter().product::<usize>();
        let loss = Shadow::made(&[1], &[&tokens], Work { backward, ..Work::default() });
        loss.backward(pass).unwrap();
    }
    let peak = account.peak();
    let there = peak[Kind::Data as usize] + peak[Kind::Packed as usize];

    let parameters = Parameters::new(0, &Device::Cpu);
    let learning = ImageEncoder::new(config, parameters.builder()).unwrap();
    let still = ImageEncoder::new(config, parameters.frozen()).unwrap();
    let pixels = Tensor::zeros((2, 1, s, h, w), DType::F32, &Device::Cpu).unwrap();
    let run = || {
        if !learns {
            drop(still.forward(&pixels, pass).unwrap());
            return;
        }
        let loss = || Ok::<_, Error>(learning.forward(&pixels, pass)?.tokens.sum_all()?);
        let (loss, tape) = record(loss).unwrap();
        drop(tape.backward(&loss).unwrap());
    };
    (0..4).for_each(|_| run()); // until all threads have what they keep for themselves
    [peak.iter().sum::<usize>() - there, self::peak(run)]
}

#[test]
fn volumes_hold_what_is_planned() {
    let _alone = ALONE.lock();
    let scale = CtScale { size: [16, 128, 96], patch: [4, 8, 8] };
    let scales = vec![CtScale { size: [8; 3], patch: [4; 3] }, scale];
    let config =
        CtVitConfig { scales, mlp_ratio: 2, drop_path: 0.1, ..CtVitConfig::of(CtVitSize::Tiny) };
    let other = Vit3dConfig {
        channels: 1,
        patch: [4, 8, 8],
        dim: 96,
        depth: 2,
        heads: 2,
        head_dim: 48,
        mlp_dim: 192,
        ..Vit3dConfig::default()
    };
    let trunks = [ImageEncoderConfig::CtVit(config), ImageEncoderConfig::Vit3d(other)];
    let mut wrong = Vec::new();
    let training = || Pass::training(0, 0);
    for (config, name) in trunks.iter().zip(["ctvit", "vit3d"]) {
        for pass in [Pass::inference(), training(), training().recomputing()] {
            let [planned, measured] = volume(config, scale.size, &pass);
            wrong.extend(off(&format!("{name} {pass:?}"), planned, measured, 0.05));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
