//! How a decoder's texts are read and written: its tokenizer, and perhaps a chat template.

use std::path::Path;

use super::{ChatTemplate, LlamaConfig, Message, Tokenizer};
use crate::{Error, Result, files};

/// No tokenizer cuts a prompt: one that is too long is refused instead.
const UNCUT: usize = 1 << 40;

/// A tokenizer that cuts nothing, and a chat template where there is one.
#[derive(Clone, Debug)]
pub struct Script {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Script {
    /// Reads `tokenizer.json` or `vocab.txt` and, where there is one, the chat template of a
    /// decoder's folder. A tokenizer with more tokens than the decoder has rows is refused.
    pub fn open(folder: &Path, config: &LlamaConfig) -> Result<Self> {
        let tokenizer = Tokenizer::open(folder, UNCUT)?;
        fits(&tokenizer, config).map_err(|why| Error::format(folder.join("config.json"), why))?;
        Ok(Self { tokenizer, template: ChatTemplate::open(folder)? })
    }

    /// That of a decoder with the vocabulary compiled in, and the options that go with it.
    pub fn builtin(config: &LlamaConfig) -> Result<(Self, LlamaConfig)> {
        let tokenizer = Tokenizer::builtin()?.with_max_length(UNCUT)?;
        let config = LlamaConfig {
            bos: tokenizer.id("[CLS]"),
            eos: tokenizer.id("[SEP]").into_iter().collect(),
            pad: Some(tokenizer.pad_id()),
            ..config.clone()
        };
        fits(&tokenizer, &config).map_err(|why| Error::config("vocab_size", why))?;
        Ok((Self { tokenizer, template: None }, config))
    }

    /// Writes what [`Self::open`] reads.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        files::write_atomic(&folder.join("tokenizer.json"), self.tokenizer.to_json()?.as_bytes())?;
        if let Some(template) = &self.template {
            let text = format!("{:#}\n", template.to_json());
            files::write_atomic(&folder.join("tokenizer_config.json"), text.as_bytes())?;
        }
        Ok(())
    }

    /// A hash of how texts are read.
    pub fn hash(&self) -> Result<String> {
        let mut text = self.tokenizer.to_json()?;
        text.extend(self.template.iter().map(|template| template.to_json().to_string()));
        Ok(files::sha256_hex(text.as_bytes()))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether it knows how conversations are written.
    pub fn chats(&self) -> bool {
        self.template.is_some()
    }

    /// The tokens of a text that goes on: with what begins a text and without what ends one.
    pub fn read(&self, text: &str, config: &LlamaConfig) -> Result<Vec<u32>> {
        let mut tokens = self.tokenizer.tokens(text, true)?;
        while tokens.len() > 1 && tokens.last().is_some_and(|last| config.eos.contains(last)) {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// The tokens of a conversation whose next turn is the assistant's.
    pub fn conversation(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            let why = "found none in the decoder's folder, expected chat_template in \
                       tokenizer_config.json; generate() takes plain prompts";
            Error::value("chat template", why)
        })?;
        // The template names the special tokens itself.
        self.tokenizer.tokens(&template.render(messages, true)?, false)
    }

    /// The tokens of `prompt`, as a turn of a conversation where there is a template, and of
    /// each of `answers` after it, with what ends a text.
    pub fn exchange<T: AsRef<str>>(
        &self,
        prompt: &str,
        answers: &[T],
        config: &LlamaConfig,
    ) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
        let (text, special) = match &self.template {
            Some(template) => {
                let turn = Message { role: "user".to_owned(), content: prompt.to_owned() };
                (template.render(&[turn], true)?, false)
            }
            None => (prompt.to_owned(), true),
        };
        let read = |text: &str| {
            if special { self.read(text, config) } else { self.tokenizer.tokens(text, false) }
        };
        let asked = read(&text)?;
        let gap = if text.ends_with(char::is_whitespace) { "" } else { " " };
        let after = |answer: &T| -> Result<Vec<u32>> {
            // Where a word begins is up to the tokenizer: it sees both together.
            let both = read(&format!("{text}{gap}{}", answer.as_ref()))?;
            let mut tokens = match both.strip_prefix(asked.as_slice()) {
                Some(answer) => answer.to_vec(),
                None => self.tokenizer.tokens(answer.as_ref(), false)?,
            };
            tokens.extend(config.eos.first());
            Ok(tokens)
        };
        let answers = answers.iter().map(after).collect::<Result<_>>()?;
        Ok((asked, answers))
    }
}

/// Refuses a tokenizer whose tokens the model has no rows for.
fn fits(tokenizer: &Tokenizer, config: &LlamaConfig) -> std::result::Result<(), String> {
    let (pieces, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if pieces > rows {
        return Err(format!("found vocab_size {rows}, expected at least the tokenizer's {pieces}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin() -> (Script, LlamaConfig) {
        Script::builtin(&LlamaConfig::preset("1m").unwrap()).unwrap()
    }

    #[test]
    fn an_answer_follows_its_prompt_and_ends() {
        let (script, config) = builtin();
        let (prompt, answers) = script.exchange("Edema?", &["no", "left lung"], &config).unwrap();
        let pieces = |tokens: &[u32]| {
            tokens.iter().map(|id| script.tokenizer.piece(*id).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(pieces(&prompt), ["[CLS]", "edema", "?"]);
        assert_eq!(pieces(&answers[0]), ["no", "[SEP]"]);
        assert_eq!(pieces(&answers[1]), ["left", "lung", "[SEP]"]);
    }

    #[test]
    fn a_template_writes_the_turn() {
        let (mut script, config) = builtin();
        let source = "[CLS]{% for m in messages %}user: {{ m['content'] }}{% endfor %} assistant:";
        let template = ChatTemplate::new(source.to_owned(), String::new(), String::new());
        script.template = Some(template.unwrap());
        let (prompt, answers) = script.exchange("Edema?", &["no"], &config).unwrap();
        assert_eq!(Some(prompt[0]), config.bos);
        let text = script.tokenizer.decode(&prompt).unwrap();
        assert_eq!(text, "user : edema? assistant :");
        assert_eq!(answers[0].len(), 2);
    }

    #[test]
    fn a_saved_script_has_the_hash_of_its_original() {
        let (script, config) = builtin();
        let folder = tempfile::tempdir().unwrap();
        script.save(folder.path()).unwrap();
        let again = Script::open(folder.path(), &config).unwrap();
        assert_eq!(script.hash().unwrap(), again.hash().unwrap());
    }
}
