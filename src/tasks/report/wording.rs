//! Sentences turned: sides changed, degrees changed, denied, affirmed.

use std::ops::Range;

use super::lexicon::{Sort, Topic, lexicon};
use super::reading::{Reading, Says, places, words};
use super::scope::negators;
use super::size::sizes;
use crate::random::Random;

/// The sentence with left and right changed; `None` where it names no side, or both alike.
pub(super) fn swap_sides(text: &str) -> Option<String> {
    let mut edits = Vec::new();
    let mut balance = 0i32;
    for word in words(text) {
        let found = &text[word.span.clone()];
        for [first, second] in &lexicon().side_pairs {
            for (from, to, weight) in [(first, second, 1), (second, first, -1)] {
                if let Some(to) = in_case_of(found, from, to) {
                    edits.push((word.span.clone(), to));
                    balance += weight;
                }
            }
        }
    }
    (balance != 0).then(|| replaced(text, &edits))
}

/// `to` in the case of `found`, if that is `from` in small letters, with a capital, or in capitals.
fn in_case_of(found: &str, from: &str, to: &str) -> Option<String> {
    let forms = |word: &str| [word.to_owned(), capitalised(word), word.to_uppercase()];
    let at = forms(from).iter().position(|form| form == found)?;
    Some(forms(to)[at].clone())
}

/// With a capital at the start.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// `text` with the bytes of each edit replaced; edits are in order and apart.
fn replaced(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut out = String::new();
    let mut from = 0;
    for (span, new) in edits {
        out.push_str(&text[from..span.start]);
        out.push_str(new);
        from = span.end;
    }
    out + &text[from..]
}

/// How much of something a sentence names: its level, or `None` with sizes only.
pub(super) fn level(reading: &Reading, topic: &Topic) -> Option<usize> {
    reading.degrees(&topic.scale).first().map(|degree| degree.level)
}

/// Whether a sentence names a degree or a size in mm or cm.
pub(super) fn has_severity(reading: &Reading, topic: &Topic) -> bool {
    !reading.degrees(&topic.scale).is_empty() || !sizes(&reading.words).is_empty()
}

/// The sentence with all degrees at `level` and all sizes times `factor`.
pub(super) fn with_severity(
    text: &str,
    reading: &Reading,
    topic: &Topic,
    level: usize,
    factor: f64,
) -> String {
    let span = |words: &Range<usize>| {
        reading.words[words.start].span.start..reading.words[words.end - 1].span.end
    };
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for degree in reading.degrees(&topic.scale) {
        let mut place = span(&degree.words);
        let mut new = degree.scale.levels[level][0].text.clone();
        if text[place.clone()].starts_with(|c: char| c.is_uppercase()) {
            new = capitalised(&new);
        }
        // "an extensive" becomes "a mild": no first word of a level begins with a vowel.
        let an = degree.words.start.checked_sub(1).map(|at| &reading.words[at]);
        if an.is_some_and(|word| word.lower == "an" && word.span.end + 1 == place.start) {
            place.start -= 2;
            new = format!(" {new}");
        }
        edits.push((place, new));
    }
    for size in sizes(&reading.words) {
        let number = &text[size.digits.clone()];
        let decimals = number.split_once('.').map_or(0, |(_, digits)| digits.len());
        edits.push((size.digits, format!("{:.decimals$}", size.value * factor)));
    }
    edits.sort_by_key(|edit| edit.0.start);
    replaced(text, &edits)
}

/// The sentence, which affirms one finding, as its denial.
pub(super) fn denied(text: &str, reading: &Reading, topic: usize) -> String {
    let entry = &lexicon().topics[topic];
    let first = reading.mentions.iter().find(|m| m.topic == topic && m.says == Says::Present);
    let Some(mention) = first else { return entry.denial.clone() };
    let opening: Vec<&str> = reading.words.iter().take(2).map(|w| w.lower.as_str()).collect();
    let existential = matches!(opening[..], ["there", "is" | "are"]);
    let single = reading.mentions.iter().filter(|m| m.says == Says::Present).count() == 1;
    if !existential || !single {
        return entry.denial.clone();
    }
    let (be, from) = (&reading.words[1].span, reading.words[mention.words.start].span.start);
    format!("{} no {}", &text[..be.end], &text[from..])
}

