//! The Q-Former against LAVIS: what it makes of images and texts, its losses, their gradients and
//! its captions (`tests/golden/qformer/make.py`).

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod stored;

use std::path::{Path, PathBuf};

use candle::{DType, Tensor, Var};
use carina::fusion::{
    Alignment, Captioning, Gather, Negatives, Pairing, QFormer, QFormerConfig, Words, similarity,
};
use carina::language::BertConfig;
use carina::nn::{Parameters, Pass, record};
use carina::progress::Progress;
use carina::weights::Checkpoint;

use stored::{Expected, assert_close, device, folder};

/// The token that starts a caption, and the one that ends it.
const START: u32 = 199;
const END: u32 = 3;

fn config(folder: &Path) -> QFormerConfig {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let raw: serde_json::Value = serde_json::from_str(&text).unwrap();
    let size = |name: &str| usize::try_from(raw[name].as_u64().unwrap()).unwrap();
    let body = BertConfig {
        vocab_size: size("vocab"),
        dim: size("hidden"),
        depth: size("layers"),
        heads: size("heads"),
        mlp_dim: size("intermediate"),
        max_positions: size("max_position"),
        ..BertConfig::default()
    };
    QFormerConfig {
        body,
        queries: size("queries"),
        image_dim: size("encoder_width"),
        image_norm: false,
        embedding: size("projection"),
        ..QFormerConfig::default()
    }
}

struct Case {
    folder: PathBuf,
    model: QFormer,
    parameters: Parameters,
    expected: Expected,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = folder("qformer", name);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let (model, parameters, report) =
            QFormer::load(&config(&folder), &checkpoint, &device()).unwrap();
        assert!(report.complete(), "{report}");
        let dropped = ["decoder.bias", "decoder.weight"];
        assert!(report.dropped.iter().zip(dropped).all(|(key, end)| key.ends_with(end)));
        let expected = Expected::open(&folder);
        Self { folder, model, parameters, expected }
    }

    fn integers(&self, name: &str) -> Tensor {
        self.expected.get(name).to_dtype(DType::U32).unwrap()
    }

    fn close(&self, what: &str, found: &Tensor) {
        assert_close(what, found, &self.expected.get(what));
    }
}

fn check_passes(case: &Case, model: &QFormer) {
    let pass = Pass::inference();
    let image = model.prepare(&case.expected.get("image_embeds")).unwrap();
    let (ids, mask) = (case.integers("text_ids"), case.integers("text_mask"));
    let words = Words { ids: &ids, mask: &mask };

    let (looked, keys) = model.look_keeping(&image, None, &pass).unwrap();
    case.close("looked", &looked);
    assert_close("looked again", &model.look(&image, None, &pass).unwrap(), &looked);
    let partly = case.integers("image_mask_partial");
    case.close("looked_partly", &model.look(&image, Some(&partly), &pass).unwrap());
    let read = model.read(words, &pass).unwrap();
    case.close("read", &read);

    let met = model.meet(&image, None, words, &pass).unwrap();
    let matches = model.matches(&met).unwrap();
    case.close("matches", &matches);
    case.close("score", &matches.mean(1).unwrap().narrow(1, 1, 1).unwrap().squeeze(1).unwrap());

    let images = model.embed_image(&looked).unwrap();
    let texts = model.embed_text(&read.narrow(1, 0, 1).unwrap().squeeze(1).unwrap()).unwrap();
    case.close("images", &images);
    case.close("texts", &texts);
    case.close("similarity", &similarity(&images, &texts).unwrap());

    let told = case.integers("decoder_ids");
    let told = Words { ids: &told, mask: &mask };
    case.close("told", &model.logits(&model.tell(&keys, told, &pass).unwrap()).unwrap());
    let loss = model.caption_loss(&keys, words, &Pairing::new(START), &pass).unwrap();
    case.close("told_loss", &loss);
}

fn check_captions(case: &Case, model: &QFormer) {
    let image = model.prepare(&case.expected.get("image_embeds")).unwrap();
    // The authors' 12 and 4 tokens count the start.
    let options = Captioning { start: START, end: END, least: 3, most: 11 };
    let written = model.caption(&image, None, &options, &Progress::silent()).unwrap();
    let expected = case.integers("captions").to_vec2::<u32>().unwrap();
    for (written, expected) in written.iter().zip(&expected) {
        let end = expected[1..].iter().position(|token| *token == END);
        assert_eq!(written, &expected[1..end.map_or(expected.len(), |end| end + 1)]);
    }
}

#[test]
fn the_three_masks_and_the_heads_equal_lavis() {
    for name in ["forward_2_layers", "forward_4_layers"] {
        let case = Case::open(name);
        check_passes(&case, &case.model);
        // As it is used: without a graph, on weights laid out for speed.
        let still = QFormer::new(case.model.config(), &case.parameters.frozen()).unwrap();
        check_passes(&case, &still);
        check_captions(&case, &case.model);
        check_captions(&case, &still);
    }
}

