//! The special tokens that a model's files define beside the vocabulary, and how transformers adds
//! them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::source::Source;
use crate::error::{Error, Result, error};
use crate::model_dir::{TokenizerClass, Transformers, TransformersRules, VocabularyFormat};
use crate::tokenize::model::Pipeline;

/// The special tokens with a role, in the order in which they are added.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A special token: its text alone, or with flags that say how it is matched.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Added(AddedToken),
}

impl Token {
    pub fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Added(token) => &token.content,
        }
    }
}

/// The special tokens of `tokenizer_config.json`, by their roles.
pub(super) fn named_by_config(rules: &TransformersRules) -> BTreeMap<String, Token> {
    let token = |key: &&str| {
        let value = rules.settings.tokens.get(*key)?;
        Some((key.to_string(), token_of(value, None)?))
    };
    NAMED.iter().filter_map(token).collect()
}

/// All tokens that the files define beside the vocabulary.
pub(super) struct SpecialTokens {
    /// The tokens of `added_tokens_decoder`, by id.
    decoder: BTreeMap<i64, AddedToken>,
    /// In the order of [`NAMED`].
    named: Vec<(&'static str, Token)>,
    extra: Vec<Token>,
}

impl SpecialTokens {
    pub fn read(rules: &TransformersRules, source: &mut Source) -> Result<Self> {
        let since_5 = rules.version == Transformers::Since5;
        let mut init: Map<String, Value> = rules.settings.tokens.clone();
        let extra_is_set = init.get("extra_special_tokens").is_some_and(is_truthy);
        if !since_5 && extra_is_set {
            return Err(refused(rules, "extra_special_tokens", "versions before 5 differ in it"));
        }
        if since_5
            && !extra_is_set
            && let Some(additional) = init.remove("additional_special_tokens")
        {
            init.insert("extra_special_tokens".into(), additional);
        }
        let mut decoder = BTreeMap::new();
        match &rules.settings.added_tokens_decoder {
            Some(listed) => {
                for (id, value) in listed {
                    let token = added_token(value, None).ok_or_else(|| {
                        refused(rules, "added_tokens_decoder", "it has what is no token")
                    })?;
                    decoder.insert(*id, token);
                }
            }
            None => {
                merge_special_tokens_map(rules, &mut init);
                for (text, id) in &rules.added_tokens {
                    let special = is_named_special(&init, text);
                    decoder.insert(*id, AddedToken::from(text.clone(), special));
                }
                decoder.extend(source.file.added_tokens.iter().cloned());
            }
        }
        if since_5 && rules.class != TokenizerClass::Generic {
            // The class builds a new pipeline, without the tokens of the file.
            source.file.added_tokens.clear();
        }
        let mut tokens = Self { decoder, named: Vec::new(), extra: Vec::new() };
        tokens.name(rules, &init)?;
        tokens.add_extra(rules, &init, source)?;
        Ok(tokens)
    }

    /// Sets the tokens with a role: those of a file, or else those of the class.
    fn name(&mut self, rules: &TransformersRules, init: &Map<String, Value>) -> Result<()> {
        for key in NAMED {
            let token = match init.get(key) {
                Some(Value::Null) => continue,
                Some(value) => {
                    let token = token_of(value, None)
                        .ok_or_else(|| refused(rules, key, "it is no token"))?;
                    let known =
                        self.decoder.values().rev().find(|it| it.content == token.content());
                    known.map_or(token, |known| Token::Added(known.clone()))
                }
                None => match default_token(rules.class, key) {
                    Some(text) => Token::Text(text.into()),
                    None => continue,
                },
            };
            self.named.push((key, lstripped_mask(rules, key, token)));
        }
        if rules.version == Transformers::Since5 {
            // Roles that only this model has, such as `image_token`.
            let own = init.iter().filter(|(key, _)| {
                key.ends_with("_token") && !NAMED.contains(&key.as_str()) //
            });
            self.extra.extend(own.filter_map(|(_, value)| token_of(value, None)));
        }
        Ok(())
    }

    fn add_extra(
        &mut self,
        rules: &TransformersRules,
        init: &Map<String, Value>,
        source: &Source,
    ) -> Result<()> {
        let since_5 = rules.version == Transformers::Since5;
        let said = match since_5 {
            true => init.get("extra_special_tokens").or(init.get("additional_special_tokens")),
            false => init.get("additional_special_tokens"),
        };
        let listed: Vec<&Value> = match said {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(Value::Object(by_name)) => by_name.values().collect(),
            _ => Vec::new(),
        };
        for value in &listed {
            let special = rules.special_tokens_map.contains_key("additional_special_tokens");
            let token = token_of(value, special.then_some(true)).ok_or_else(|| {
                refused(rules, "additional_special_tokens", "it has what is no token")
            })?;
            self.extra.push(token);
        }
        let unsaid = said.is_none_or(Value::is_null);
        let from_sentencepiece = source.format == VocabularyFormat::SentencePiece;
        if from_sentencepiece && (unsaid || !since_5) {
            self.extra.extend(source.symbols.iter().cloned().map(Token::Added));
        }
        if rules.class == TokenizerClass::Camembert && unsaid && !(from_sentencepiece && since_5) {
            let unused = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];
            self.extra.extend(unused.map(|text| Token::Text(text.into())));
        }
        Ok(())
    }

    pub fn named(&self, key: &str) -> Option<&str> {
        self.named.iter().find(|(name, _)| *name == key).map(|(_, token)| token.content())
    }

