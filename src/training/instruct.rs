//! The loss of instructions: what a decoder is asked about a study, and how likely it finds the
//! true answer.

use candle::Tensor;

use super::Stage;
use super::aim::Objective;
use super::objective::Task;
use super::overlong::cut_notice;
use crate::data::{Dataset, Study, joined};
use crate::language::{Line, Llama, Script};
use crate::nn::in_precision;
use crate::progress::Progress;
use crate::random::Random;
use crate::systems::{Graft, GraftConfig, Lesson, Model, place_of_film};
use crate::tasks::Instruction;
use crate::tasks::report::{CorruptionKind, Donors, corrupt};
use crate::{Error, Result};

/// Names the random stream.
const DRAWN: u64 = 0x696e_7374;

/// Something to ask about a study: the instruction, and which of its questions.
pub(super) type Item = (Instruction, usize);

/// All that `study` has an answer to.
pub(super) fn items(study: &Study, tasks: &[Instruction]) -> Vec<Item> {
    let filled = |text: &str| !text.trim().is_empty();
    let reported = filled(&study.report.text());
    let mut all = Vec::new();
    for &task in tasks {
        match task {
            Instruction::Report | Instruction::ReportCheck | Instruction::Comparison
                if reported =>
            {
                all.push((task, 0));
            }
            Instruction::Impression
                if filled(&study.report.findings) && filled(&study.report.impression) =>
            {
                all.push((task, 0));
            }
            Instruction::Vqa | Instruction::Reading => {
                let read = task == Instruction::Vqa || reported;
                let known = study.questions.iter().enumerate().filter(|(_, question)| {
                    read && filled(&question.question) && filled(&question.answer)
                });
                all.extend(known.map(|(i, _)| (task, i)));
            }
            _ => {}
        }
    }
    all
}

/// A report to check and the answer: half of them as they are, half with one error of any kind
/// that fits.
fn check_of(dataset: &Dataset, study: &Study, donors: &Donors, random: &mut Random) -> [String; 2] {
    let sections = study.report.sections().map(str::to_owned);
    let facts = study.facts(&dataset.findings);
    let mut kinds: Vec<CorruptionKind> = Vec::new();
    if random.chance(0.5) {
        kinds.extend(CorruptionKind::ALL.iter().filter(|kind| **kind != CorruptionKind::None));
        random.shuffle(&mut kinds);
    }
    kinds.push(CorruptionKind::None); // which fits any report
    let made =
        kinds.into_iter().find_map(|kind| corrupt(&sections, &facts, kind, donors, random).ok());
    made.map_or_else(
        || [study.report.text(), CorruptionKind::None.name().to_owned()],
        |made| [joined(made.sections.iter().map(String::as_str)), made.answer()],
    )
}

/// The prompt, in one of its wordings, and the answer; `check` is a report to check and what to
/// answer, where the instruction needs it.
fn exchange(
    study: &Study,
    (task, question): Item,
    wording: usize,
    check: &[String; 2],
) -> (String, String) {
    let report = &study.report;
    let (findings, impression) = (report.findings.trim(), report.impression.trim());
    let asked = study.questions.get(question);
    let text = report.text();
    let slots = [
        ("question", asked.map_or("", |asked| asked.question.as_str())),
        ("report", text.as_str()),
        ("findings", findings),
        ("draft", check[0].as_str()),
    ];
    let answer = match task {
        Instruction::Report if findings.is_empty() || impression.is_empty() => text.clone(),
        Instruction::Report => format!("Findings: {findings} Impression: {impression}"),
        Instruction::Impression => impression.to_owned(),
        Instruction::Vqa | Instruction::Reading => {
            asked.map_or_else(String::new, |asked| asked.answer.trim().to_owned())
        }
        Instruction::ReportCheck | Instruction::Comparison => check[1].clone(),
    };
    (task.prompt(wording, &slots), answer)
}

/// How lessons are written for a decoder.
struct Writer<'a> {
    config: &'a GraftConfig,
    script: &'a Script,
    /// The most tokens of a line, the film left out.
    most: usize,
    blind: bool,
}

/// Fewer tokens of an answer say too little.
const LEAST: usize = 2;

impl<'a> Writer<'a> {
    fn new(model: &'a Model, stage: &Stage) -> Result<Self> {
        let Objective::Instruct { max_tokens, blind, .. } = stage.objective else {
            return Err(Error::Internal("a stage without instructions".to_owned()));
        };
        let (config, script) = model.grafted()?;
        let film = if blind { 0 } else { model.spec().elixr().queries };
        let most = max_tokens.min(config.llama.max_positions.saturating_sub(film));
        Ok(Self { config, script, most, blind })
    }

    /// The lesson of a prompt and its answer, in which image `image` stands, and whether all of the answer is in
    /// it; none when the prompt leaves no room for one.
    fn lesson(
        &self,
        item: Item,
        (prompt, answer): (String, String),
        image: usize,
    ) -> Result<Option<(Lesson, bool)>> {
        let (asked, mut answered) = self.parts(&prompt, &[&answer])?;
        let room = self.most.saturating_sub(asked.len());
        if room < LEAST {
            return Ok(None);
        }
        let whole = answered.len() <= room;
        if !whole {
            answered = self.cut(&prompt, &answer, room)?;
        }
        let images = if self.blind || !item.0.sees_film() {
            Vec::new()
        } else {
            vec![(place_of_film(&asked, self.config), image)]
        };
        let answer = asked.len();
        let line = Line { words: [asked, answered].concat(), images };
        Ok(Some((Lesson { line, answer, kind: item.0 as usize }, whole)))
    }

