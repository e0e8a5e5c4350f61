//! The worker of `tests/compare/speed.py`: runs its rows, one timed call for each line it reads.
//!
//! Each row is a folder with `row.json`, `input.safetensors` and, for a model, its checkpoint.
//! The first call of a row also writes `carina.safetensors`, so that a fast wrong answer shows.

#![allow(clippy::print_stdout, clippy::print_stderr)] // it speaks to speed.py

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle::{D, DType, Device, Tensor, Var};
use carina::language::{Bert, BertConfig, Cache, Llama, LlamaConfig};
use carina::nn::{
    Attend, Bias, Conv2d, Conv2dConfig, LayerNorm, Linear, Parameters, Pass, Precision, attend,
    record,
};
use carina::training::{AdamW, AdamWConfig};
use carina::vision::{
    CtVit, CtVitConfig, ImageEncoder, ImageEncoderConfig, VisionEncoder, Vit, VitConfig, VitLayout,
};
use carina::weights::{Checkpoint, NameMap, Strictness, load};
use carina::{Error, Result};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Row {
    /// A vision transformer in timm's layout: pixels to pooled features.
    Vit {
        config: VitConfig,
        #[serde(default)]
        precision: Precision,
    },
    /// The same with a linear head: one step of forward, backward and `AdamW`.
    VitTrain {
        config: VitConfig,
        classes: usize,
        rate: f64,
        #[serde(default)]
        precision: Precision,
    },
    /// A convolutional trunk in the layout that `map` reads: pixels to the mean of its last map.
    Trunk { map: String, config: ImageEncoderConfig },
    /// CT volumes to the tokens before the first block.
    CtTokenizer { config: CtVitConfig },
    /// Token ids to states.
    Bert,
    /// A decoder: the logits after a prompt or, with `steps`, after so many tokens that follow it
    /// one by one.
    Llama {
        #[serde(default)]
        steps: usize,
        #[serde(default)]
        precision: Precision,
    },
    /// Queries, keys and values to their mix.
    Attention,
    /// One norm over the last axis.
    LayerNorm { dim: usize },
    /// One convolution without a bias.
    Conv { sizes: [usize; 6] },
    /// One step on tensors with given gradients.
    Adamw { rate: f64 },
}

type Run = Box<dyn FnMut() -> Result<Tensor>>;

/// Where rows run: `CARINA_DEVICE`, or the CPU.
fn device() -> Result<Device> {
    carina::device::open(&std::env::var("CARINA_DEVICE").unwrap_or("cpu".to_owned()))
}

/// Builds what a row runs; only the calls of the result are timed.
fn prepare(folder: &Path) -> Result<Run> {
    let text = std::fs::read_to_string(folder.join("row.json"))
        .map_err(|error| Error::value("row", format!("{}: {error}", folder.display())))?;
    let row: Row = serde_json::from_str(&text)
        .map_err(|error| Error::value("row", format!("{}: {error}", folder.display())))?;
    let input = Checkpoint::open(folder.join("input.safetensors"))?;
    let place = device()?;
    let get = |key: &str| input.tensor(key, &place);
    Ok(match row {
        Row::Vit { config, precision } => vit(folder, &config, precision, get("x")?)?,
        Row::VitTrain { config, classes, rate, precision } => {
            let data = (get("x")?, get("y")?);
            train(folder, &config, (classes, rate, precision), data)?
        }
        Row::Trunk { map, config } => trunk(folder, &map, &config, get("x")?)?,
        Row::CtTokenizer { config } => ct_tokenizer(folder, &config, get("x")?)?,
        Row::Bert => bert(folder, get("ids")?)?,
        Row::Llama { steps, precision } => llama(folder, get("ids")?, steps, precision)?,
        Row::Attention => {
            let (q, k, v) = (get("q")?, get("k")?, get("v")?);
            // The kernel's result is (B, N, H, E) in memory; both sides give what they make.
            Box::new(move || attend(&q, &k, &v, &Attend::default()))
        }
        Row::LayerNorm { dim } => {
            let parameters = Parameters::new(0, &device()?);
            let (norm, x) = (LayerNorm::new(dim, 1e-6, parameters.builder())?, get("x")?);
            Box::new(move || norm.forward(&x))
        }
        Row::Conv { sizes: [in_channels, out_channels, kernel, stride, padding, groups] } => {
            let config = Conv2dConfig {
                stride,
                padding,
                groups,
                in_channels,
                out_channels,
                kernel,
                bias: Bias::Without,
            };
            let parameters = Parameters::new(0, &device()?);
            let conv = Conv2d::new(&config, parameters.builder())?;
            parameters.set("weight", &get("weight")?)?;
            let x = get("x")?;
            Box::new(move || conv.forward(&x))
        }
        Row::Adamw { rate } => adamw(&input, rate)?,
    })
}

