//! Any text as what stands beside weights: a recipe, a name map, configurations, a chat template.

#![no_main]

#[path = "common.rs"]
mod common;

use carina::imaging::{Image, Recipe};
use carina::language::{BertConfig, ChatTemplate, Message};
use carina::systems::ModelSpec;
use carina::weights::NameMap;
use libfuzzer_sys::fuzz_target;
use ndarray::Array2;

fuzz_target!(|text: &str| {
    common::only_escaping_panics();
    if let Ok(recipe) = Recipe::from_json(text) {
        // A large canvas is allowed, and would take the time that other recipes need.
        let values = recipe.output_shape().map_or(0, |shape| shape.iter().product::<usize>());
        if (1..1 << 20).contains(&values) {
            let film = Image::from_pixels(Array2::from_shape_fn((24, 16), |(r, c)| (r * c) as f32));
            let _ = recipe.apply(&film);
        }
    }
    let _ = NameMap::from_toml(text);
    let _ = serde_json::from_str::<ModelSpec>(text);
    if let Ok(json) = serde_json::from_str(text) {
        let _ = BertConfig::from_hf(&json).and_then(|config| config.validate());
    }
    if let Ok(template) = ChatTemplate::new(text.to_owned(), "<s>".to_owned(), "</s>".to_owned()) {
        let message = Message { role: "user".to_owned(), content: "Edema?".to_owned() };
        let _ = template.render(&[message], true);
    }
});
