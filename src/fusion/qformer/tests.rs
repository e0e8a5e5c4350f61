use super::*;
use crate::language::BertConfig;
use crate::nn::testing::{check_deep_gradients, trained};
use crate::progress::Progress;
use crate::random::Random;

fn small() -> QFormerConfig {
    let body = BertConfig {
        vocab_size: 12,
        dim: 8,
        depth: 3,
        heads: 2,
        mlp_dim: 10,
        max_positions: 6,
        norm_eps: 1e-6,
        ..BertConfig::default()
    };
    QFormerConfig { body, queries: 3, image_dim: 5, embedding: 4, ..QFormerConfig::default() }
}

fn tensor<const N: usize>(rows: &[[u32; N]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened(), (rows.len(), N), &Device::Cpu).unwrap()
}

fn eye(batch: usize) -> Tensor {
    Tensor::eye(batch, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn every_parameter_and_the_image_have_true_gradients() {
    let (ids, mask) = (tensor(&[[2, 5, 6, 3], [2, 7, 3, 0]]), tensor(&[[1; 4], [1, 1, 1, 0]]));
    check_deep_gradients(&[&[2, 4, 5]], 5e-3, |x, vb| {
        let mut model = QFormer::new(&small(), &vb)?;
        model.temp = (model.temp.sqr()? + 0.5)?; // a random number may lie beyond the limit
        let same = eye(2).to_dtype(x[0].dtype())?;
        let negatives =
            |_: &_| Negatives { images: vec![Some(1), Some(0)], texts: vec![Some(1), None] };
        let (words, pairing) = (Words { ids: &ids, mask: &mask }, Pairing::new(1));
        let pass = Pass::inference();
        let losses = model.losses(&x[0], words, &same, &pairing, negatives, &pass)?;
        Ok(((losses.contrast + losses.matching)? + losses.caption)?)
    });
}

fn build(config: &QFormerConfig) -> (QFormer, Parameters) {
    let parameters = Parameters::new(0, &Device::Cpu);
    (QFormer::new(config, &parameters.builder()).unwrap(), parameters)
}

fn image(batch: usize) -> Tensor {
    let values: Vec<f32> = (0..batch * 4 * 5).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_vec(values, (batch, 4, 5), &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn apart(x: &Tensor, y: &Tensor) -> f32 {
    values(x).iter().zip(values(y)).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn a_step_of_training_reaches_every_parameter_and_recomputing_changes_nothing() {
    let (model, parameters) = build(&small());
    let (ids, mask) = (tensor(&[[2, 5, 6, 3], [2, 7, 3, 0]]), tensor(&[[1; 4], [1, 1, 1, 0]]));
    let step = |pass: Pass| {
        let ((), mut gradients) = trained(|| {
            let words = Words { ids: &ids, mask: &mask };
            let draw = |chances: &_| Negatives::draw(chances, |i| Random::new(3, &[i as u64]));
            let pairing = Pairing::new(1);
            let losses = model.losses(&image(2), words, &eye(2), &pairing, draw, &pass)?;
            Ok(((), ((losses.contrast + losses.matching)? + losses.caption)?))
        });
        let take = |(name, var): (String, candle::Var)| {
            let gradient = gradients.take(&var).unwrap_or_else(|| panic!("{name}: none"));
            assert!(values(&gradient).iter().all(|x| x.is_finite()), "{name}");
            (name, gradient)
        };
        let found: Vec<_> = parameters.trainable().into_iter().map(take).collect();
        assert!(gradients.is_empty());
        found
    };
    let whole = step(Pass::training(0, 0));
    for ((name, kept), (_, again)) in whole.iter().zip(step(Pass::training(0, 0).recomputing())) {
        assert!(apart(kept, &again) < 1e-6, "{name}");
    }
}

#[test]
fn texts_behind_queries_see_no_later_word_and_padding_is_nothing() {
    let (model, _) = build(&small());
    let pass = Pass::inference();
    let seen = model.prepare(&image(1)).unwrap();
    let (_, keys) = model.look_keeping(&seen, None, &pass).unwrap();
    let told = |ids: [u32; 4], mask: [u32; 4]| {
        let (ids, mask) = (tensor(&[ids]), tensor(&[mask]));
        let words = Words { ids: &ids, mask: &mask };
        let met = model.meet(&seen, None, words, &pass).unwrap();
        let read = model.read(words, &pass).unwrap().narrow(1, 0, 3).unwrap();
        (model.tell(&keys, words, &pass).unwrap().narrow(1, 0, 3).unwrap(), met, read)
    };
    let (first, met, read) = told([2, 5, 6, 3], [1; 4]);
    let (other, met_other, read_other) = told([2, 5, 6, 9], [1; 4]);
    assert_eq!(values(&first), values(&other));
    assert!(apart(&met, &met_other) > 1e-4 && apart(&read, &read_other) > 1e-4);
    let (first, met, read) = told([2, 5, 6, 3], [1, 1, 1, 0]);
    let (other, met_other, read_other) = told([2, 5, 6, 9], [1, 1, 1, 0]);
    assert!(apart(&met, &met_other) < 1e-6 && apart(&read, &read_other) < 1e-6);
    assert!(apart(&first, &other) < 1e-6);
}

#[test]
fn captions_are_the_most_likely_words_of_the_whole_text_run_again() {
    let (model, _) = build(&small());
    let pass = Pass::inference();
    let seen = model.prepare(&image(3)).unwrap();
    let (_, keys) = model.look_keeping(&seen, None, &pass).unwrap();
    let options = Captioning { start: 1, end: 3, least: 2, most: 5 };
    let written = model.caption(&seen, None, &options, &Progress::silent()).unwrap();
    for (row, written) in written.iter().enumerate() {
        assert!((2..=5).contains(&written.len()), "{written:?}");
        let mut read = vec![1];
        read.extend(&written[..written.len() - 1]);
        let ids = Tensor::from_vec(read.repeat(3), (3, written.len()), &Device::Cpu).unwrap();
        let mask = ids.ones_like().unwrap();
        let states = model.tell(&keys, Words { ids: &ids, mask: &mask }, &pass).unwrap();
        let mut logits = model.logits(&states).unwrap().to_vec3::<f32>().unwrap().swap_remove(row);
        for (place, (logits, token)) in logits.iter_mut().zip(written).enumerate() {
            if place < 2 {
                logits[3] = f32::NEG_INFINITY;
            }
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(logits[*token as usize] >= most - 1e-5, "row {row}, word {place}");
        }
    }
    let error = |options| model.caption(&seen, None, &options, &Progress::silent()).unwrap_err();
    let text = error(Captioning { end: 12, ..options }).to_string();
    assert_eq!(text, "end token: found 12, expected less than 12");
    let text = error(Captioning { most: 7, ..options }).to_string();
    assert_eq!(text, "most words of a caption: found 7, expected 1 to 6");
    let broken = (&seen * f64::NAN).unwrap();
    let text = model.caption(&broken, None, &options, &Progress::silent()).unwrap_err();
    assert!(text.to_string().starts_with("logits of a caption: they are not numbers"));
}

#[test]
fn negatives_are_never_of_the_same_text_and_missing_where_all_are() {
    let rows = [[5f32, 9.0, 1.0], [9.0, 0.0, 2.0], [0.0, 0.0, 0.0]];
    let images = Tensor::new(&rows, &Device::Cpu).unwrap();
    let texts = images.t().unwrap().contiguous().unwrap();
    let alignment = Alignment { images, texts };
    let same = Tensor::new(&[[1f32, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], &Device::Cpu);
    let chances = alignment.chances(&same.unwrap()).unwrap();
    for seed in 0..40 {
        let stream = |row: usize| Random::new(seed, &[row as u64]);
        let drawn = Negatives::draw(&chances, stream);
        assert_eq!(drawn, Negatives::draw(&chances, stream));
        assert_eq!((drawn.texts[0], drawn.texts[1]), (Some(2), Some(2)));
        assert!(drawn.images[2].is_some_and(|film| film < 2));
    }
    let all = Tensor::ones((3, 3), DType::F32, &Device::Cpu).unwrap();
    let none = Negatives::draw(&alignment.chances(&all).unwrap(), |i| Random::new(0, &[i as u64]));
    assert_eq!(none, Negatives { images: vec![None; 3], texts: vec![None; 3] });
    // Films and texts that are all alike still match, and nothing else is asked.
    let (model, _) = build(&small());
    let (ids, mask) = (tensor(&[[2, 5, 3]; 3]), tensor(&[[1; 3]; 3]));
    let words = Words { ids: &ids, mask: &mask };
    let seen = model.prepare(&image(3)).unwrap();
    let loss = model.matching_loss(&seen, words, &none, &Pass::inference()).unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_finite());
    let wrong = Negatives { images: vec![Some(3); 3], ..none };
    let error = model.matching_loss(&seen, words, &wrong, &Pass::inference()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "negatives: found a row of no film or text, expected less than 3"
    );
}

#[test]
fn harder_negatives_are_drawn_more_often() {
    let images = Tensor::new(&[[0f32, 3.0, 0.0], [0.0; 3], [0.0; 3]], &Device::Cpu).unwrap();
    let alignment = Alignment { texts: images.clone(), images };
    let chances = alignment.chances(&eye(3)).unwrap();
    let hard = |seed: u64| {
        let drawn = Negatives::draw(&chances, |row| Random::new(seed, &[row as u64]));
        usize::from(drawn.texts[0] == Some(1))
    };
    let share = (0..2000).map(hard).sum::<usize>() as f64 / 2000.0;
    let expected = 3f64.exp() / (3f64.exp() + 1.0);
    assert!((share - expected).abs() < 0.02, "{share} instead of {expected}");
}

#[test]
fn a_temperature_below_the_limit_counts_as_the_limit_and_can_come_back() {
    let (model, parameters) = build(&small());
    let temp = parameters.get("temp").unwrap();
    temp.set(&Tensor::new(&[-0.5f32], &Device::Cpu).unwrap()).unwrap();
    let found = model.temperature().unwrap();
    assert!((values(&found)[0] - 0.01).abs() < 1e-6);
    let gradients = found.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(values(gradients.get(&temp).unwrap())[0] > 0.0);
}

#[test]
fn what_cannot_be_is_named() {
    let (model, _) = build(&small());
    let pass = Pass::inference();
    let says = |result: Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        says(model.prepare(&image(1).reshape((1, 5, 4)).unwrap())),
        "Q-Former image tokens: expected shape (B, N, 5), got [1, 5, 4]"
    );
    let (ids, mask) = (tensor(&[[2; 7]]), tensor(&[[1; 7]]));
    let words = Words { ids: &ids, mask: &mask };
    assert_eq!(says(model.read(words, &pass)), "token ids: expected shape (B, 1 to 6), got [1, 7]");
    let (short, one) = (tensor(&[[2, 3]]), tensor(&[[1]]));
    let words = Words { ids: &short, mask: &mask };
    assert_eq!(says(model.read(words, &pass)), "text mask: expected shape [1, 2], got [1, 7]");
    let (_, keys) = model.look_keeping(&image(1), None, &pass).unwrap();
    let words = Words { ids: &one, mask: &one };
    let text = says(model.caption_loss(&keys, words, &Pairing::new(1), &pass));
    assert!(text.starts_with("token ids of captions: expected shape (B, T) with T of at least 2"));
    let error = |config: QFormerConfig| config.validate().unwrap_err().to_string();
    assert_eq!(
        error(QFormerConfig { queries: 0, ..small() }),
        "config field `qformer.queries`: found 0, expected 1 to 65536"
    );
    assert_eq!(
        error(QFormerConfig { cross_every: 0, ..small() }),
        "config field `qformer.cross_every`: found 0, expected 1 to 256"
    );
}