fn vit(folder: &Path, config: &VitConfig, precision: Precision, pixels: Tensor) -> Result<Run> {
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    let (_, parameters, _) = Vit::load(config, VitLayout::VitTimm, &weights, &device()?)?;
    let model = Vit::new(config, parameters.frozen_in(precision))?;
    Ok(Box::new(move || {
        let tokens = model.embed(&pixels)?.0;
        let tokens = model.encode(&tokens, &Pass::inference())?;
        model.pool(&tokens)?.ok_or_else(|| Error::value("row", "the model does not pool"))
    }))
}

fn trunk(folder: &Path, map: &str, config: &ImageEncoderConfig, pixels: Tensor) -> Result<Run> {
    let parameters = Parameters::new(0, &Device::Cpu);
    ImageEncoder::new(config, parameters.builder())?; // declares what to load
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    load(&parameters, &weights, &NameMap::named(map)?, Strictness::Strict)?;
    let model = ImageEncoder::new(config, parameters.frozen())?;
    Ok(Box::new(move || {
        let out = model.forward(&pixels, &Pass::inference())?;
        out.pooled.ok_or_else(|| Error::value("row", "the trunk gives no mean"))
    }))
}

fn ct_tokenizer(folder: &Path, config: &CtVitConfig, pixels: Tensor) -> Result<Run> {
    let parameters = Parameters::blank(&device()?);
    CtVit::new(config, parameters.builder())?; // declares what to load
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    load(&parameters, &weights, &NameMap::named("ctvit")?, Strictness::Strict)?;
    let model = CtVit::new(config, parameters.frozen())?;
    Ok(Box::new(move || Ok(model.embed(&pixels, None)?.0)))
}

fn train(
    folder: &Path,
    config: &VitConfig,
    (classes, rate, precision): (usize, f64, Precision),
    (pixels, classes_of): (Tensor, Tensor),
) -> Result<Run> {
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    let parameters = Parameters::new(0, &device()?);
    let config = config.clone();
    let build = move |parameters: &Parameters| -> Result<(Vit, Linear)> {
        let builder = parameters.builder_in(precision);
        let head = Linear::new(config.dim, classes, Bias::With, builder.pp("head"))?;
        Ok((Vit::new(&config, builder)?, head))
    };
    let (mut model, mut head) = build(&parameters)?;
    load(&parameters, &weights, &NameMap::named("plain")?, Strictness::Strict)?;
    let learning = parameters.trainable();
    let constants = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let mut optimiser = AdamW::new(&learning, constants)?;
    let mut step = 0;
    Ok(Box::new(move || {
        step += 1;
        let pass = Pass::training(0, step);
        if !pixels.device().is_cpu() {
            (model, head) = build(&parameters)?; // a GPU multiplies copies of the weights of now
        }
        let (loss, tape) = record(|| {
            let tokens = model.encode(&model.embed(&pixels)?.0, &pass)?;
            let pooled = model.pool(&tokens)?.ok_or_else(|| Error::value("row", "no pooling"))?;
            let logits = head.forward(&pooled)?.to_dtype(DType::F32)?;
            let level = logits.log_sum_exp(D::Minus1)?;
            Ok::<_, Error>((level - logits.gather(&classes_of, 1)?.squeeze(1)?)?.mean_all()?)
        })?;
        let mut found = tape.backward(&loss)?;
        let mut gradients = BTreeMap::new();
        for (name, var) in &learning {
            let gradient = found.take(var).ok_or_else(|| Error::value("row", name.clone()))?;
            gradients.insert(name.clone(), gradient);
        }
        optimiser.step(&gradients, rate, 1.0)?;
        Ok(loss.reshape(1)?)
    }))
}