/// The sentence, which denies one finding by a negator, as its affirmation; `None` if it cannot be.
pub(super) fn affirmed(text: &str, reading: &Reading, topic: usize) -> Option<String> {
    let mention = reading.mentions.iter().find(|m| m.topic == topic && !m.covered)?;
    let found = negators(&reading.words);
    let [negator] = found.as_slice() else { return None };
    if negator.end > mention.words.start {
        return None;
    }
    let rest = &text[reading.words[after_fillers(reading, negator.end)].span.start..];
    if negator.start == 0 {
        return Some(capitalised(rest));
    }
    let head = text[..reading.words[negator.start].span.start].trim_end();
    Some(format!("{head} {rest}"))
}

/// The first word from `at` on that is more than "evidence of".
fn after_fillers(reading: &Reading, at: usize) -> usize {
    let filler = |word: &super::reading::Word| lexicon().fillers.contains(&word.lower);
    let skipped = reading.words[at..].iter().take_while(|word| filler(word)).count();
    (at + skipped).min(reading.words.len() - 1)
}

/// The sentence without one item of the list that it denies; `None` where there is no such list.
pub(super) fn without_item(text: &str, reading: &Reading, topic: usize) -> Option<String> {
    let mention = reading.mentions.iter().find(|m| m.topic == topic && !m.covered)?;
    let negator = negators(&reading.words)
        .into_iter()
        .filter(|n| n.end <= mention.words.start)
        .max_by_key(|n| n.end)?;
    let first = after_fillers(reading, negator.end);
    let from = reading.words[first].span.start;
    let body = text[from..].trim_end_matches(['.', '!', ' ']);
    let tail = &text[from + body.len()..];
    // Items lie between commas and conjunctions.
    let mut items: Vec<(usize, usize)> = Vec::new();
    let mut start = from;
    for word in &reading.words[first..] {
        let joins = matches!(word.lower.as_str(), "or" | "and" | "nor");
        if !joins && !word.after_pause {
            continue;
        }
        let end = word.span.start;
        if !text[start..end].trim_matches([' ', ',']).is_empty() {
            items.push((start, end));
        }
        start = if joins { word.span.end } else { word.span.start };
    }
    items.push((start, from + body.len()));
    let at = reading.words[mention.words.start].span.start;
    let whose = items.iter().position(|&(start, end)| (start..end).contains(&at))?;
    if items.len() < 2 {
        return None;
    }
    // An item is what one finding is called, no more: longer ones may be another clause.
    let mut kept = Vec::new();
    for (number, &(start, end)) in items.iter().enumerate() {
        let item = text[start..end].trim_matches([' ', ',', '\n']);
        if words(item).len() > 4 {
            return None;
        }
        if number != whose {
            kept.push(item);
        }
    }
    let list = match kept.as_slice() {
        [firsts @ .., last] if !firsts.is_empty() => format!("{} or {last}", firsts.join(", ")),
        _ => kept.join(""),
    };
    Some(format!("{}{list}{tail}", &text[..from]))
}

/// The words for the three degrees of a topic, the least first; none for one without.
pub(super) fn degrees(topic: &Topic) -> Vec<&'static str> {
    let mut scales = lexicon().scale.iter().filter(|scale| scale.name == topic.scale);
    let levels = scales.next().map(|scale| scale.levels.iter());
    levels.into_iter().flatten().map(|level| level[0].text.as_str()).collect()
}

/// A sentence of the lexicon with its slots filled.
pub(super) fn sentence_of(topic: &Topic, random: &mut Random) -> String {
    let degrees = degrees(topic);
    let degree = if degrees.is_empty() { "" } else { degrees[random.below(3)] };
    let side = random.choose(&["left", "right"]);
    let text = random.choose(&topic.sentences);
    capitalised(&text.replace("{side}", side).replace("{degree}", degree))
}

/// The sentence with a device's place changed for another; `None` where it names none.
pub(super) fn moved(text: &str, topic: &Topic, random: &mut Random) -> Option<String> {
    debug_assert!(topic.sort == Sort::Device);
    let here = topic.places.iter().find(|place| text.contains(place.as_str()));
    let Some(here) = here else { return swap_sides(text) };
    let others: Vec<&String> = topic.places.iter().filter(|place| *place != here).collect();
    let there = *random.choose(&others);
    Some(text.replacen(here.as_str(), there.as_str(), 1))
}

/// Whether a sentence speaks of an earlier film.
pub(super) fn refers_back(reading: &Reading) -> bool {
    !places(&reading.words, &lexicon().references).is_empty()
}
