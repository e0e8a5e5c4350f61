//! How a published layout's names become ours, as data.
//!
//! A map is TOML: `strip` (prefixes taken off, again and again), `drop` (keys the model has no
//! use for), then `rename`, `split` and `merge` rules over whole names, where `{i}` stands for a
//! number, `{text}` for any text and `*` in `drop` for anything. The first rule that fits wins;
//! a key that no rule fits keeps its name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::pattern::Pattern;
use crate::{Error, Result};

/// The maps compiled in: a layout is one file and one line.
const BUILT_IN: &[(&str, &str)] = &[
    ("bert", include_str!("maps/bert.toml")),
    ("clip_vision", include_str!("maps/clip_vision.toml")),
    ("ctvit", include_str!("maps/ctvit.toml")),
    ("densenet", include_str!("maps/densenet.toml")),
    ("dinov2_hf", include_str!("maps/dinov2_hf.toml")),
    ("efficientnet", include_str!("maps/efficientnet.toml")),
    ("llama", include_str!("maps/llama.toml")),
    ("llama_tied", include_str!("maps/llama_tied.toml")),
    ("perceiver", include_str!("maps/perceiver.toml")),
    ("plain", include_str!("maps/plain.toml")),
    ("qformer", include_str!("maps/qformer.toml")),
    ("siglip_text", include_str!("maps/siglip_text.toml")),
    ("siglip_vision", include_str!("maps/siglip_vision.toml")),
    ("t5", include_str!("maps/t5.toml")),
    ("vit3d", include_str!("maps/vit3d.toml")),
    ("vit_hf", include_str!("maps/vit_hf.toml")),
    ("vit_timm", include_str!("maps/vit_timm.toml")),
];

/// The rules of one layout.
#[derive(Clone, Debug)]
pub struct NameMap {
    strip: Vec<String>,
    drop: Vec<Pattern>,
    rules: Vec<Rule>,
    target: String,
}

/// One rule: sources joined along the first axis, then cut into the targets.
#[derive(Clone, Debug)]
struct Rule {
    from: Vec<Pattern>,
    to: Vec<Pattern>,
    /// How many equal parts of the first axis each target takes.
    parts: Vec<usize>,
    /// Axes of length one may come and go.
    ones: bool,
}

/// Where the values of one parameter come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Keys of the file, joined along the first axis.
    pub(super) keys: Vec<String>,
    /// Of how many equal parts of the first axis to take which: (first, count, all).
    pub(super) part: Option<(usize, usize, usize)>,
    pub(super) ones: bool,
}

/// What a map makes of the keys of a file.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// By name in the model.
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) dropped: Vec<String>,
    /// Keys of a merge whose other parts are not there.
    pub(super) orphans: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    strip: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    rename: Vec<RawRename>,
    #[serde(default)]
    split: Vec<RawSplit>,
    #[serde(default)]
    merge: Vec<RawMerge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRename {
    from: String,
    to: String,
    #[serde(default)]
    ones: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSplit {
    from: String,
    to: Vec<String>,
    parts: Option<Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMerge {
    from: Vec<String>,
    to: String,
}

impl NameMap {
    /// The map compiled in under `name`: see [`Self::names`].
    pub fn named(name: &str) -> Result<Self> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = Self::names().collect();
            Error::value("name map", format!("found {name:?}, expected one of {known:?}"))
        })?;
        Self::from_toml(text)
    }

    /// The names of the maps compiled in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a map from TOML, in the form that the module describes.
    pub fn from_toml(text: &str) -> Result<Self> {
        let raw: Raw =
            toml::from_str(text).map_err(|why| Error::value("name map", why.to_string()))?;
        let wrong = |why: String| Error::value("name map", why);
        let drop = patterns(&raw.drop).map_err(wrong)?;
        let mut rules = Vec::new();
        for RawRename { from, to, ones } in raw.rename {
            rules.push(Rule::new(&[from], &[to], vec![1], ones).map_err(wrong)?);
        }
        for RawSplit { from, to, parts } in raw.split {
            let parts = parts.unwrap_or_else(|| vec![1; to.len()]);
            rules.push(Rule::new(&[from], &to, parts, false).map_err(wrong)?);
        }
        for RawMerge { from, to } in raw.merge {
            rules.push(Rule::new(&from, &[to], vec![1], false).map_err(wrong)?);
        }
        Ok(Self { strip: raw.strip, drop, rules, target: String::new() })
    }

    /// The same map for a part of a larger model, whose names there begin with `prefix`
    /// (`vision.`, say). Loading then looks at the parameters under that prefix only.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.target);
        self
    }

    /// The prefix set by [`Self::under`].
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Sorts `keys` into sources by parameter.
    pub(super) fn resolve<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<Resolved> {
        let mut resolved = Resolved::default();
        // Parts of a merge, by their place in the rule's list, until all keys were seen.
        let mut parts: BTreeMap<(usize, Vec<String>), Vec<Option<String>>> = BTreeMap::new();
        for key in keys {
            let short = self.stripped(key);
            if self.drop.iter().any(|pattern| pattern.matches(short).is_some()) {
                resolved.dropped.push(key.to_owned());
                continue;
            }
            match self.rule_for(short) {
                None => resolved.add(self, short, Source::whole(key))?,
                Some((rule, place, targets)) => {
                    let all = self.rules[rule].from.len();
                    let found = parts.entry((rule, targets)).or_insert_with(|| vec![None; all]);
                    if let Some(other) = found[place].replace(key.to_owned()) {
                        return Err(clash(&other, key, short));
                    }
                }
            }
        }
        for ((rule, targets), found) in parts {
            let Some(keys) = found.iter().cloned().collect::<Option<Vec<_>>>() else {
                resolved.orphans.extend(found.into_iter().flatten());
                continue;
            };
            let rule = &self.rules[rule];
            let all = rule.parts.iter().sum();
            let mut first = 0;
            for (target, &count) in targets.iter().zip(&rule.parts) {
                let part = (targets.len() > 1).then_some((first, count, all));
                let source = Source { keys: keys.clone(), part, ones: rule.ones };
                resolved.add(self, target, source)?;
                first += count;
            }
        }
        Ok(resolved)
    }

    fn stripped<'a>(&self, key: &'a str) -> &'a str {
        let mut short = key;
        while let Some(rest) = self.strip.iter().find_map(|p| short.strip_prefix(p.as_str())) {
            short = rest;
        }
        short
    }

    /// The first rule that fits, which of its sources fits, and the names of its targets.
    fn rule_for(&self, name: &str) -> Option<(usize, usize, Vec<String>)> {
        self.rules.iter().enumerate().find_map(|(rule, Rule { from, to, .. })| {
            from.iter().enumerate().find_map(|(place, pattern)| {
                let captures = pattern.matches(name)?;
                let targets: Option<_> = to.iter().map(|target| target.fill(&captures)).collect();
                targets.map(|targets| (rule, place, targets))
            })
        })
    }
}

