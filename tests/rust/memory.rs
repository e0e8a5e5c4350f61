//! What a plan says against what is really allocated, byte by byte, by an allocator that counts.
#![cfg(not(feature = "python"))] // the extension has an allocator of its own
#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::unwrap_used)] // in the helpers of tests

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle::{DType, Device, Tensor};
use carina::Error;
use carina::language::Tokenizer;
use carina::nn::{Kind, Pass, Precision, record};
use carina::systems::{Level, Model, ModelSpec, Plan, Sketch, preset};
use carina::training::{Conditions, Objective, Stage, plan};

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

/// The most bytes that `work` held beyond what was there before.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed) - before
}

fn small(overrides: &str) -> ModelSpec {
    preset("elixr-small").unwrap().customised(128, Some(overrides)).unwrap()
}

const VIT: &str = r#"{"image": {"arch": "vit", "image_size": 128, "patch_size": 16, "channels": 1,
    "dim": 192, "depth": 6, "heads": 3, "pool": "none", "class_token": false, "drop_path": 0.1},
    "pool_heads": 3, "text": {"dim": 64, "depth": 2, "heads": 2, "mlp_dim": 128}}"#;

fn specs() -> [(&'static str, ModelSpec); 4] {
    let mut vit = preset("elixr-base").unwrap();
    vit = vit.customised(128, Some(VIT)).unwrap();
    let bottleneck = r#"{"image": {"block": "bottleneck", "depths": [1, 2, 1, 1]}}"#;
    [
        ("basic", small("{}")),
        ("bottleneck", small(bottleneck)),
        ("vit", vit),
        ("tiny", preset("elixr-tiny").unwrap().customised(96, None).unwrap()),
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
                    Ok::<_, Error>(towers.classify(&towers.gather(grid)?)?.sum_all()?)
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
