//! Chat templates: a conversation as the text that a decoder was taught to read.

use std::path::Path;

use minijinja::{Environment, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result, files};

/// Steps that a template may take; a long conversation takes some thousands.
const FUEL: u64 = 2_000_000;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A template in Jinja, as published decoders bring it.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// The token before every text, and the one after, as the template names them.
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of a decoder's folder, from `chat_template.jinja` or
    /// `tokenizer_config.json`, if it has one.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("tokenizer_config.json");
        let json: Value = if path.is_file() {
            serde_json::from_slice(&files::read(&path)?)
                .map_err(|why| Error::format(&path, why.to_string()))?
        } else {
            Value::Null
        };
        let alone = folder.join("chat_template.jinja");
        let (source, path) = if alone.is_file() {
            let text = String::from_utf8(files::read(&alone)?);
            (Some(text.map_err(|why| Error::format(&alone, why.to_string()))?), alone)
        } else {
            let wrong = |why| Error::format(&path, why);
            (source(&json["chat_template"]).map_err(wrong)?, path)
        };
        let Some(source) = source else { return Ok(None) };
        let template = Self::new(source, token(&json["bos_token"]), token(&json["eos_token"]));
        template.map(Some).map_err(|error| Error::format(path, error.to_string()))
    }

    /// A template from its text, and the tokens it may name.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn new(source: String, bos: String, eos: String) -> Result<Self> {
        Environment::new()
            .template_from_str(&source)
            .map_err(|why| Error::value("chat template", told(&why)))?;
        Ok(Self { source, bos, eos })
    }

    /// The text of a conversation; with `answer`, up to where the assistant speaks next.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        if messages.is_empty() {
            return Err(Error::value("messages", "found none, expected at least one"));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        let refuse = |why: String| -> std::result::Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        };
        environment.add_function("raise_exception", refuse);
        let template = environment.template_from_str(&self.source);
        let text = template.and_then(|template| {
            template.render(context! {
                messages => messages,
                add_generation_prompt => answer,
                bos_token => self.bos,
                eos_token => self.eos,
            })
        });
        text.map_err(|why| Error::value("chat template", told(&why)))
    }

    /// What a `tokenizer_config.json` says of it.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "bos_token": self.bos, "eos_token": self.eos, "chat_template": self.source,
        })
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChatTemplate({} characters)", self.source.chars().count())
    }
}

/// What went wrong and where, without what the template was given.
fn told(why: &minijinja::Error) -> String {
    let what = why.detail().map_or_else(|| why.kind().to_string(), str::to_owned);
    why.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line})"))
}

/// The text of the template; the one called `default` where there are several.
fn source(field: &Value) -> std::result::Result<Option<String>, &'static str> {
    let text = match field {
        Value::Null => return Ok(None),
        Value::Array(named) => {
            let is_default = |one: &&Value| one["name"] == "default";
            named.iter().find(is_default).or(named.first()).and_then(|one| one["template"].as_str())
        }
        field => field.as_str(),
    };
    let text = text.ok_or("chat_template: expected a text or named texts")?;
    Ok(Some(text.to_owned()))
}

/// A token as the file says it: a text, or an object with one.
fn token(field: &Value) -> String {
    field.as_str().or_else(|| field["content"].as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA2: &str = "{% if messages[0]['role'] == 'system' %}\
        {% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}\
        {% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}\
        {% for message in loop_messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('roles must alternate') }}{% endif %}\
        {% if message['role'] == 'user' %}\
        {{ bos_token + '[INST] ' + (system + ' ' if loop.index0 == 0 and system else '') \
        + message['content'].strip() + ' [/INST]' }}\
        {% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}\
        {% endfor %}{% if add_generation_prompt %}{{ '' }}{% endif %}";

    fn say(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    fn template(source: &str) -> Result<ChatTemplate> {
        ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned())
    }

    #[test]
    fn templates_with_methods_of_python_are_rendered() {
        let messages = [
            say("system", "Be brief."),
            say("user", " Is there an effusion? "),
            say("assistant", "No."),
            say("user", "Sure?"),
        ];
        let text = template(LLAMA2).unwrap().render(&messages, true).unwrap();
        let expected =
            "<s>[INST] Be brief. Is there an effusion? [/INST] No. </s><s>[INST] Sure? [/INST]";
        assert_eq!(text, expected);
        let error = template(LLAMA2).unwrap().render(&messages[2..], true).unwrap_err();
        assert!(error.to_string().starts_with("chat template: roles must alternate"), "{error}");
    }

    #[test]
    fn bad_templates_say_where_and_endless_ones_end() {
        let error = template("a\n{% if x %}").unwrap_err().to_string();
        assert!(error.starts_with("chat template: ") && error.contains("line 2"), "{error}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = template(endless).unwrap().render(&[say("user", "secret")], true).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = template("x").unwrap().render(&[], true).unwrap_err().to_string();
        assert_eq!(error, "messages: found none, expected at least one");
    }

    #[test]
    fn files_name_the_template_in_three_ways() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let open = || ChatTemplate::open(folder.path());
        assert_eq!(open().unwrap(), None);
        write(
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}A"}"#,
        );
        let text =
            |template: Option<ChatTemplate>| template.unwrap().render(&[say("user", "")], true);
        assert_eq!(text(open().unwrap()).unwrap(), "<b>A");
        let named = r#"{"chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]}"#;
        write("tokenizer_config.json", named);
        assert_eq!(text(open().unwrap()).unwrap(), "D");
        write("chat_template.jinja", "J{% endif %}");
        let error = open().unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja: chat template: "), "{error}");
        write("chat_template.jinja", "J");
        assert_eq!(text(open().unwrap()).unwrap(), "J");
        std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
        write("tokenizer_config.json", r#"{"chat_template": 3}"#);
        assert!(open().unwrap_err().to_string().contains("expected a text or named texts"));
    }
}
