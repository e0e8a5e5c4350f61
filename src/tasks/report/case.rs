//! How each kind of error is made: which facts it fits, and what becomes of their sentences.

use super::corruption::Donors;
use super::draft::{Draft, Place};
use super::lexicon::{Sort, lexicon};
use super::reading::{Says, places};
use super::scope::negators;
use super::size::{Size, sizes};
use super::wording::{
    affirmed, denied, has_severity, moved, swap_sides, with_severity, without_item,
};
use crate::random::Random;

/// What was changed, and how it is called.
pub(super) type Done = Option<(Option<usize>, &'static str)>;

/// A report, what is known of its study, and what chance decides.
pub(super) struct Case<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) facts: &'a [(String, f32)],
    pub(super) donors: &'a Donors,
    pub(super) random: &'a mut Random,
}

impl Case<'_> {
    fn topics(sort: Sort) -> Vec<usize> {
        let all = lexicon().topics.iter().enumerate();
        all.filter(|(_, topic)| topic.sort == sort).map(|(number, _)| number).collect()
    }

    fn choose<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(self.random.choose(from).clone()) }
    }

    /// The affirming sentences of each finding that `fits`, by finding.
    fn groups(&self, sort: Sort, fits: impl Fn(usize, Place) -> bool) -> Vec<(usize, Vec<Place>)> {
        let mut groups = Vec::new();
        for topic in Self::topics(sort) {
            let mut places = self.draft.saying(topic, Says::Present);
            places.retain(|&at| fits(topic, at));
            if !places.is_empty() {
                groups.push((topic, places));
            }
        }
        groups
    }

    /// All sentences that are tied to a finding: those that affirm it, or anything that one of
    /// them affirms with it. An opacity and the pneumonia that it is said to be change together.
    fn tied(&self, topic: usize) -> Vec<Place> {
        let findings = Self::topics(Sort::Finding);
        let mut topics = vec![topic];
        loop {
            let says = |at: &Place| {
                topics.iter().any(|&topic| self.draft.reading(*at).holds(topic, Says::Present))
            };
            let places: Vec<Place> = self.draft.places().into_iter().filter(says).collect();
            let with = places.iter().flat_map(|&at| self.draft.reading(at).topics(Says::Present));
            let mut wider: Vec<usize> = with.filter(|topic| findings.contains(topic)).collect();
            wider.sort_unstable();
            wider.dedup();
            if wider.len() <= topics.len() {
                return places;
            }
            topics = wider;
        }
    }

    /// Whether a sentence tells a side that could be the other one.
    fn swappable(&self, at: Place) -> bool {
        let reading = self.draft.reading(at);
        let has = |terms| !places(&reading.words, terms).is_empty();
        !has(&lexicon().one_sided)
            && !has(&lexicon().normal_words)
            && swap_sides(self.draft.sentence(at)).is_some()
    }

    /// The sentences whose sides change with a finding's.
    pub(super) fn sided(&self, topic: usize) -> Vec<Place> {
        self.tied(topic).into_iter().filter(|&at| self.swappable(at)).collect()
    }

    /// Changes left and right in sentences.
    pub(super) fn swap(&mut self, places: Vec<Place>) -> Option<()> {
        for at in places {
            let text = swap_sides(self.draft.sentence(at))?;
            self.draft.replace(at, text);
        }
        Some(())
    }

    pub(super) fn laterality(&mut self) -> Done {
        let mut groups: Vec<(Option<usize>, Vec<Place>)> = self
            .groups(Sort::Finding, |_, at| self.swappable(at))
            .into_iter()
            .map(|(topic, _)| (Some(topic), self.sided(topic)))
            .collect();
        // A sentence about something that no list of words knows stands for itself.
        let unknown = self.draft.places().into_iter().filter(|&at| {
            let reading = self.draft.reading(at);
            let denies = !negators(&reading.words).is_empty();
            reading.mentions.is_empty() && !denies && self.swappable(at)
        });
        groups.extend(unknown.map(|at| (None, vec![at])));
        let (topic, places) = self.choose(&groups)?;
        self.swap(places)?;
        Some((topic, ""))
    }

    pub(super) fn dropped(&mut self) -> Done {
        let mut groups = self.groups(Sort::Finding, |_, _| true);
        // What goes with it must not be said elsewhere: the report would be at odds with itself.
        groups.retain(|(topic, places)| {
            let with = places.iter().flat_map(|&at| self.draft.reading(at).topics(Says::Present));
            let mut with: Vec<usize> = with.filter(|other| other != topic).collect();
            with.dedup();
            with.into_iter().all(|other| {
                self.draft.saying(other, Says::Present).iter().all(|at| places.contains(at))
            })
        });
        let (topic, places) = self.choose(&groups)?;
        self.leave_out(places);
        Some((Some(topic), ""))
    }

    /// Leaves sentences out.
    pub(super) fn leave_out(&mut self, places: Vec<Place>) {
        for at in places {
            self.draft.drop(at);
        }
        self.draft.fill_empty();
    }

    /// Findings that may be put in: known to be absent, and nowhere affirmed or doubted.
    fn absent(&self) -> Vec<usize> {
        let absent = |&topic: &usize| {
            let label = self.label(topic);
            let denied = !self.draft.saying(topic, Says::Absent).is_empty();
            let known = label.map_or(denied, |value| value == 0.0);
            let said = [Says::Present, Says::Doubtful];
            known && said.iter().all(|&says| self.draft.saying(topic, says).is_empty())
        };
        Self::topics(Sort::Finding).into_iter().filter(absent).collect()
    }

    fn label(&self, topic: usize) -> Option<f32> {
        let entry = &lexicon().topics[topic];
        self.facts.iter().find(|(name, _)| entry.is_called(name)).map(|(_, value)| *value)
    }

    /// What becomes of the sentences that deny a finding when it is affirmed; `None` where one of
    /// them cannot do without the denial.
    pub(super) fn undenied(&self, topic: usize) -> Option<Vec<(Place, Option<String>)>> {
        let places = self.draft.saying(topic, Says::Absent).into_iter();
        let mut out = Vec::new();
        for at in places {
            let (text, reading) = (self.draft.sentence(at), self.draft.reading(at));
            let covers = reading.mentions.iter().all(|m| m.covered);
            let lone = reading.mentions.iter().all(|m| m.topic == topic);
            let shorter =
                if lone || covers { None } else { Some(without_item(text, reading, topic)?) };
            out.push((at, shorter));
        }
        Some(out)
    }

    /// Takes away all denials of a finding and affirms it by `sentence`, once in each section that
    /// denied it, and in the others that have sentences.
    pub(super) fn affirm(&mut self, undenied: Vec<(Place, Option<String>)>, sentence: &str) {
        let mut placed = vec![false; self.draft.section_count()];
        for (at, shorter) in undenied {
            match shorter {
                Some(text) => self.draft.replace(at, text),
                None if placed[at.0] => self.draft.drop(at),
                None => {
                    placed[at.0] = true;
                    self.draft.replace(at, sentence.to_owned());
                }
            }
        }
        for (section, placed) in placed.into_iter().enumerate() {
            let count = self.draft.len(section);
            if !placed && count > 0 {
                // The first section tells in any order; a conclusion gets one more line.
                let at = if section == 0 { self.random.below(count + 1) } else { count };
                self.draft.add(section, at, sentence.to_owned());
            }
        }
    }

    pub(super) fn inserted(&mut self) -> Done {
        let fits = |topic: usize| Some((topic, self.undenied(topic)?));
        let found: Vec<_> = self.absent().into_iter().filter_map(fits).collect();
        let (topic, undenied) = self.choose(&found)?;
        if self.draft.places().is_empty() {
            return None;
        }
        let sentence = self.donors.sentence(topic, self.random);
        self.affirm(undenied, &sentence);
        Some((Some(topic), ""))
    }

    /// The sentences whose degrees and sizes change with a finding's.
    pub(super) fn graded(&self, topic: usize) -> Vec<Place> {
        let entry = &lexicon().topics[topic];
        let told = |at: &Place| has_severity(self.draft.reading(*at), entry);
        self.tied(topic).into_iter().filter(told).collect()
    }

    /// The degrees that sentences give a finding, each once in a row.
    pub(super) fn levels_at(&self, topic: usize, places: &[Place]) -> Vec<usize> {
        let scale = &lexicon().topics[topic].scale;
        let levels = places.iter().flat_map(|&at| self.draft.reading(at).degrees(scale));
        let mut levels: Vec<usize> = levels.map(|degree| degree.level).collect();
        levels.dedup();
        levels
    }

    /// Gives a finding another degree in sentences, and twice or half the size.
    pub(super) fn regrade(&mut self, topic: usize, places: Vec<Place>, new: usize, larger: bool) {
        let entry = &lexicon().topics[topic];
        for at in places {
            let (text, reading) = (self.draft.sentence(at), self.draft.reading(at));
            let text = with_severity(text, reading, entry, new, if larger { 2.0 } else { 0.5 });
            self.draft.replace(at, text);
        }
    }

    pub(super) fn severity(&mut self) -> Done {
        let told = |topic: usize, at: Place| {
            has_severity(self.draft.reading(at), &lexicon().topics[topic])
        };
        let mut groups = self.groups(Sort::Finding, told);
        for (topic, places) in &mut groups {
            *places = self.graded(*topic);
        }
        // Sentences at odds ("small to moderate") have no degree that could be called wrong.
        groups.retain(|(topic, places)| self.levels_at(*topic, places).len() <= 1);
        let (topic, places) = self.choose(&groups)?;
        let now = self.levels_at(topic, &places).first().copied();
        let new = match now {
            Some(now) => (now + 1 + self.random.below(2)) % 3,
            None => 0,
        };
        let least = places.iter().flat_map(|&at| sizes(&self.draft.reading(at).words));
        let least = least.map(|size: Size| size.mm()).fold(f64::INFINITY, f64::min);
        let larger = now.map_or_else(|| least < 6.0 || self.random.chance(0.5), |now| new > now);
        self.regrade(topic, places, new, larger);
        Some((Some(topic), ""))
    }

    /// Turns sentences that affirm a finding into denials.
    pub(super) fn deny(&mut self, topic: usize, places: Vec<Place>) {
        for at in places {
            let text = denied(self.draft.sentence(at), self.draft.reading(at), topic);
            self.draft.replace(at, text);
        }
    }

    pub(super) fn negation(&mut self) -> Done {
        let mut present = self.groups(Sort::Finding, |_, _| true);
        present.retain(|(topic, places)| {
            places.iter().all(|&at| self.draft.reading(at).affirms_only(*topic))
        });
        let turned = |topic: usize| {
            let places = self.draft.saying(topic, Says::Absent);
            let named = |at: &&Place| {
                let mentions = &self.draft.reading(**at).mentions;
                mentions.iter().any(|m| m.topic == topic && !m.covered)
            };
            let at = *places.iter().find(named)?;
            let (text, reading) = (self.draft.sentence(at), self.draft.reading(at));
            let lone = reading.mentions.iter().all(|m| m.topic == topic);
            let mention = reading.mentions.iter().find(|m| m.topic == topic)?;
            let span = reading.words[mention.words.start].span.start
                ..reading.words[mention.words.end - 1].span.end;
            let own = if lone { affirmed(text, reading, topic) } else { None };
            let sentence =
                own.unwrap_or_else(|| format!("There is {}.", text[span].to_lowercase()));
            Some((topic, sentence, self.undenied(topic)?))
        };
        let absent: Vec<_> = self.absent().into_iter().filter_map(turned).collect();
        let deny = match (present.is_empty(), absent.is_empty()) {
            (false, false) => self.random.chance(0.5),
            (empty, _) => !empty,
        };
        if deny {
            let (topic, places) = self.choose(&present)?;
            self.deny(topic, places);
            return Some((Some(topic), "denied"));
        }
        let (topic, sentence, undenied) = self.choose(&absent)?;
        self.affirm(undenied, &sentence);
        Some((Some(topic), "affirmed"))
    }

    pub(super) fn device(&mut self) -> Done {
        let only = |topic: usize, at: Place| self.draft.reading(at).affirms_only(topic);
        let mut removable = self.groups(Sort::Device, |_, _| true);
        removable.retain(|(topic, places)| places.iter().all(|&at| only(*topic, at)));
        let movable = |topic: usize, at: Place| {
            let entry = &lexicon().topics[topic];
            let text = self.draft.sentence(at);
            let place = entry.places.iter().any(|place| text.contains(place.as_str()));
            only(topic, at) && (place || swap_sides(text).is_some())
        };
        let movable = self.groups(Sort::Device, movable);
        let addable: Vec<usize> = Self::topics(Sort::Device)
            .into_iter()
            .filter(|&topic| !self.draft.names(topic) && self.label(topic).is_none_or(|v| v == 0.0))
            .collect();
        let ways = [
            (!addable.is_empty() && !self.draft.places().is_empty(), "added"),
            (!removable.is_empty(), "removed"),
            (!movable.is_empty(), "moved"),
        ];
        let ways: Vec<&'static str> = ways.into_iter().filter(|w| w.0).map(|w| w.1).collect();
        match self.choose(&ways)? {
            "added" => self.add_device(&addable),
            "removed" => self.remove_device(&removable),
            _ => {
                let (topic, places) = self.choose(&movable)?;
                for at in places {
                    let text =
                        moved(self.draft.sentence(at), &lexicon().topics[topic], self.random)?;
                    self.draft.replace(at, text);
                }
                Some((Some(topic), "moved"))
            }
        }
    }

    fn add_device(&mut self, addable: &[usize]) -> Done {
        let topic = self.choose(addable)?;
        let sentence = self.donors.sentence(topic, self.random);
        self.put_in_device(&sentence);
        Some((Some(topic), "added"))
    }

    /// Puts a device in by `sentence`, in place of what denies all devices.
    pub(super) fn put_in_device(&mut self, sentence: &str) {
        let general = Self::topics(Sort::Devices);
        let denials = general.into_iter().find_map(|devices| {
            let found = self.undenied(devices)?;
            (!found.is_empty()).then_some(found)
        });
        if let Some(denials) = denials {
            self.affirm(denials, sentence);
        } else {
            let count = self.draft.len(0);
            let at = self.random.below(count + 1);
            self.draft.add(0, at, sentence.to_owned());
        }
    }

    fn remove_device(&mut self, removable: &[(usize, Vec<Place>)]) -> Done {
        let (topic, places) = self.choose(removable)?;
        self.take_device(topic, places);
        Some((Some(topic), "removed"))
    }

    /// Leaves out the sentences of a device; of devices in general too, if it was the only one.
    pub(super) fn take_device(&mut self, topic: usize, places: Vec<Place>) {
        let others = Self::topics(Sort::Device)
            .into_iter()
            .any(|other| other != topic && !self.draft.saying(other, Says::Present).is_empty());
        if !others {
            for devices in Self::topics(Sort::Devices) {
                for at in self.draft.saying(devices, Says::Present) {
                    if self.draft.reading(at).affirms_only(devices) {
                        self.draft.drop(at);
                    }
                }
            }
        }
        self.leave_out(places);
    }
}
