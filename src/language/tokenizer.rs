//! Texts to numbers and back.
//!
//! Source: `WordPiece` as in Devlin et al. 2018, arXiv:1810.04805, by the `tokenizers` crate.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::path::Path;

use serde::de::IgnoredAny;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, TruncationParams};

use super::TokenBatch;
use crate::{Error, Result, files};

/// Longer texts are a mistake: a report has some thousand characters.
const LONGEST_TEXT: usize = 1 << 20;

/// Tokens of the vocabulary compiled in that stand for no text.
const SPECIAL: [&str; 6] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]"];

const BUILT_IN: &str = include_str!("vocab/radiology.txt");

/// A tokenizer with a greatest length.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pad_id: u32,
    max_length: usize,
    /// The end of a text, when it counts as padding.
    hidden_end: Option<u32>,
    /// Whether every row is as long as the longest text may be.
    full_rows: bool,
}

impl Tokenizer {
    /// The vocabulary compiled in: some four thousand pieces of radiology English, lower case.
    ///
    /// Every text of ASCII words of up to a hundred characters encodes without unknown pieces.
    pub fn builtin() -> Result<Self> {
        Self::from_vocab(BUILT_IN, true, 128)
    }

    /// Opens a folder's `tokenizer.json`, or else its `vocab.txt`; texts are cut at `max_length`
    /// tokens.
    pub fn open(folder: impl AsRef<Path>, max_length: usize) -> Result<Self> {
        let folder = folder.as_ref();
        let json = folder.join("tokenizer.json");
        if json.is_file() {
            return Self::from_json(&files::read(&json)?, max_length)
                .map_err(|why| Error::format(&json, why.to_string()));
        }
        let vocab = folder.join("vocab.txt");
        if !vocab.is_file() {
            let why = "found no tokenizer, expected tokenizer.json or vocab.txt";
            return Err(Error::format(folder, why));
        }
        let text = String::from_utf8(files::read(&vocab)?)
            .map_err(|why| Error::format(&vocab, why.to_string()))?;
        Self::from_vocab(&text, lower_cases(folder)?, max_length)
            .map_err(|why| Error::format(&vocab, why.to_string()))
    }

    /// Reads the content of a `tokenizer.json`.
    pub fn from_json(json: &[u8], max_length: usize) -> Result<Self> {
        // The crate reads a file several times over, and unwraps what a damaged one gives.
        serde_json::from_slice::<IgnoredAny>(json).map_err(wrong)?;
        let read = catch_unwind(|| tokenizers::Tokenizer::from_bytes(json));
        let inner = read.map_err(|_| wrong("it is damaged"))?.map_err(wrong)?;
        Self::finish(inner, max_length)
    }