fn bert(folder: &Path, ids: Tensor) -> Result<Run> {
    let config = BertConfig::from_hf_file(&folder.join("config.json"))?;
    let config = BertConfig { pooler: false, ..config };
    let parameters = Parameters::new(0, &device()?);
    Bert::new(&config, parameters.builder())?; // declares what to load
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    load(&parameters, &weights, &NameMap::named("bert")?, Strictness::AllowUnexpected)?;
    let model = Bert::new(&config, parameters.frozen())?;
    Ok(Box::new(move || model.forward(&ids, None, &Pass::inference())))
}

fn llama(folder: &Path, ids: Tensor, steps: usize, precision: Precision) -> Result<Run> {
    let config = LlamaConfig::from_hf_file(&folder.join("config.json"))?;
    let parameters = Parameters::blank(&device()?);
    Llama::new(&config, parameters.builder())?; // declares what to load
    let weights = Checkpoint::open(folder.join("model.safetensors"))?;
    load(&parameters, &weights, &NameMap::named("llama")?, Strictness::Strict)?;
    let model = Llama::sealed(&config, parameters.frozen_in(precision), Linear::seal)?;
    let prompt = ids.dim(1)? - steps;
    let mut cache = Cache::default();
    if steps > 0 {
        model.forward_after(&mut cache, &model.embed(&ids.narrow(1, 0, prompt)?)?, None)?;
    }
    Ok(Box::new(move || {
        cache.truncate(if steps > 0 { prompt } else { 0 })?;
        let mut states = None;
        for (first, count) in if steps > 0 {
            (prompt..prompt + steps).map(|i| (i, 1)).collect()
        } else {
            vec![(0, prompt)]
        } {
            let x = model.embed(&ids.narrow(1, first, count)?)?;
            states = Some(model.forward_after(&mut cache, &x, None)?);
        }
        let states = states.ok_or_else(|| Error::value("row", "no token"))?;
        model.logits(&states.narrow(1, states.dim(1)? - 1, 1)?)
    }))
}

fn adamw(input: &Checkpoint, rate: f64) -> Result<Run> {
    let mut learning = Vec::new();
    let mut gradients = BTreeMap::new();
    for key in input.keys().filter_map(|key| key.strip_prefix("w.")) {
        let weight = Var::from_tensor(&input.tensor(&format!("w.{key}"), &device()?)?)?;
        learning.push((key.to_owned(), weight));
        gradients.insert(key.to_owned(), input.tensor(&format!("g.{key}"), &device()?)?);
    }
    let constants = AdamWConfig { beta2: 0.999, weight_decay: 0.01, ..AdamWConfig::default() };
    let mut optimiser = AdamW::new(&learning, constants)?;
    let first = learning[0].1.clone();
    Ok(Box::new(move || {
        optimiser.step(&gradients, rate, 1.0)?;
        Ok(first.as_tensor().clone())
    }))
}

fn serve(root: &Path) -> Result<()> {
    let mut rows: BTreeMap<String, Run> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let name = line.map_err(|error| Error::value("stdin", error.to_string()))?;
        let folder: PathBuf = root.join(&name);
        if !rows.contains_key(&name) {
            rows.clear(); // one row's weights in memory at a time
            let mut run = prepare(&folder)?;
            let out = run()?.to_dtype(DType::F32)?.contiguous()?;
            let out = std::collections::HashMap::from([("out", out)]);
            candle::safetensors::save(&out, folder.join("carina.safetensors"))?;
            rows.insert(name.clone(), run);
        }
        let run = rows.get_mut(&name).ok_or_else(|| Error::value("row", name.clone()))?;
        let start = Instant::now();
        let out = run()?;
        out.device().synchronize()?; // a GPU answers before it has computed
        let seconds = start.elapsed().as_secs_f64();
        drop(out);
        println!("{seconds:e}");
        std::io::stdout().flush().map_err(|error| Error::value("stdout", error.to_string()))?;
    }
    Ok(())
}

fn main() {
    let root = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let Some(root) = root else {
        return; // `cargo bench` without a folder: tests/compare/speed.py gives one
    };
    if let Err(error) = serve(Path::new(&root)) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
