//! Text to token ids, the same as transformers' with a model's files.

mod char_map;
mod file;
mod limits;
mod model;
mod nesting;
mod normalizer;
mod reader;
mod sentencepiece;
mod string_table;
#[cfg(test)]
mod tests;
mod transformers;
mod unigram;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use once_cell::sync::OnceCell;
use tokenizers::{AddedToken, Model};

use crate::error::{Error, Result, error};
use crate::model_dir::{TokenizerFiles, Transformers};
use file::TokenizerFile;
use model::{Pipeline, Segmenter};
use string_table::StringTable;
use unigram::NO_MEMORY;

/// The longest word that WordPiece may divide, which takes time in the cube of its length. Real
/// files have 100.
const WORD_CHARS_MAX: usize = 1000;

/// The pipeline of a model, and the properties that allow to read only the beginning of a text.
pub(crate) struct Tokenizer {
    pipeline: Pipeline,
    /// The file that errors name.
    file: String,
    /// The special tokens around every text, such as `<s>` and `</s>`, or `[CLS]` and `[SEP]`.
    before: Vec<u32>,
    after: Vec<u32>,
    /// Characters of the added tokens, which are matched in the text itself before any other step.
    added_chars: HashSet<char>,
    /// Bytes of the longest added token.
    longest_added: usize,
    segmentation: Segmentation,
    /// White space that divides words.
    gaps: Vec<char>,
    /// Characters of the longest token.
    longest_token: usize,
    vocab_size: usize,
    /// The highest id plus one, not counting added tokens, which few texts have.
    required_rows: usize,
    /// Whether `tokenizer.json` runs as it is.
    raw: bool,
    /// Whether white space around a text is removed first.
    strip: bool,
    /// Whether a long text is truncated at its beginning.
    cuts_left: bool,
    /// Whether texts are converted to lower case first.
    lower_case: bool,
    /// Whose rules the tokenizer follows, in words.
    description: String,
    /// The text of every id, ended by NUL. Empty for ids without a token.
    texts: OnceCell<StringTable>,
}

/// How a word becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segmentation {
    /// Unigram: the segmentation with the best sum over all of the word.
    Best,
    /// WordPiece: the longest token each time, from left to right. A word with more characters than
    /// this is one unknown token.
    Greedy { chars_max: usize },
}

/// The tokens of a text.
pub(crate) struct Tokens {
    /// Special tokens included.
    pub ids: Vec<u32>,
    /// Whether the text has more tokens than these.
    pub truncated: bool,
}

impl Tokenizer {
    /// The tokenizer of a model's files.
    pub fn open(files: &TokenizerFiles) -> Result<Self> {
        let vocabulary = &files.vocabulary;
        let file = vocabulary.file.display().to_string();
        let Some(rules) = &files.rules else { return Self::from_bytes(&vocabulary.bytes, &file) };
        let tokenizer = guarded(&file, || {
            let (pipeline, cuts_left) = transformers::pipeline(vocabulary, rules, &file)?;
            Ok(Self { cuts_left, ..Self::new(pipeline, &file)? })
        })?;
        Ok(Self {
            raw: false,
            strip: rules.strip,
            description: format!(
                "{} of transformers {}{}",
                rules.class.name(),
                match rules.version {
                    Transformers::Before5 => "before 5",
                    Transformers::Since5 => "since 5",
                },
                if rules.strip { ", white space around texts removed" } else { "" }
            ),
            ..tokenizer
        })
    }

    /// The tokenizer of a `tokenizer.json` alone. Errors name it by `file`.
    pub fn from_bytes(json: &[u8], file: &str) -> Result<Self> {
        guarded(file, || {
            let read = TokenizerFile::read(json, file)?;
            let cuts_left = read.cuts_left;
            Ok(Self { cuts_left, ..Self::new(read.into_pipeline(file)?, file)? })
        })
    }