    /// A `WordPiece` tokenizer from a vocabulary, one piece a line.
    pub fn from_vocab(vocab: &str, lowercase: bool, max_length: usize) -> Result<Self> {
        let pieces: HashMap<&str, u32> = vocab.lines().map(str::trim_end).zip(0..).collect();
        let need = |piece: &str| {
            let found = pieces.get(piece).copied();
            let why = || Error::value("vocabulary", format!("found no {piece}, expected one"));
            found.map(|id| (piece.to_owned(), id)).ok_or_else(why)
        };
        let (sep, cls, _) = (need("[SEP]")?, need("[CLS]")?, need("[UNK]")?);
        let special: Vec<AddedToken> = SPECIAL
            .iter()
            .filter(|token| pieces.contains_key(**token))
            .map(|token| AddedToken::from(*token, true))
            .collect();
        let model = WordPiece::read_bytes(vocab.as_bytes()).map_err(wrong)?;
        let model = WordPiece::builder().vocab(model).build().map_err(wrong)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner
            .with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))
            .map_err(wrong)?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new(sep, cls)));
        inner.with_decoder(Some(WordPieceDecoder::new("##".to_owned(), true)));
        inner.add_special_tokens(special).map_err(wrong)?;
        Self::finish(inner, max_length)
    }

    /// The same tokenizer that cuts texts at `max_length` tokens, special ones included.
    pub fn with_max_length(self, max_length: usize) -> Result<Self> {
        Self::finish(self.inner, max_length)
    }

    /// The same tokenizer that numbers texts as CXR Foundation's published clients do: lower case,
    /// the end of a text (`[SEP]`) becomes and counts as padding, every row as long as the longest
    /// text may be, and names of special tokens are read as ordinary words.
    pub fn cxr_foundation(mut self) -> Result<Self> {
        let end = self.id("[SEP]");
        let why = || Error::value("tokenizer", "found no [SEP], expected one to count as padding");
        self.hidden_end = Some(end.ok_or_else(why)?);
        self.inner.set_encode_special_tokens(true);
        Ok(self.full_rows())
    }

    /// The same tokenizer whose rows are all as long as the longest text may be.
    #[must_use]
    pub fn full_rows(mut self) -> Self {
        self.full_rows = true;
        self
    }

    /// Encodes `texts` with special tokens, cut and padded.
    pub fn encode<T: AsRef<str>>(&self, texts: &[T]) -> Result<TokenBatch> {
        let inputs = texts.iter().enumerate().map(|(i, text)| {
            let text = text.as_ref();
            if text.len() > LONGEST_TEXT {
                let why = format!("found {} bytes, at most {LONGEST_TEXT}", text.len());
                return Err(Error::value(format!("text {i}"), why));
            }
            Ok(text)
        });
        let inputs: Vec<&str> = inputs.collect::<Result<_>>()?;
        let Some(end) = self.hidden_end else {
            let encodings = self.inner.encode_batch_fast(inputs, true).map_err(wrong)?;
            return Ok(self.batch(&encodings));
        };
        let lowered: Vec<String> = inputs.iter().map(|text| text.to_lowercase()).collect();
        let mut batch = self.batch(&self.inner.encode_batch_fast(lowered, true).map_err(wrong)?);
        for (id, mask) in batch.ids.iter_mut().zip(&mut batch.mask) {
            if *id == end {
                (*id, *mask) = (self.pad_id, 0);
            }
        }
        Ok(batch)
    }

    /// The texts, those that are too long cut after the last sentence that fits (or within the
    /// first), and how many were cut.
    pub fn fitting(&self, texts: &[String]) -> Result<(Vec<String>, usize)> {
        let mut cut = 0;
        let one = |text: &String| -> Result<String> {
            let mut ends = (0..=text.len().min(LONGEST_TEXT)).rev();
            let short = &text[..ends.find(|&at| text.is_char_boundary(at)).unwrap_or(0)];
            let encoding = self.inner.encode(short, true).map_err(wrong)?;
            if short.len() == text.len() && encoding.get_overflowing().is_empty() {
                return Ok(text.clone());
            }
            cut += 1;
            let read = encoding.get_offsets().iter().map(|place| place.1).max().unwrap_or(0);
            let mut ends = short.rmatch_indices(". ").map(|(at, _)| at + 1);
            let end = ends.find(|&end| end <= read);
            Ok(end.map_or_else(|| text.clone(), |end| short[..end].to_owned()))
        };
        let texts = texts.iter().map(one).collect::<Result<_>>()?;
        Ok((texts, cut))
    }

    /// The numbers of `encodings`, padded.
    fn batch(&self, encodings: &[tokenizers::Encoding]) -> TokenBatch {
        let longest = encodings.iter().map(tokenizers::Encoding::len).max().unwrap_or(0);
        let columns = if self.full_rows { self.max_length } else { longest };
        let mut batch =
            TokenBatch { ids: Vec::new(), mask: Vec::new(), rows: encodings.len(), columns };
        for encoding in encodings {
            let padding = columns - encoding.len();
            batch.ids.extend_from_slice(encoding.get_ids());
            batch.ids.extend(std::iter::repeat_n(self.pad_id, padding));
            batch.mask.extend(std::iter::repeat_n(1, encoding.len()));
            batch.mask.extend(std::iter::repeat_n(0, padding));
        }
        batch
    }

    /// The tokens of one text, uncut where the greatest length allows; with the special tokens of
    /// the tokenizer or, for texts that name their own, without.
    pub fn tokens(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        if text.len() > LONGEST_TEXT {
            let why = format!("found {} bytes, at most {LONGEST_TEXT}", text.len());
            return Err(Error::value("text", why));
        }
        let encoding = self.inner.encode_fast(text, special).map_err(wrong)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The pieces that `text` is read as, special ones included.
    pub fn pieces(&self, text: &str) -> Result<Vec<String>> {
        let ids = self.encode(&[text])?.ids;
        let unknown = |id: u32| Error::value("tokenizer", format!("found no piece {id}"));
        ids.into_iter().map(|id| self.piece(id).ok_or_else(|| unknown(id))).collect()
    }

    /// The text of `ids`, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(wrong)
    }

    /// The number of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// The piece with a number.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Pieces in all: one more than the greatest number.
    pub fn vocab_size(&self) -> usize {
        let ids = self.inner.get_vocab(true);
        ids.values().max().map_or(0, |&most| most as usize + 1)
    }

    /// The number that fills short rows.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// Where texts are cut.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The content of a `tokenizer.json` that gives this tokenizer back.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(wrong)
    }

    fn finish(mut inner: tokenizers::Tokenizer, max_length: usize) -> Result<Self> {
        if max_length < 3 {
            let why = format!("found {max_length}, expected at least 3: two are special tokens");
            return Err(Error::value("max_length", why));
        }
        let pad_id = inner.get_padding().map(|padding| padding.pad_id);
        let pad_id = pad_id.or_else(|| inner.token_to_id("[PAD]"));
        let pad_id = pad_id.or_else(|| inner.token_to_id("<pad>")).unwrap_or(0);
        let params = TruncationParams { max_length, ..TruncationParams::default() };
        inner.with_truncation(Some(params)).map_err(wrong)?;
        inner.with_padding(None); // the batch is padded here, to its longest text
        Ok(Self { inner, pad_id, max_length, hidden_end: None, full_rows: false })
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pieces, most) = (self.vocab_size(), self.max_length);
        write!(f, "Tokenizer({pieces} pieces, at most {most} tokens a text)")
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::value("tokenizer", why.to_string())
}