impl Resolved {
    fn add(&mut self, map: &NameMap, target: &str, source: Source) -> Result<()> {
        let target = format!("{}{target}", map.target);
        if let Some(other) = self.sources.get(&target) {
            return Err(clash(&other.keys[0], &source.keys[0], &target));
        }
        self.sources.insert(target, source);
        Ok(())
    }
}

impl Source {
    fn whole(key: &str) -> Self {
        Self { keys: vec![key.to_owned()], part: None, ones: false }
    }
}

impl Rule {
    fn new(
        from: &[String],
        to: &[String],
        parts: Vec<usize>,
        ones: bool,
    ) -> std::result::Result<Self, String> {
        if from.is_empty() || to.is_empty() || to.len() != parts.len() || parts.contains(&0) {
            return Err(format!("a rule from {from:?} to {to:?} in {parts:?} parts"));
        }
        let rule = Self { from: patterns(from)?, to: patterns(to)?, parts, ones };
        for (text, target) in to.iter().zip(&rule.to) {
            for name in target.placeholders() {
                if !rule.from.iter().all(|from| from.placeholders().any(|known| known == name)) {
                    return Err(format!("{text:?} uses {{{name}}}, which {from:?} does not bind"));
                }
            }
        }
        Ok(rule)
    }
}

fn patterns(texts: &[String]) -> std::result::Result<Vec<Pattern>, String> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

fn clash(one: &str, other: &str, target: &str) -> Error {
    Error::value("checkpoint keys", format!("`{one}` and `{other}` both become `{target}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"
        strip = ["module.", "vit."]
        drop = ["*position_ids"]
        [[rename]]
        from = "table"
        to = "pos"
        ones = true
        [[split]]
        from = "in.{p}"
        to = ["q.{p}", "kv.{p}"]
        parts = [1, 2]
        [[merge]]
        from = ["l.{i}.q.{kind}", "l.{i}.k.{kind}"]
        to = "l.{i}.qk.{kind}"
    "#;

    #[test]
    fn keys_are_stripped_dropped_renamed_split_and_merged() {
        let map = NameMap::from_toml(&MAP.replace("{p}", "{part}")).unwrap().under("vision.");
        let keys = [
            "module.vit.x.position_ids",
            "in.weight",
            "l.3.k.bias",
            "l.3.q.bias",
            "l.4.q.bias",
            "module.other",
            "vit.table",
        ];
        let resolved = map.resolve(keys.into_iter()).unwrap();
        assert_eq!(resolved.dropped, ["module.vit.x.position_ids"]);
        assert_eq!(resolved.orphans, ["l.4.q.bias"]);
        let source = |name: &str| {
            let Source { keys, part, ones } = &resolved.sources[name];
            (keys.join("+"), *part, *ones)
        };
        assert_eq!(source("vision.pos"), ("vit.table".to_owned(), None, true));
        assert_eq!(source("vision.other"), ("module.other".to_owned(), None, false));
        assert_eq!(source("vision.q.weight"), ("in.weight".to_owned(), Some((0, 1, 3)), false));
        assert_eq!(source("vision.kv.weight"), ("in.weight".to_owned(), Some((1, 2, 3)), false));
        assert_eq!(source("vision.l.3.qk.bias"), ("l.3.q.bias+l.3.k.bias".into(), None, false));
        assert_eq!(resolved.sources.len(), 5);
    }

    #[test]
    fn two_keys_for_one_parameter_are_an_error_with_both_names() {
        let map = NameMap::from_toml("strip = [\"a.\"]").unwrap();
        let error = map.resolve(["a.w", "w"].into_iter()).unwrap_err().to_string();
        assert_eq!(error, "checkpoint keys: `a.w` and `w` both become `w`");
    }

    #[test]
    fn every_map_compiled_in_parses_and_a_wrong_name_lists_them() {
        for name in NameMap::names() {
            NameMap::named(name).unwrap();
        }
        let error = NameMap::named("vgg").unwrap_err().to_string();
        assert!(error.starts_with("name map: found \"vgg\", expected one of [\"bert\""), "{error}");
    }

    #[test]
    fn a_rule_that_uses_an_unbound_placeholder_is_refused() {
        let text = "[[rename]]\nfrom = \"a.{i}\"\nto = \"b.{j}\"";
        let error = NameMap::from_toml(text).unwrap_err().to_string();
        assert_eq!(error, "name map: \"b.{j}\" uses {j}, which [\"a.{i}\"] does not bind");
    }
}