    fn new(pipeline: Pipeline, file: &str) -> Result<Self> {
        let segmentation = segmentation(pipeline.get_model(), file)?;

        let added_tokens = pipeline.get_added_tokens_decoder();
        let (required_rows, mut longest_token) = pipeline.get_model().extent();
        let mut vocab_size = required_rows;
        for (&id, token) in &added_tokens {
            vocab_size = vocab_size.max(id as usize + 1);
            longest_token = longest_token.max(token.content.chars().count());
        }
        limits::check_longest_token(longest_token, file)?;
        let mut tokenizer = Self {
            pipeline,
            file: file.into(),
            before: Vec::new(),
            after: Vec::new(),
            added_chars: added_tokens.values().flat_map(|token| token.content.chars()).collect(),
            longest_added: added_tokens.values().map(|t| t.content.len()).max().unwrap_or(0),
            segmentation,
            gaps: Vec::new(),
            longest_token,
            vocab_size,
            required_rows,
            raw: true,
            strip: false,
            cuts_left: false,
            lower_case: false,
            description: "tokenizer.json as it is".into(),
            texts: OnceCell::new(),
        };
        (tokenizer.before, tokenizer.after) = tokenizer.special_tokens()?;
        // Added tokens need not be in the vocabulary.
        for &id in tokenizer.before.iter().chain(&tokenizer.after) {
            tokenizer.vocab_size = tokenizer.vocab_size.max(id as usize + 1);
            tokenizer.required_rows = tokenizer.required_rows.max(id as usize + 1);
        }
        if !added_tokens.values().any(|token| token.content.contains(char::is_whitespace)) {
            tokenizer.gaps = tokenizer.gaps()?;
        }
        Ok(tokenizer)
    }

    /// The same tokenizer, with or without converting texts to lower case.
    pub fn in_small_letters(self, lower_case: bool) -> Self {
        Self { lower_case, ..self }
    }

    /// The special tokens that the file puts before and after a text.
    fn special_tokens(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let encode = |special| self.checked(self.pipeline.encode_fast("a", special));
        let (bare, whole) = (encode(false)?, encode(true)?);
        if let Some(kind) = whole.get_type_ids().iter().find(|kind| **kind != 0) {
            return Err(error!(
                Unsupported,
                "{}: its post_processor gives tokens of a single text the type {kind}; only 0 is \
                 supported",
                self.file
            ));
        }
        let (bare, whole) = (bare.get_ids().to_vec(), whole.get_ids().to_vec());
        let at = whole.windows(bare.len().max(1)).position(|ids| ids == bare);
        match at {
            Some(at) => Ok((whole[..at].to_vec(), whole[at + bare.len()..].to_vec())),
            None => Err(error!(
                ModelInvalid,
                "{}: its post-processor makes {whole:?} of {bare:?}; it may only put special \
                 tokens before and after a text",
                self.file
            )),
        }
    }

    /// The usual white space that divides words.
    fn gaps(&self) -> Result<Vec<char>> {
        let mut gaps = Vec::new();
        for space in [' ', '\t', '\n', '\r', '\u{a0}', '\u{3000}'] {
            if self.divides_words(space)? {
                gaps.push(space);
            }
        }
        Ok(gaps)
    }

    /// Whether the texts before and after a character always belong to two words.
    fn divides_words(&self, c: char) -> Result<bool> {
        let encoding = self.checked(self.pipeline.encode(format!("a{c}a"), false))?;
        let words = encoding.get_word_ids();
        Ok(words.first() != words.last())
    }

    /// The first `max_tokens` tokens of a text, special tokens included; a truncated text keeps
    /// those at its end. Reads little more of the text than that. Returns the tokens so far once
    /// `stopped` answers yes.
    pub fn encode(
        &self,
        text: &str,
        max_tokens: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Tokens> {
        let tokens_max = max_tokens.checked_sub(self.special_count()).ok_or_else(|| {
            error!(
                InvalidArgument,
                "max_tokens is {max_tokens}, but the special tokens alone are {}",
                self.special_count()
            )
        })?;
        let text = &self.cased(text);
        let mut ids = self.before.clone();
        let truncated = match self.cuts_left {
            true => self.read_last(text, tokens_max, stopped, &mut ids)?,
            false => {
                // One more than the limit, to know whether the text is truncated.
                self.read(text, tokens_max.saturating_add(1), stopped, &mut |tokens| {
                    ids.extend(tokens);
                })?;
                let truncated = ids.len() - self.before.len() > tokens_max;
                ids.truncate(self.before.len() + tokens_max);
                truncated
            }
        };
        ids.extend(&self.after);
        Ok(Tokens { ids, truncated })
    }

    /// Appends the last `tokens_max` tokens of a text. Returns whether there are more.
    fn read_last(
        &self,
        text: &str,
        tokens_max: usize,
        stopped: &dyn Fn() -> bool,
        ids: &mut Vec<u32>,
    ) -> Result<bool> {
        let mut last = VecDeque::<u32>::new();
        let mut truncated = false;
        self.read(text, usize::MAX, stopped, &mut |tokens| {
            last.extend(tokens);
            let surplus = last.len().saturating_sub(tokens_max);
            truncated |= surplus > 0;
            last.drain(..surplus);
        })?;
        ids.extend(last);
        Ok(truncated)
    }

    /// Counts the tokens of all of a text, special tokens included.
    pub fn count(&self, text: &str) -> Result<usize> {
        let text = &self.cased(text);
        let mut count = self.special_count();
        self.read(text, usize::MAX, &|| false, &mut |tokens| count += tokens.len())?;
        Ok(count)
    }

    /// The number of tokens at the beginning of a text that belong to its prompt: all tokens of the
    /// prompt alone, except for a special one at its end. If the file's own pipeline runs, the
    /// prompt is counted without white space around it, which no version of sentence-transformers
    /// turns into a token of XLM-RoBERTa.
    pub fn prompt_tokens(&self, prompt: &str, max_tokens: usize) -> Result<usize> {
        let prompt = if self.raw { strip(prompt) } else { prompt };
        let ids = self.encode(prompt, max_tokens, &|| false)?.ids;
        let special = |id: &u32| {
            let added = self.pipeline.get_added_tokens_decoder();
            self.after.contains(id) || added.get(id).is_some_and(|token| token.special)
        };
        Ok(ids.len() - usize::from(ids.last().is_some_and(special)))
    }

    /// By whose rules it was made, in words.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Everything besides the vocabulary that decides ids, in words.
    pub fn rules(&self) -> String {
        let added: BTreeMap<_, _> = self.pipeline.get_added_tokens_decoder().into_iter().collect();
        let (before, after) = (&self.before, &self.after);
        let mut rules = format!("{} {before:?} {after:?} {}", self.description, self.cuts_left);
        for (id, token) in added {
            let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
            let content = serde_json::Value::from(content);
            rules +=
                &format!("\n{id} {content} {single_word} {lstrip} {rstrip} {normalized} {special}");
        }
        rules
    }

    /// The text without white space around it, and in lower case as by Python's `str.lower`, if the
    /// model needs that.
    fn cased<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = if self.strip { strip(text) } else { text };
        match self.lower_case {
            true => text.to_lowercase().into(),
            false => text.into(),
        }
    }