    /// The tokens to add to a pipeline, in the order in which transformers adds them.
    pub fn to_add(&self, version: Transformers, pipeline: &Pipeline) -> Vec<AddedToken> {
        let mut tokens: Vec<Token> = self.decoder.values().cloned().map(Token::Added).collect();
        let present = pipeline.get_added_tokens_decoder();
        let mut contents: Vec<String> =
            present.values().map(|token| token.content.clone()).collect();
        contents.extend(tokens.iter().map(|token| token.content().to_string()));
        let special = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let mut seen: Vec<&str> = Vec::new();
        for token in special {
            let is_present = contents.iter().any(|content| content == token.content());
            // Before version 5, a token with flags replaced one of the same text.
            let replaces = version == Transformers::Before5 && matches!(token, Token::Added(_));
            let is_new = (!is_present || replaces) && !tokens.contains(token);
            if is_new && !seen.contains(&token.content()) {
                tokens.push(token.clone());
            }
            if version == Transformers::Before5 {
                seen.push(token.content());
            }
        }
        let names: Vec<&str> = match version {
            Transformers::Before5 => {
                self.named.iter().map(|(_, t)| t).chain(&self.extra).map(Token::content).collect()
            }
            Transformers::Since5 => self.named.iter().map(|(_, t)| t.content()).collect(),
        };
        let added = |token: Token| match token {
            Token::Text(text) => AddedToken::from(text, true),
            Token::Added(token) => {
                let special = token.special || names.contains(&token.content.as_str());
                token.special(special)
            }
        };
        tokens.into_iter().map(added).collect()
    }
}

/// Before version 5, `<mask>` includes the space before it if the files give no flags for it.
fn lstripped_mask(rules: &TransformersRules, key: &str, token: Token) -> Token {
    let takes_space = match rules.class {
        TokenizerClass::XlmRoberta => rules.version == Transformers::Before5,
        TokenizerClass::Camembert => true,
        TokenizerClass::Bert | TokenizerClass::Generic => false,
    };
    match token {
        Token::Text(text) if key == "mask_token" && takes_space => {
            Token::Added(AddedToken::from(text, true).lstrip(true))
        }
        token => token,
    }
}

fn default_token(class: TokenizerClass, key: &str) -> Option<&'static str> {
    match class {
        TokenizerClass::Generic => None,
        TokenizerClass::Bert => match key {
            "unk_token" => Some("[UNK]"),
            "sep_token" => Some("[SEP]"),
            "pad_token" => Some("[PAD]"),
            "cls_token" => Some("[CLS]"),
            "mask_token" => Some("[MASK]"),
            _ => None,
        },
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert => match key {
            "bos_token" | "cls_token" => Some("<s>"),
            "eos_token" | "sep_token" => Some("</s>"),
            "unk_token" => Some("<unk>"),
            "pad_token" => Some("<pad>"),
            "mask_token" => Some("<mask>"),
            _ => None,
        },
    }
}

/// Merges `special_tokens_map.json` into `tokenizer_config.json`. The former wins, unless the
/// latter lists the added tokens.
fn merge_special_tokens_map(rules: &TransformersRules, init: &mut Map<String, Value>) {
    for (key, value) in &rules.special_tokens_map {
        let mut value = value.clone();
        if let Value::Object(token) = &mut value
            && key != "extra_special_tokens"
        {
            token.insert("special".into(), true.into());
            token.insert("__type".into(), "AddedToken".into());
        }
        let merges = match rules.version {
            Transformers::Before5 => key == "additional_special_tokens",
            Transformers::Since5 => key == "extra_special_tokens",
        };
        if let (true, Value::Array(list)) = (merges, &value) {
            let mut all = init.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            let new: Vec<Value> = list.iter().filter(|it| !all.contains(it)).cloned().collect();
            all.extend(new);
            value = Value::Array(all);
        }
        init.insert(key.clone(), value);
    }
}

fn is_named_special(init: &Map<String, Value>, text: &str) -> bool {
    let is_it = |value: &Value| token_of(value, None).is_some_and(|token| token.content() == text);
    let listed = ["additional_special_tokens", "extra_special_tokens"];
    NAMED.iter().filter_map(|key| init.get(*key)).any(is_it)
        || listed.iter().filter_map(|key| init.get(*key)?.as_array()).flatten().any(is_it)
}

/// Whether Python would take the value for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

fn token_of(value: &Value, special: Option<bool>) -> Option<Token> {
    match value {
        Value::String(text) => Some(Token::Text(text.clone())),
        value => added_token(value, special).map(Token::Added),
    }
}

/// A token with its flags. Missing flags are off.
fn added_token(value: &Value, special: Option<bool>) -> Option<AddedToken> {
    let object = value.as_object()?;
    let flag = |key: &str| object.get(key).and_then(Value::as_bool);
    let special = special.or(flag("special")).unwrap_or(false);
    let token = AddedToken::from(object.get("content")?.as_str()?, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(match flag("normalized") {
        Some(normalized) => token.normalized(normalized),
        None => token,
    })
}

fn refused(rules: &TransformersRules, key: &str, why: &str) -> Error {
    error!(
        Unsupported,
        "{}: {key} is not supported as it is: {why}; save the tokenizer again, or open with \
         BGE_OPEN_RAW_TOKENIZER, which runs tokenizer.json alone",
        rules.config_file.display()
    )
}
