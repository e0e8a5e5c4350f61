//! How much memory a stage will take, before anything of it is allocated.

use super::aim::Objective;
use super::objective::{IMAGE, QUERIES, TEXT};
use super::{RunOptions, Stage};
use crate::fusion::trace_similarity;
use crate::nn::{Kind, Pass, Shadow, Work};
use crate::systems::{Model, ModelSpec, Plan, Sketch};
use crate::{Error, Result};

/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// What a plan of a stage depends on besides the model and the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Rows and columns of a film, where they are not those of the recipe.
    pub size: Option<[usize; 2]>,
    /// Studies in the data set; as many as are ever held at once, when unknown.
    pub studies: Option<usize>,
    /// The most bytes of prepared films that are kept between epochs.
    pub cache: usize,
    /// Whether blocks run again in the backward: see [`Pass::recomputing`].
    pub recompute: bool,
}

/// The plan of a step of `stage`, once the optimiser holds its moments. Texts count as long as
/// the model reads.
pub fn plan(spec: &ModelSpec, stage: &Stage, conditions: &Conditions) -> Result<Plan> {
    stage.validate()?;
    let mut spec = spec.clone();
    if matches!(stage.objective, Objective::Supervised { .. }) && spec.findings().is_empty() {
        spec.set_findings(vec![String::new()]);
    }
    let sketch = Sketch::new(&spec, conditions.size, stage.precision)?;
    let account = sketch.account();
    let learning = NUMBER * sketch.learnable(|name| stage.trains(name));
    account.keep(Kind::Optimiser, learning * if stage.average > 0.0 { 3 } else { 2 });
    if stage.accumulate > 1 {
        account.keep(Kind::Gradients, learning); // the sum of those before
    }
    let batch = conditions.studies.map_or(stage.batch_size, |n| n.min(stage.batch_size)).max(1);
    if !stage.blind() {
        sketch.queue(&account, batch, conditions.studies);
    }
    let kept = conditions.studies.map_or(0, |n| n.saturating_mul(NUMBER * sketch.film()));
    account.keep(Kind::Data, kept.min(conditions.cache));

    if stage.together() {
        // All films of a step wait for its end, and their embeddings meet at once.
        let films = batch.saturating_mul(stage.accumulate);
        account.keep(Kind::Data, NUMBER * sketch.film().saturating_mul(films - batch));
        let config = spec.elixr();
        let texts = stage.most_texts(films);
        let embedded = config.embedding * (config.queries * films + texts);
        let met = config.queries * films.saturating_mul(texts);
        account.keep(Kind::Activations, 2 * NUMBER * embedded.saturating_add(met));
    }

    let frozen = |prefixes: &[&str]| {
        let within = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        sketch.learnable(|name| within(name) && stage.trains(name)) == 0
    };
    let (still, learning) = (sketch.still(), sketch.learning());
    let pass = Pass::training(0, 0);
    let pass = if conditions.recompute { pass.recomputing() } else { pass };
    let look = || -> Result<(Shadow, Shadow)> {
        let pixels = account.input(Kind::Data, &sketch.batch(batch));
        let tokens = if frozen(IMAGE) {
            still.trace_image(&pixels, &Pass::inference())?
        } else {
            learning.trace_image(&pixels, &pass)?
        };
        Ok((pixels, tokens))
    };
    // Both are there until the step ends.
    let seen = if stage.blind() { None } else { Some(look()?) };
    let lost = || Error::Internal("a stage without films that looks at them".to_owned());
    let tokens = || seen.as_ref().map(|(_, tokens)| tokens).ok_or_else(lost);
    let queries = || learning.trace_gather(tokens()?, &pass);
    let scores = match stage.objective {
        Objective::Contrastive { .. } => {
            let films = learning.trace_embed(&queries()?);
            let texts = [stage.most_texts(batch), sketch.text_length()];
            let states = if frozen(TEXT) {
                still.trace_text(texts, &account, &Pass::inference())?
            } else {
                learning.trace_text(texts, &account, &pass)?
            };
            let texts = learning.trace_project(&states);
            trace_similarity(&films, &texts)
        }
        Objective::Qformer { .. } => {
            learning.qformer()?.trace_losses(tokens()?, sketch.text_length(), &pass)?
        }
        Objective::Instruct { per_study, max_tokens, blind, .. } => {
            let trains = stage.clone();
            let graft = sketch.graft(move |name| trains.trains(name))?;
            let films = match (blind, frozen(QUERIES)) {
                (true, _) => None,
                (_, true) => Some(still.trace_gather(tokens()?, &Pass::inference())?),
                (_, false) => Some(queries()?),
            };
            let films = films.map(|queries| graft.trace_adapt(&queries));
            let words = [batch.saturating_mul(per_study), max_tokens];
            graft.trace_loss(words, films.as_ref(), &account, &pass)?
        }
        Objective::Supcon { .. } => learning.trace_embed(&queries()?),
        Objective::Supervised { .. } => learning.trace_classify(&queries()?),
    };
    Shadow::made(&[1], &[&scores], Work::default()).backward(&pass)?;
    Ok(sketch.plan(&stage.name, batch, &sketch.shape(), &account))
}

/// Fails when a step would not fit in memory; without a check on other devices than the CPU, and
/// for films that the encoder will refuse anyway.
pub(super) fn fits(
    model: &Model,
    studies: usize,
    stage: &Stage,
    options: &RunOptions,
) -> Result<()> {
    let conditions = Conditions {
        size: None,
        studies: Some(studies),
        cache: options.cache.limit(),
        recompute: options.recompute,
    };
    if !model.device().is_cpu() {
        return Ok(());
    }
    let Ok(plan) = plan(model.spec(), stage, &conditions) else { return Ok(()) };
    let advice = if options.recompute { "" } else { ", or more with recompute_blocks=True" };
    plan.fit(plan.of(Kind::Weights), advice)
}
