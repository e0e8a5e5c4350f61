//! The texts of a batch: what of each report is read, what is made wrong, and which films each
//! text belongs to.

use std::sync::OnceLock;

use candle::{Device, Tensor};
use rayon::prelude::*;

use super::aim::{Objective, Same, Section};
use super::objective::Task;
use super::{Stage, loss};
use crate::Result;
use crate::data::{Dataset, Study};
use crate::random::Random;
use crate::tasks::report::{CorruptionKind, Donors, Facts, corrupt, restated, terse};

/// Names of random streams.
const SHORTENED: u64 = 0x7465_7874;
const WRONG: u64 = 0x7772_6f6e;
/// How often an error of one kind is drawn, until one is wrong.
const TRIES: usize = 3;

/// A text that films are compared with.
#[derive(Clone, Debug)]
pub(super) struct Text {
    words: String,
    /// Which study of the data set it tells of.
    of: usize,
    /// Whether it tells that study's film wrongly.
    wrong: bool,
    /// What it says, read when it is first asked for.
    said: OnceLock<Facts>,
}

impl Text {
    fn new(words: String, of: usize, wrong: bool) -> Self {
        Self { words, of, wrong, said: OnceLock::new() }
    }

    fn said(&self) -> &Facts {
        self.said.get_or_init(|| Facts::of(&self.words))
    }
}

/// What of reports is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) part: Section,
    /// Chances that a sentence is left out, said again in plain words, and read without some detail.
    pub(super) chances: [f64; 3],
    /// What may be made wrong in one more text for each film.
    pub(super) wrong: &'a [CorruptionKind],
}

impl Task<'_> {
    /// The texts of the batch: each film's own in order, then the wrong ones of those films whose
    /// text can be made wrong. In an epoch, each sentence is left out with a chance, never all,
    /// and what is left may be said in other words; without one, texts are whole and none is wrong.
    pub(super) fn texts(&self, read: Read) -> Vec<Text> {
        let rows = &self.films.indices;
        let own = |&of: &usize| Text::new(self.shortened(of, read), of, false);
        let mut texts: Vec<Text> = rows.par_iter().map(own).collect();
        if let Some(epoch) = self.epoch.filter(|_| !read.wrong.is_empty()) {
            let wrong = |text| self.wrong(text, read.wrong, epoch);
            let made: Vec<Option<Text>> = texts.par_iter().map(wrong).collect();
            texts.extend(made.into_iter().flatten());
        }
        texts
    }

    /// The part of a study's report that is read.
    fn shortened(&self, of: usize, read: Read) -> String {
        let text = section(&self.dataset.studies[of], read.part);
        let [sentence, restate, detail] = read.chances;
        let changes = read.chances.iter().any(|chance| *chance > 0.0);
        let Some(epoch) = self.epoch.filter(|_| changes) else { return text };
        let mut random = Random::new(self.stage.seed, &[SHORTENED, epoch as u64, of as u64]);
        let mut text = without_some_sentences(&text, sentence, &mut random);
        if restate > 0.0 {
            text = restated(&text, restate, self.facts(of), &mut random);
        }
        if detail > 0.0 { terse(&text, detail, &mut random) } else { text }
    }

    /// The text with one fact made wrong, of the first kind that fits. What is wrong is for the
    /// whole report to say: another sentence may bear the change out, or affirm what was to be put
    /// in; and a text that has only lost a sentence is true.
    fn wrong(&self, text: &Text, kinds: &[CorruptionKind], epoch: usize) -> Option<Text> {
        let mut random = Random::new(self.stage.seed, &[WRONG, epoch as u64, text.of as u64]);
        let mut kinds = kinds.to_vec();
        random.shuffle(&mut kinds);
        let (report, sections) = (self.facts(text.of), [text.words.clone()]);
        let present = report.labels();
        let tries = kinds.into_iter().flat_map(|kind| [kind; TRIES]);
        tries.into_iter().find_map(|kind| {
            let donors = &self.target.donors;
            let made = corrupt(&sections, &present, kind, donors, &mut random).ok()?;
            let wrong = |said: &Facts| !said.is_empty() && !report.bear_out(said);
            // What says both "edema" and "no opacity" holds by half.
            let anew = Text::new(made.sections.concat(), text.of, true);
            let changed = made.changes.iter().any(|change| wrong(&Facts::of(&change.after)));
            (changed && wrong(anew.said())).then_some(anew)
        })
    }

    /// Which films, of these rows of the data set, and texts belong together (films, texts).
    pub(super) fn pairs(&self, same: Same, rows: &[usize], texts: &[Text]) -> Result<Tensor> {
        let device = self.model.device();
        if same == Same::Claims {
            let told: Vec<_> = rows.iter().map(|&row| (row, self.facts(row))).collect();
            return borne_out(&told, texts, device);
        }
        let films: Vec<_> = rows.iter().map(|&row| (row, own(row, texts))).collect();
        let belong = |&(row, own): &(usize, Option<&Text>), text: &Text| {
            let equal = own.is_some_and(|own| own.words == text.words);
            match same {
                // The wrong text of one film may be the true one of another.
                _ if text.wrong => equal,
                Same::Text => equal,
                Same::Labels => self.target.key(row) == self.target.key(text.of),
                Same::Nothing | Same::Claims => text.of == row,
            }
        };
        loss::pairs(&films, texts, belong, device)
    }

    /// What the report of a study says.
    fn facts(&self, row: usize) -> &Facts {
        let report = || self.dataset.studies[row].report.text();
        self.target.facts[row].get_or_init(|| Facts::of(&report()))
    }
}