/// Whether the tokenizer of `folder` lower-cases; true unless its file says otherwise.
fn lower_cases(folder: &Path) -> Result<bool> {
    let path = folder.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok(true);
    }
    let json: serde_json::Value = serde_json::from_slice(&files::read(&path)?)
        .map_err(|why| Error::format(&path, why.to_string()))?;
    Ok(json.get("do_lower_case").and_then(serde_json::Value::as_bool).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
        tokenizer.pieces(text).unwrap()
    }

    #[test]
    fn reports_are_made_of_whole_words_and_other_words_of_pieces() {
        let tokenizer = Tokenizer::builtin().unwrap();
        assert!((3000..5000).contains(&tokenizer.vocab_size()), "{tokenizer:?}");
        let found = pieces(&tokenizer, "No PLEURAL effusion; 7 mm nodule.");
        let words = ["[CLS]", "no", "pleural", "effusion", ";", "7", "mm", "nodule", ".", "[SEP]"];
        assert_eq!(found, words);
        let found = pieces(&tokenizer, "pneumoconiotic");
        assert!(found.len() < 8 && found[2..found.len() - 1].iter().all(|p| p.starts_with("##")));
    }

    #[test]
    fn the_words_of_ordinary_reports_are_in_the_vocabulary() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let report = "The lungs are hyperinflated with flattened diaphragms. There is a moderate \
            left pleural effusion with adjacent atelectasis. No pneumothorax is seen. The heart is \
            mildly enlarged. An endotracheal tube terminates 4 cm above the carina. Degenerative \
            changes are noted in the thoracic spine. Compared to the prior study, the right lower \
            lobe consolidation has improved. Recommend follow up radiograph in six weeks.";
        let split: Vec<String> =
            pieces(&tokenizer, report).into_iter().filter(|p| p.starts_with("##")).collect();
        assert!(split.is_empty(), "{split:?}");
    }

    #[test]
    fn texts_over_the_limit_are_cut_after_a_sentence() {
        let tokenizer = Tokenizer::builtin().unwrap().with_max_length(8).unwrap();
        let texts = [
            "No effusion. No edema. Clear lungs.",
            "No effusion.",
            "clear lungs no effusion no edema",
        ];
        let (cut, count) = tokenizer.fitting(&texts.map(str::to_owned)).unwrap();
        assert_eq!(cut, ["No effusion. No edema.", "No effusion.", texts[2]]);
        assert_eq!(count, 1);
        let endless = ["no effusion ".repeat(LONGEST_TEXT / 6)];
        assert_eq!(tokenizer.fitting(&endless).unwrap().1, 1);
        assert_eq!(tokenizer.fitting(&["é".repeat(LONGEST_TEXT)]).unwrap().1, 1);
    }

    #[test]
    fn batches_are_padded_to_the_longest_and_cut_at_the_limit() {
        let tokenizer = Tokenizer::builtin().unwrap().with_max_length(6).unwrap();
        let long = "no ".repeat(50);
        let batch = tokenizer.encode(&["", "clear lungs", &long]).unwrap();
        assert_eq!((batch.rows, batch.columns), (3, 6));
        assert_eq!([batch.length(0), batch.length(1), batch.length(2)], [2, 4, 6]);
        assert_eq!(batch.ids[2..6], [tokenizer.pad_id(); 4]);
        assert_eq!(Some(batch.ids[17]), tokenizer.id("[SEP]"));
        let none = tokenizer.encode::<&str>(&[]).unwrap();
        assert_eq!((none.rows, none.columns), (0, 0));
    }

    #[test]
    fn a_tokenizer_survives_its_file() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
        let again = Tokenizer::open(folder.path(), 128).unwrap();
        let texts = ["Stable bibasilar opacities, 12 x 8 mm.", "[MASK] Ünïcödé 漢字"];
        assert_eq!(tokenizer.encode(&texts).unwrap(), again.encode(&texts).unwrap());
        let ids = again.encode(&texts[..1]).unwrap().ids;
        assert_eq!(again.decode(&ids).unwrap(), "stable bibasilar opacities, 12 x 8 mm.");
    }

    #[test]
    fn the_published_numbers_of_cxr_foundation_come_out() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/elixr");
        let plain = Tokenizer::open(&folder, 128).unwrap();
        let tokenizer = plain.clone().cxr_foundation().unwrap();
        let json = files::read(&folder.join("tokens.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let rows = |name: &str| json[name].as_array().unwrap().clone();
        let texts: Vec<String> =
            rows("texts").iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let numbers = |name: &str| -> Vec<u32> {
            let rows = rows(name).into_iter();
            rows.flat_map(|row| serde_json::from_value::<Vec<u32>>(row).unwrap()).collect()
        };
        let batch = tokenizer.encode(&texts).unwrap();
        assert_eq!((batch.rows, batch.columns), (20, 128));
        assert_eq!(batch.ids, numbers("ids"));
        let paddings: Vec<u32> = batch.mask.iter().map(|mask| 1 - mask).collect();
        assert_eq!(paddings, numbers("paddings"));
        // Without the option the end is there, and "[SEP]" in a text is one.
        let batch = plain.encode(&texts).unwrap();
        assert!((0..20).all(|row| batch.ids[row * 128..][batch.length(row) - 1] == 102));
        assert!(plain.cxr_foundation().unwrap().encode::<&str>(&[]).unwrap().ids.is_empty());
    }

    #[test]
    fn bad_files_and_endless_texts_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| Tokenizer::open(path, 128).unwrap_err().to_string();
        assert!(error(folder.path()).contains("expected tokenizer.json or vocab.txt"));
        std::fs::write(folder.path().join("vocab.txt"), "[CLS]\n[SEP]\na\n").unwrap();
        assert!(error(folder.path()).contains("found no [UNK], expected one"));
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        assert!(error(folder.path()).contains("tokenizer.json: tokenizer: "));
        // One wrong byte after the model, where the crate unwraps.
        let whole = Tokenizer::builtin().unwrap().to_json().unwrap();
        let damaged = whole.replacen("\"decoder\":", "\"decoder\":$", 1);
        assert_ne!(damaged, whole);
        std::fs::write(folder.path().join("tokenizer.json"), damaged).unwrap();
        assert!(error(folder.path()).contains("tokenizer.json: tokenizer: expected value"));
        let tokenizer = Tokenizer::builtin().unwrap();
        let endless = "a".repeat(LONGEST_TEXT + 1);
        let text = tokenizer.encode(&["a", &endless]).unwrap_err().to_string();
        assert_eq!(text, "text 1: found 1048577 bytes, at most 1048576");
        let text = tokenizer.with_max_length(2).unwrap_err().to_string();
        assert_eq!(text, "max_length: found 2, expected at least 3: two are special tokens");
    }

    proptest! {
        #[test]
        fn ascii_text_never_needs_the_unknown_piece(text in "[ -~\\t\\n]{0,90}") {
            static BUILT: std::sync::LazyLock<Tokenizer> =
                std::sync::LazyLock::new(|| Tokenizer::builtin().unwrap());
            let tokenizer = &*BUILT;
            prop_assume!(!text.contains("[UNK]"));
            let unknown = tokenizer.id("[UNK]").unwrap();
            prop_assert!(!tokenizer.encode(&[text]).unwrap().ids.contains(&unknown));
        }
    }
}
