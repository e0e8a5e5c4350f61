//! What a folder of sentence-transformers says besides the transformer: pooling, normalisation,
//! the longest text.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::TextPooling;
use crate::{Error, Result, files};

/// How tokens become the embedding of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) pooling: TextPooling,
    pub(super) normalise: bool,
    /// The longest text, in tokens, if the folder names one.
    pub(super) max_length: Option<usize>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Limits {
    max_seq_length: Option<usize>,
}

impl Sentence {
    /// Reads `modules.json` and what it names; without it the mean of the tokens, as it is.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut sentence = Self { pooling: TextPooling::Mean, normalise: false, max_length: None };
        let limits = folder.join("sentence_bert_config.json");
        if limits.is_file() {
            sentence.max_length = read::<Limits>(&limits)?.max_seq_length;
        }
        let list = folder.join("modules.json");
        if !list.is_file() {
            return Ok(sentence);
        }
        for module in read::<Vec<Module>>(&list)? {
            match module.kind.rsplit('.').next() {
                Some("Transformer") if module.path.is_empty() => {}
                Some("Pooling") => sentence.pooling = pooling(folder, &list, &module.path)?,
                Some("Normalize") => sentence.normalise = true,
                _ => {
                    let (kind, path) = (module.kind, module.path);
                    let why = format!(
                        "found module {kind} in {path:?}, expected a Transformer in the folder \
                         itself, Pooling or Normalize"
                    );
                    return Err(Error::format(&list, why));
                }
            }
        }
        Ok(sentence)
    }
}

fn pooling(folder: &Path, list: &Path, path: &str) -> Result<TextPooling> {
    if !path.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let why = format!("found path {path:?}, expected the name of a sub-folder");
        return Err(Error::format(list, why));
    }
    let file = folder.join(path).join("config.json");
    let fields: Map<String, Value> = read(&file)?;
    let mut modes: Vec<&str> = fields
        .iter()
        .filter(|(_, value)| value.as_bool() == Some(true))
        .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
        .collect();
    modes.extend(fields.get("pooling_mode").and_then(Value::as_str));
    match modes.as_slice() {
        ["mean_tokens" | "mean"] => Ok(TextPooling::Mean),
        ["cls_token" | "cls"] => Ok(TextPooling::Class),
        ["lasttoken"] => Ok(TextPooling::Last),
        other => {
            let why = format!("found pooling {other:?}, expected one of mean, cls, lasttoken");
            Err(Error::format(&file, why))
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&files::read(path)?).map_err(|why| Error::format(path, why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(modules: &str, pooling: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        fs::write(folder.path().join("1_Pooling/config.json"), pooling).unwrap();
        fs::write(folder.path().join("modules.json"), modules).unwrap();
        folder
    }

    #[test]
    fn modules_say_how_to_pool_and_whether_to_normalise() {
        let modules = r#"[{"path": "", "type": "st.models.Transformer"},
            {"path": "1_Pooling", "type": "st.models.Pooling"},
            {"path": "2_Normalize", "type": "st.models.Normalize"}]"#;
        let cls = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
        let found = Sentence::open(folder(modules, cls).path()).unwrap();
        assert_eq!((found.pooling, found.normalise), (TextPooling::Class, true));
        let max = r#"{"pooling_mode_max_tokens": true}"#;
        let error = Sentence::open(folder(modules, max).path()).unwrap_err().to_string();
        assert!(error.contains("found pooling [\"max_tokens\"], expected one of mean"), "{error}");
    }

    #[test]
    fn a_module_that_would_change_the_embedding_is_refused() {
        let dense = r#"[{"path": "2_Dense", "type": "st.models.Dense"}]"#;
        let error = Sentence::open(folder(dense, "{}").path()).unwrap_err().to_string();
        assert!(error.contains("found module st.models.Dense in \"2_Dense\""), "{error}");
        let outside = r#"[{"path": "../x", "type": "st.models.Pooling"}]"#;
        let error = Sentence::open(folder(outside, "{}").path()).unwrap_err().to_string();
        assert!(error.contains("found path \"../x\""), "{error}");
    }
}