/// Which films, each a row of the data set with what its report told, and texts belong together
/// (films, texts): a film and its own text, texts equal to that, and those that say something that
/// the report bears out. A wrong text belongs to other films alone.
fn borne_out(told: &[(usize, &Facts)], texts: &[Text], device: &Device) -> Result<Tensor> {
    texts.par_iter().for_each(|text| _ = text.said()); // at once
    let told: Vec<_> = told.iter().map(|&(row, told)| (row, told, own(row, texts))).collect();
    let belong = |&(row, told, own): &(usize, &Facts, Option<&Text>), text: &Text| {
        if text.of == row {
            return !text.wrong;
        }
        let said = text.said();
        own.is_some_and(|own| own.words == text.words) || !said.is_empty() && told.bear_out(said)
    };
    loss::pairs(&told, texts, belong, device)
}

/// The text that tells of a film, a row of the data set, as it is.
fn own(row: usize, texts: &[Text]) -> Option<&Text> {
    texts.iter().find(|text| text.of == row && !text.wrong)
}

/// Sentences that reports are made wrong with; none for stages that need none.
pub(super) fn donors(dataset: &Dataset, stage: &Stage) -> Donors {
    let needed = match &stage.objective {
        Objective::Instruct { tasks, .. } => tasks.iter().any(|task| task.checks()),
        Objective::Contrastive { wrong, .. } => wrong.contains(&CorruptionKind::Inserted),
        _ => false,
    };
    let studies = if needed { &dataset.studies[..] } else { &[] };
    Donors::of(studies.iter().flat_map(|study| study.report.sections()))
}

/// The words of texts.
pub(super) fn words(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| text.words.clone()).collect()
}

/// A part of a study's report.
pub(super) fn section(study: &Study, part: Section) -> String {
    match part {
        Section::Report => study.report.text(),
        Section::Findings => study.report.findings.trim().to_owned(),
        Section::Impression => study.report.impression.trim().to_owned(),
    }
}