    /// The number of special tokens of every text.
    pub fn special_count(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// The highest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The fewest rows that a word embedding table has to have.
    pub fn required_rows(&self) -> usize {
        self.required_rows
    }

    /// The text of a token in the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<&CStr> {
        let texts = self.texts.get_or_init(|| {
            let text = |id| Some(self.pipeline.id_to_token(id)? + "\0");
            let all = (0..self.vocab_size as u32).map(|id| text(id).unwrap_or_default());
            let mut texts = StringTable::default();
            all.map_while(|text| texts.push(&text)).for_each(drop);
            texts
        });
        CStr::from_bytes_with_nul(texts.get(id as usize)?.as_bytes()).ok()
    }

    /// The padding token, found by its usual name.
    pub fn pad_id(&self) -> Option<u32> {
        ["<pad>", "[PAD]"].iter().find_map(|name| self.pipeline.token_to_id(name))
    }

    /// The result of the pipeline, or an error if a normalizer or the memory failed meanwhile.
    fn checked<T>(&self, made: tokenizers::Result<T>) -> Result<T> {
        limits::check_fault(&self.file)?;
        made.map_err(|e| self.fault(e))
    }

    fn fault(&self, e: tokenizers::Error) -> Error {
        match e.to_string() {
            why if why.contains(NO_MEMORY) => {
                error!(OutOfMemory, "{} cannot tokenize a text: {why}", self.file)
            }
            why => error!(ModelInvalid, "{} cannot tokenize a text: {why}", self.file),
        }
    }

    fn is_token(&self, text: &str) -> bool {
        self.pipeline.get_model().token_to_id(text).is_some()
    }
}

/// Turns a panic into an error: the crate trusts some parts of a file, such as the offsets in its
/// character map, when it reads them or uses them first.
fn guarded<T>(file: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|_| {
        Err(error!(ModelInvalid, "{file} is not a tokenizer: a part is malformed"))
    })
}

/// How a model divides words. Refuses a model that would take too long, or that has no token for a
/// word that it cannot divide.
fn segmentation(model: &Segmenter, file: &str) -> Result<Segmentation> {
    let Segmenter::WordPiece(model) = model else { return Ok(Segmentation::Best) };
    let chars_max = model.max_input_chars_per_word;
    if chars_max > WORD_CHARS_MAX {
        return Err(error!(
            Unsupported,
            "{file}: max_input_chars_per_word is {chars_max}; up to {WORD_CHARS_MAX} is supported"
        ));
    }
    if model.token_to_id(&model.unk_token).is_none() {
        return Err(error!(
            ModelInvalid,
            "{file}: the vocabulary lacks the unk_token {:?}", model.unk_token
        ));
    }
    Ok(Segmentation::Greedy { chars_max })
}

/// Removes the white space that Python's `str.strip` removes, which is not quite Rust's.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