    fn parts(&self, prompt: &str, answers: &[&str]) -> Result<(Vec<u32>, Vec<u32>)> {
        let (asked, answers) = self.script.exchange(prompt, answers, &self.config.llama)?;
        Ok((asked, answers.into_iter().next().unwrap_or_default()))
    }

    /// As many whole sentences of `answer` as `room` tokens hold, or its first tokens; nothing
    /// says that it ended.
    fn cut(&self, prompt: &str, answer: &str, room: usize) -> Result<Vec<u32>> {
        let ends = answer.match_indices(". ").map(|(at, _)| at + 1);
        for end in ends.collect::<Vec<_>>().into_iter().rev() {
            let mut tokens = self.parts(prompt, &[&answer[..end]])?.1;
            tokens.pop(); // what would end it
            if !tokens.is_empty() && tokens.len() <= room {
                return Ok(tokens);
            }
        }
        let mut tokens = self.parts(prompt, &[answer])?.1;
        tokens.truncate(room);
        Ok(tokens)
    }
}

/// Refuses a model that cannot learn by `stage`.
pub(super) fn check(model: &Model, stage: &Stage) -> Result<()> {
    let (config, _) = model.grafted()?;
    let learning = model.parameters().trainable();
    let decoder = |name: &str| name.starts_with("decoder.") && stage.trains(name);
    if config.lora.is_some() && learning.iter().any(|(name, _)| decoder(name)) {
        let why = "decoder.* cannot learn while low-rank updates do in its place; call \
                   model.merge_lora() first, or train lora.*";
        return Err(Error::Training(why.to_owned()));
    }
    Ok(())
}

/// What is to be said of prompts and answers that are longer than the stage reads: of the longest
/// of each study and task.
pub(super) fn overlong(
    model: &Model,
    stage: &Stage,
    dataset: &Dataset,
    progress: &Progress,
) -> Result<Option<String>> {
    let Objective::Instruct { tasks, .. } = &stage.objective else { return Ok(None) };
    let writer = Writer::new(model, stage)?;
    let (mut all, mut cut, mut left_out) = (0, 0, 0);
    for study in &dataset.studies {
        progress.check()?;
        let check = [study.report.text(), CorruptionKind::None.name().to_owned()];
        let length = |item: &Item| {
            let asked = study.questions.get(item.1);
            asked.map_or(0, |asked| asked.question.len() + asked.answer.len())
        };
        for &task in tasks {
            let Some(item) = items(study, &[task]).into_iter().max_by_key(length) else { continue };
            let lesson = writer.lesson(item, exchange(study, item, 0, &check), 0)?;
            all += 1;
            match lesson {
                Some((_, whole)) => cut += usize::from(!whole),
                None => left_out += 1,
            }
        }
    }
    let most = writer.most;
    let cut = cut_notice("lessons", [cut, all], most);
    let left_out = (left_out > 0).then(|| {
        format!("{left_out} of {all} prompts leave no room within {most} tokens: left out")
    });
    let notices: Vec<String> = cut.into_iter().chain(left_out).collect();
    Ok((!notices.is_empty()).then(|| notices.join("; ")))
}

/// The loss of one batch; `queries` looks at its films.
pub(super) fn loss(task: &Task, queries: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    let lessons = lessons(task)?;
    let graft = graft(task)?;
    let films = if task.stage.blind() { None } else { Some(graft.adapt(&queries()?)?) };
    graft.loss(&lessons, films.as_ref(), task.pass)
}

/// What is drawn for the films of a batch.
fn lessons(task: &Task) -> Result<Vec<Lesson>> {
    let Objective::Instruct { tasks, per_study, .. } = &task.stage.objective else {
        return Err(Error::Internal("a stage without instructions".to_owned()));
    };
    let writer = Writer::new(task.model, task.stage)?;
    let epoch = task.epoch.map_or(u64::MAX, |epoch| epoch as u64);
    let mut all = Vec::new();
    for (image, &index) in task.films.indices.iter().enumerate() {
        let study = &task.dataset.studies[index];
        let mut random = Random::new(task.stage.seed, &[DRAWN, epoch, index as u64]);
        let mut drawn = items(study, tasks);
        random.shuffle(&mut drawn);
        for item in drawn.into_iter().take(*per_study) {
            let wording = random.below(item.0.wordings());
            // A model is asked in the first wording: so it is measured.
            let wording = task.epoch.map_or(0, |_| wording);
            let check = if item.0.checks() {
                check_of(task.dataset, study, &task.target.donors, &mut random)
            } else {
                Default::default()
            };
            let exchange = exchange(study, item, wording, &check);
            all.extend(writer.lesson(item, exchange, image)?.map(|(lesson, _)| lesson));
        }
    }
    if all.is_empty() {
        let why = format!("no prompt of a batch leaves room within {} tokens", writer.most);
        return Err(Error::Training(why));
    }
    Ok(all)
}

/// The adapter and the decoder of a pass: what no parameter learns in is without a graph.
fn graft(task: &Task) -> Result<Graft> {
    let lost = || Error::Internal("a stage of instructions without a decoder".to_owned());
    let still = task.target.graft.as_ref().ok_or_else(lost)?;
    if !task.pass.trains() {
        return Ok(still.clone());
    }
    let (config, _) = task.model.grafted()?;
    let (parameters, precision) = (task.model.parameters(), task.stage.precision);
    let from = task.model.spec().elixr().query_dim();
    let stage = task.stage.clone();
    let learning = parameters.learning_part(move |name| stage.trains(name));
    let learning = in_precision(learning, precision);
    let adapter = Graft::adapter(config, from, &learning)?;
    let decoder: Llama = if task.target.frozen.decoder {
        still.decoder().clone()
    } else {
        Graft::llama(config, &learning)?
    };
    Ok(Graft::of(adapter, decoder))
}