fn without_some_sentences(text: &str, chance: f64, random: &mut Random) -> String {
    let sentences: Vec<&str> = text.split_inclusive(". ").collect();
    let kept: String =
        sentences.iter().filter(|_| !random.chance(chance)).copied().collect::<String>();
    let kept = if kept.is_empty() { *random.choose(&sentences) } else { &kept };
    kept.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device, Tensor};

    use super::super::objective::{Films, Target};
    use super::super::tests::{model, reported};
    use super::*;
    use crate::nn::Pass;

    const KINDS: &[CorruptionKind] = &[CorruptionKind::Negation, CorruptionKind::Laterality];
    const READ: Read = Read { part: Section::Report, chances: [0.0; 3], wrong: KINDS };

    /// What a batch of all films of these reports is compared with.
    fn shown(
        reports: &[&str],
        (read, epoch): (Read, Option<usize>),
        same: Same,
    ) -> (Vec<Text>, Vec<Vec<f32>>) {
        let (model, dataset) = (model(), reported(reports));
        let stage = Stage::preset("contrastive").unwrap();
        let target = Target::new(&model, &dataset, &stage).unwrap();
        let pixels = Tensor::zeros(0, DType::F32, &Device::Cpu).unwrap();
        let films = &Films { pixels, indices: (0..reports.len()).collect() };
        let pass = &Pass::inference();
        let (model, stage, dataset, target) = (&model, &stage, &*dataset, &target);
        let task = Task { model, stage, dataset, target, films, epoch, pass };
        let texts = task.texts(read);
        let same = task.pairs(same, &films.indices, &texts).unwrap();
        (texts, same.to_vec2().unwrap())
    }

    #[test]
    fn wrong_texts_follow_and_belong_to_those_of_whom_they_are_true() {
        let reports = ["Left effusion.", "Nothing of note.", "Right effusion.", "No effusion."];
        let (mut denied, mut moved) = (0, 0);
        for epoch in 0..20 {
            let (texts, same) = shown(&reports, (READ, Some(epoch)), Same::Claims);
            for (row, (text, report)) in texts.iter().zip(reports).enumerate() {
                assert_eq!((text.words.as_str(), text.of, text.wrong), (report, row, false));
            }
            let wrong = &texts[reports.len()..];
            assert_eq!(wrong.iter().map(|text| text.of).collect::<Vec<_>>(), [0, 2, 3]);
            for (column, text) in wrong.iter().enumerate() {
                let fit = |row: usize| same[row][reports.len() + column] > 0.5;
                assert!(text.wrong && !fit(text.of), "{text:?}");
                let told = Facts::of(&text.words);
                let others = (0..reports.len()).filter(|row| *row != text.of);
                for row in others {
                    let true_of = Facts::of(reports[row]).bear_out(&told);
                    assert_eq!(fit(row), true_of, "{text:?} {row}");
                }
            }
            denied += usize::from(wrong[0].words.starts_with("No "));
            moved += usize::from(wrong[0].words == reports[2]);
        }
        assert!(denied > 3 && moved > 3 && denied + moved == 20, "{denied} {moved}");
    }

    #[test]
    fn no_wrong_text_of_any_kind_is_true_or_only_silent() {
        let reports = [
            "Pacemaker in place. Comparison is made with a prior film.",
            "Support devices are unchanged. No pneumothorax.",
            "The left costophrenic angle is blunted. The right costophrenic angle is blunted.",
            "Small to moderate left effusion. ET tube above the carina. The heart is enlarged.",
            "A 12 mm nodule in the left lung. Severe edema, no consolidation. Left PICC line.",
        ];
        let kinds = CorruptionKind::ALL
            .into_iter()
            .filter(|kind| !matches!(kind, CorruptionKind::None | CorruptionKind::Dropped));
        for kind in kinds {
            let read = Read { chances: [0.5, 0.3, 0.3], wrong: &[kind], ..READ };
            let mut made = 0;
            for epoch in 0..30 {
                let texts = shown(&reports, (read, Some(epoch)), Same::Claims).0;
                for text in texts.iter().filter(|text| text.wrong) {
                    let (said, report) = (Facts::of(&text.words), Facts::of(reports[text.of]));
                    assert!(!said.is_empty() && !report.bear_out(&said), "{kind:?} {text:?}");
                    // Any device may be there; and no list of words knows the angle.
                    let device = ["pacemaker", "tube", "catheter", "line"];
                    let device = device.iter().any(|word| text.words.contains(word));
                    assert!(text.of != 1 || !device, "{text:?}");
                    assert!(text.of != 2 || kind == CorruptionKind::Device, "{text:?}");
                    made += 1;
                }
            }
            assert!(made > 10, "{kind:?}: {made}");
        }
    }

    #[test]
    fn a_wrong_text_of_one_film_that_is_the_text_of_another_is_not_wrong_of_that() {
        let read = (Read { wrong: &KINDS[1..], ..READ }, Some(0));
        for same in [Same::Nothing, Same::Text, Same::Claims] {
            let (texts, same) = shown(&["Left effusion.", "Right effusion."], read, same);
            assert_eq!(words(&texts[2..]), ["Right effusion.", "Left effusion."]);
            assert_eq!(same, [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]);
        }
    }

    #[test]
    fn whole_texts_are_compared_where_nothing_is_learnt() {
        let read = Read { chances: [0.9; 3], ..READ };
        let reports = ["Left effusion. No edema.", "Edema."];
        let (texts, _) = shown(&reports, (read, None), Same::Claims);
        assert_eq!(words(&texts), reports);
        assert!(texts.iter().all(|text| !text.wrong));
    }

    #[test]
    fn what_another_sentence_bears_out_is_not_wrong() {
        let read = Read { chances: [0.9, 0.5, 0.0], wrong: &[CorruptionKind::Laterality], ..READ };
        for epoch in 0..20 {
            let reports = ["Small left effusion. Small right effusion."];
            assert_eq!(shown(&reports, (read, Some(epoch)), Same::Claims).0.len(), 1);
        }
    }

    #[test]
    fn texts_belong_to_the_films_whose_reports_bear_them_out() {
        let reports =
            ["Left effusion.", "Large left effusion. Pneumothorax.", "No effusion.", "Fine."];
        let own = ["Left effusion.", "Effusion.", "No pneumothorax.", "Fine."];
        let wrong = ["Right effusion.", "No effusion.", "Pneumothorax.", "Left effusion."];
        let text = |words: &[&str; 4], wrong| {
            let one = |(of, words): (usize, &&str)| Text::new((*words).to_owned(), of, wrong);
            words.iter().enumerate().map(one).collect::<Vec<_>>()
        };
        let texts = [text(&own, false), text(&wrong, true)].concat();
        let told = reports.map(Facts::of);
        let told: Vec<(usize, &Facts)> = told.iter().enumerate().collect();
        let same = borne_out(&told, &texts, &Device::Cpu).unwrap();
        let expected = [
            [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0],
        ];
        assert_eq!(same.to_vec2::<f32>().unwrap(), expected);
    }

    #[test]
    fn some_sentence_always_stays() {
        let text = "One. Two. Three.";
        for seed in 0..50 {
            let kept = without_some_sentences(text, 0.95, &mut Random::new(seed, &[]));
            assert!(
                !kept.is_empty() && text.contains(kept.trim()) || kept.contains(". "),
                "{kept}"
            );
        }
    }
}