/// Compares the gradients of a loss with the stored ones: their lengths, and some numbers.
fn check_gradients(
    case: &Case,
    image: &Var,
    file: &str,
    gradient: impl Fn(&Var) -> Option<Tensor>,
) {
    let stored = Checkpoint::open(case.folder.join(format!("{file}.safetensors"))).unwrap();
    let stored = Expected(stored);
    let number = |x: &Tensor| x.max_all().unwrap().to_scalar::<f32>().unwrap();
    let lengths = stored.0.keys().filter(|key| key.ends_with("|length"));
    let longest = lengths.map(|key| number(&stored.get(key))).fold(0.0, f32::max);
    let mut compared = 0;
    let named =
        case.parameters.trainable().into_iter().chain([("image_embeds".to_owned(), image.clone())]);
    for (name, var) in named {
        let part = ["bert.", "cls."].iter().any(|part| name.starts_with(part));
        let key = if part { format!("Qformer.{name}") } else { name.clone() };
        let found = gradient(&var).unwrap_or_else(|| var.zeros_like().unwrap());
        let found = found.flatten_all().unwrap();
        let length = found.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().reshape(1).unwrap();
        if !stored.0.keys().any(|stored| stored == format!("{key}|some")) {
            let nothing = length.zeros_like().unwrap();
            assert_close(&format!("{file} {name}, which learns nothing"), &length, &nothing);
            continue;
        }
        let (some, expected) =
            (stored.get(&format!("{key}|some")), stored.get(&format!("{key}|length")));
        let every = found.elem_count().div_ceil(200) as u32;
        let places: Vec<u32> = (0..some.elem_count() as u32).map(|i| i * every).collect();
        let places = Tensor::new(places, &device()).unwrap();
        // Relative to the gradient's own length, or to what counts among all: that of a bias of
        // keys is nothing but rounding.
        let scale = 1.0 / number(&expected).max(1e-3 * longest);
        let scaled = |x: &Tensor| x.affine(f64::from(scale), 0.0).unwrap();
        let own = found.index_select(&places, 0).unwrap();
        assert_close(&format!("{file} {name}"), &scaled(&own), &scaled(&some));
        assert_close(&format!("{file} |{name}|"), &scaled(&length), &scaled(&expected));
        compared += 1;
    }
    assert_eq!(2 * compared, stored.0.keys().count(), "{file}: every stored gradient");
}

#[test]
fn the_losses_and_all_their_gradients_equal_lavis() {
    for name in ["losses_2_layers", "losses_4_layers"] {
        let case = Case::open(name);
        let (ids, mask) = (case.integers("text_ids"), case.integers("text_mask"));
        let words = Words { ids: &ids, mask: &mask };
        let image = Var::from_tensor(&case.expected.get("image_embeds")).unwrap();
        let batch = image.dim(0).unwrap();
        let same = Tensor::eye(batch, DType::F32, &device()).unwrap();
        let rows = |name: &str| {
            case.integers(name).to_vec1::<u32>().unwrap().into_iter().map(Some).collect()
        };
        let negatives = Negatives {
            images: rows("negative_image_index_for_text"),
            texts: rows("negative_text_index_for_image"),
        };
        let losses = |gather: Gather| {
            let pairing = Pairing { gather, ..Pairing::new(START) };
            let draw = |chances: &[Vec<Vec<f32>>; 2]| {
                let tensor = |rows: &Vec<Vec<f32>>| Tensor::new(rows.clone(), &device()).unwrap();
                case.close("text_chances", &tensor(&chances[0]));
                case.close("image_chances", &tensor(&chances[1]));
                negatives.clone()
            };
            case.model.losses(&image, words, &same, &pairing, draw, &Pass::inference())
        };
        let all = losses(Gather::Learns).unwrap();
        case.close("contrast", &all.contrast);
        case.close("matching", &all.matching);
        case.close("caption", &all.caption);
        let total = ((&all.contrast + &all.matching).unwrap() + &all.caption).unwrap();
        case.close("total", &total);
        let constant = losses(Gather::Constant).unwrap().contrast;
        case.close("contrast", &constant);
        for (file, loss) in [
            ("gradients_all", &total),
            ("gradients_itc", &all.contrast),
            ("gradients_itm", &all.matching),
            ("gradients_itg", &all.caption),
            ("gradients_itc_gathered", &constant),
        ] {
            let store = loss.backward().unwrap();
            check_gradients(&case, &image, file, |var| store.get(var).cloned());
        }
        // The same on a tape, as training runs it.
        let (loss, tape) = record(|| {
            let all = losses(Gather::Learns)?;
            Ok::<_, carina::Error>(((all.contrast + all.matching)? + all.caption)?)
        })
        .unwrap();
        let store = tape.backward(&loss).unwrap();
        check_gradients(&case, &image, "gradients_all", |var| store.get(var).cloned());
    }
}

#[test]
fn the_similarities_of_a_batch_equal_lavis() {
    let case = Case::open("losses_2_layers");
    let pass = Pass::inference();
    let image = case.model.prepare(&case.expected.get("image_embeds")).unwrap();
    let (ids, mask) = (case.integers("text_ids"), case.integers("text_mask"));
    let first = case.model.read(Words { ids: &ids, mask: &mask }, &pass).unwrap();
    let texts = case.model.embed_text(&first.narrow(1, 0, 1).unwrap().squeeze(1).unwrap()).unwrap();
    let images = case.model.look(&image, None, &pass).unwrap();
    let images = case.model.embed_image(&images).unwrap();
    let temp = case.model.temperature().unwrap();
    let aligned = Alignment::new(&images, &texts, &temp, Gather::Learns).unwrap();
    case.close("images_in_rows", &aligned.images);
    case.close("texts_in_rows", &aligned.texts);
}

#[test]
fn a_checkpoint_of_other_queries_says_so() {
    let folder = folder("qformer", "forward_2_layers");
    let other = QFormerConfig { queries: 6, ..config(&folder) };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let error = QFormer::load(&other, &checkpoint, &device()).unwrap_err().to_string();
    assert!(error.contains("query_tokens (found [1, 8, 48], expected [1, 6, 48])"), "{error}");
}
