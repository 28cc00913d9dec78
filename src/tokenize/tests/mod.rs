//! Compares ids with those of tokenizing a whole text, and with those of the reference.

mod bad_files;
mod rules;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn tiny_json() -> Value {
    json_of("tokenizer.json")
}

fn json_of(file: &str) -> Value {
    let json = std::fs::read(root().join("tests/tiny").join(file)).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// A tokenizer, and the pipeline of the crate alone for the same file.
struct Loaded {
    tokenizer: Tokenizer,
    reference: tokenizers::Tokenizer,
}

impl std::ops::Deref for Loaded {
    type Target = Tokenizer;

    fn deref(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

fn load(json: &Value) -> Loaded {
    let mut reference = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
    reference.with_truncation(None).unwrap().with_padding(None);
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").unwrap();
    Loaded { tokenizer, reference }
}

/// The pipelines of fine-tunes of XLM-RoBERTa, and one that collapses no white space.
fn pipelines() -> Vec<(&'static str, Loaded)> {
    let original = tiny_json();
    let charsmap = original["normalizer"]["normalizers"][0].clone();
    assert_eq!(charsmap["type"], "Precompiled");
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut json = original.clone();
        change(&mut json);
        load(&json)
    };
    vec![
        ("original", load(&original)),
        (
            "transformers 4.41",
            changed(&|json| {
                json["normalizer"]["normalizers"] = json!([
                    charsmap,
                    {"type": "Strip", "strip_left": false, "strip_right": true},
                    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
                ]);
            }),
        ),
        (
            "transformers 5",
            changed(&|json| {
                json["normalizer"] = charsmap.clone();
                json["pre_tokenizer"] = json!({
                    "type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always")],
                });
            }),
        ),
        (
            "mask takes the space before it, first word only",
            changed(&|json| {
                json["pre_tokenizer"] = metaspace("first");
                for token in json["added_tokens"].as_array_mut().unwrap() {
                    token["lstrip"] = json!(token["content"] == "<mask>");
                }
            }),
        ),
        ("every space is a token", changed(&|json| json["normalizer"] = charsmap.clone())),
    ]
}

/// The pipelines of BERT, cased and uncased, and one with tokens that a fine-tune added.
fn bert_pipelines() -> Vec<(&'static str, Loaded)> {
    let mut added = json_of("bert-uncased/tokenizer.json");
    let vocab = added["model"]["vocab"].as_object().unwrap().len();
    let tokens = added["added_tokens"].as_array_mut().unwrap();
    for (index, (content, normalized)) in
        [("[e:1.orang]", false), ("Haha", true)].iter().enumerate()
    {
        let mut token = tokens[0].clone();
        token["id"] = json!(vocab + index);
        token["content"] = json!(content);
        token["normalized"] = json!(normalized);
        token["special"] = json!(!normalized);
        tokens.push(token);
    }
    for token in tokens {
        token["lstrip"] = json!(token["content"] == "[MASK]");
    }
    vec![
        ("uncased", load(&json_of("bert-uncased/tokenizer.json"))),
        ("cased", load(&json_of("bert-cased/tokenizer.json"))),
        ("tokens added", load(&added)),
    ]
}

/// The ids that the crate gives all of the text.
fn whole(tokenizer: &Loaded, text: &str) -> Vec<u32> {
    tokenizer.reference.encode_fast(text, true).unwrap().get_ids().to_vec()
}

fn cut(mut ids: Vec<u32>, max_tokens: usize) -> Vec<u32> {
    if let Some(&last) = ids.last()
        && ids.len() > max_tokens
    {
        ids.truncate(max_tokens - 1);
        ids.push(last);
    }
    ids
}

fn check(name: &str, tokenizer: &Loaded, text: &str, max_tokens: usize) -> Result<(), String> {
    let expected = whole(tokenizer, text);
    let tokens = tokenizer.encode(text, max_tokens, &|| false).map_err(|e| e.to_string())?;
    let truncated = expected.len() > max_tokens;
    if tokens.truncated != truncated {
        return Err(format!("{name}: truncated is {}", tokens.truncated));
    }
    let count = tokenizer.count(text).map_err(|e| e.to_string())?;
    if count != expected.len() {
        return Err(format!("{name}: counted {count} tokens, not {}", expected.len()));
    }
    let expected = cut(expected, max_tokens);
    if tokens.ids == expected {
        return Ok(());
    }
    let equal = tokens.ids.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    let near = |ids: &[u32]| {
        let ids = ids[equal.saturating_sub(3)..ids.len().min(equal + 4)].iter();
        ids.map(|&id| tokenizer.pipeline.id_to_token(id).unwrap()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (near(&tokens.ids), near(&expected));
    Err(format!("{name}: {ours:?} instead of {theirs:?} after {equal} of {} ids", expected.len()))
}

/// The parts of random texts: ordinary ones, and those that divide, join, vanish or are unknown.
const UNITS: [&str; 36] = [
    "orang ",
    "di",
    " luar",
    "jalan.",
    "a",
    "aaaa",
    "haha",
    "ー",
    "这",
    "的",
    "中人",
    "。",
    "、",
    "한",
    "각",
    "ﷺ",
    "ﬁ",
    "e\u{301}",
    "\u{301}",
    "🇮🇩",
    "👩‍👧",
    "\u{e000}",
    "\u{1}",
    "\u{ad}",
    " ",
    "   ",
    "\t",
    "\n\n",
    "\r\n",
    "\u{3000}",
    "\u{a0}",
    "<mask>",
    "</s>",
    " <mask> ",
    "<ma",
    "▁",
];

/// The parts of random texts for BERT.
const BERT_UNITS: [&str; 48] = [
    "orang ",
    "Di",
    " luar",
    "jalan.",
    "a",
    "aaaa",
    "haha",
    "HAHA",
    "##a",
    "un",
    "able",
    "这",
    "的",
    "中人",
    "\u{f900}",
    "。",
    "、",
    ".",
    "-",
    "'",
    "한",
    "각",
    "é",
    "e\u{301}",
    "\u{301}",
    "İ",
    "Σ",
    "ẞ",
    "👩‍👧",
    "Ω",
    "\u{e000}",
    "\u{1}",
    "\u{ad}",
    "\u{fffd}",
    " ",
    "   ",
    "\t",
    "\r\n",
    "\u{3000}",
    "\u{2028}",
    "[MASK]",
    "[mask]",
    " [MASK] ",
    "[SEP]",
    "[UNK]",
    "[M",
    "[unused0]",
    "[e:1.orang]",
];

/// Texts of repeated random parts, so that long words, long gaps and long repeats occur.
fn texts(units: &'static [&'static str]) -> impl Strategy<Value = String> {
    let run = (prop::collection::vec(0..units.len(), 1..5), 1..600_usize, any::<u64>());
    prop::collection::vec(run, 1..8).prop_map(move |runs| {
        let mut text = String::new();
        for (choice, count, seed) in runs {
            let mut state = seed | 1;
            for _ in 0..count {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text += units[choice[(state >> 33) as usize % choice.len()]];
            }
        }
        text
    })
}

fn max_tokens() -> impl Strategy<Value = usize> {
    prop_oneof![Just(2), Just(3), 4..40_usize, Just(128), Just(512), Just(8192)]
}

fn ids_are_those_of_the_whole(pipelines: &[(&str, Loaded)], units: &'static [&'static str]) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    runner
        .run(&(texts(units), max_tokens()), |(text, max_tokens)| {
            for (name, tokenizer) in pipelines {
                check(name, tokenizer, &text, max_tokens).map_err(TestCaseError::fail)?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn ids_are_those_of_tokenizing_everything() {
    ids_are_those_of_the_whole(&pipelines(), &UNITS);
}

#[test]
fn ids_of_bert_are_those_of_tokenizing_everything() {
    ids_are_those_of_the_whole(&bert_pipelines(), &BERT_UNITS);
}

#[test]
fn long_texts_of_every_kind_have_the_ids_of_tokenizing_everything() {
    let xlm_roberta = pipelines().into_iter().map(|pipeline| (pipeline, UNITS.as_slice()));
    let bert = bert_pipelines().into_iter().map(|pipeline| (pipeline, BERT_UNITS.as_slice()));
    for ((name, tokenizer), units) in xlm_roberta.chain(bert) {
        for unit in units {
            let text = format!("x {}y z", unit.repeat(24_000 / unit.len()));
            for max_tokens in [2, 512] {
                let outcome = check(name, &tokenizer, &text, max_tokens);
                outcome.unwrap_or_else(|e| panic!("{unit:?} over and over: {e}"));
            }
        }
    }
}

#[test]
fn texts_of_many_pieces_have_the_ids_of_tokenizing_everything() {
    let (name, tokenizer) = bert_pipelines().remove(2);
    for units in [
        &["👩‍👧 "][..],
        &["[MASK] "],
        &["HAHA "],
        &["中", "[UNK]", "di"],
        &["aé", "中", "[MASK]"],
        &["[SEP]", "\u{1}", " [MASK] "],
        &["orang", "\u{1}", "\u{e000}", "\u{301}"],
    ] {
        let mut text = String::new();
        let mut state = 1_u64;
        while text.len() < 3 * reader::WORD_BYTES_MAX / 2 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            text += units[(state >> 33) as usize % units.len()];
        }
        let outcome = check(name, &tokenizer, &text, 100_000);
        outcome.unwrap_or_else(|e| panic!("{units:?} over and over: {e}"));
    }
}

#[test]
fn the_text_after_a_piece_still_counts() {
    let deleted = |count| "\u{1}".repeat(count);
    let (name, added) = bert_pipelines().remove(2);
    for shift in 0..11 {
        // An added token of seven words, half of which is before the end of the first piece.
        let text = format!("{}{}", "a".repeat(shift), "[e:1.orang]".repeat(300));
        for max_tokens in 85..110 {
            check(name, &added, &text, max_tokens).unwrap();
        }
    }
    for (name, tokenizer) in &bert_pipelines() {
        // A word that turns out too long only after the first piece.
        let text = format!("a{}", deleted(20)).repeat(300);
        for max_tokens in [3, 5, 10, 20] {
            check(name, tokenizer, &text, max_tokens).unwrap();
        }
    }
    for (name, tokenizer) in pipelines().iter().chain(&bert_pipelines()) {
        // White space between characters that are deleted.
        let text = format!("x orang{} {}di luar", deleted(300), deleted(20_000));
        check(name, tokenizer, &text, 100).unwrap();
    }
}

#[test]
fn a_huge_text_is_read_no_further_than_its_tokens_need() {
    let huge = 64 << 20;
    let units = ["orang di luar ", "中的人。", "的", "a", "ab", "e\u{301}"];
    let bert_units = ["orang di luar ", "中的人。", "的", "[MASK]", "[UNK] ", "é. "];
    for (tokenizer, units) in
        [(load(&tiny_json()), units), (bert_pipelines().remove(0).1, bert_units)]
    {
        for unit in units {
            let text = unit.repeat(huge / unit.len());
            let beginning = unit.repeat((1 << 17) / unit.len());
            for max_tokens in [16, 512, 8192] {
                let tokens = tokenizer.encode(&text, max_tokens, &|| false).unwrap();
                assert!(tokens.truncated);
                assert_eq!(tokens.ids, cut(whole(&tokenizer, &beginning), max_tokens), "{unit:?}");
            }
        }
    }
}

#[test]
fn a_huge_gap_is_skipped() {
    let gaps = [" ", "\n", "\u{1}", "\u{e000}"];
    // For BERT, a word that is too long is like a gap, too.
    let bert_gaps = [" ", "\u{1}", "a", "é"];
    for (tokenizer, gaps) in [(load(&tiny_json()), gaps), (bert_pipelines().remove(0).1, bert_gaps)]
    {
        for gap in gaps {
            let text = format!("orang {} di luar", gap.repeat((32 << 20) / gap.len()));
            let short = format!("orang {} di luar", gap.repeat(160));
            let tokens = tokenizer.encode(&text, 512, &|| false).unwrap();
            assert_eq!(tokens.ids, whole(&tokenizer, &short), "{gap:?}");
            assert_eq!(tokenizer.count(&text).unwrap(), tokens.ids.len());
        }
    }
}

#[test]
fn a_word_longer_than_the_limit_is_divided() {
    let tokenizer = load(&tiny_json());
    // Letters of which no segmentation stays better than all others.
    let text = "dengan".repeat(3 * reader::WORD_BYTES_MAX / 6);
    let tokens = tokenizer.encode(&text, 512, &|| false).unwrap();
    assert!(tokens.truncated && tokens.ids.len() == 512);
    assert!(!tokens.ids.contains(&3));
    let (count, expected) = (tokenizer.count(&text).unwrap(), whole(&tokenizer, &text).len());
    assert!(count.abs_diff(expected) <= 8, "{count} instead of {expected}");
    let letters = "a".repeat(3 * reader::WORD_BYTES_MAX);
    assert_eq!(tokenizer.count(&letters).unwrap(), whole(&tokenizer, &letters).len());
}

#[test]
fn ids_are_those_of_the_reference() {
    let mut texts = 0;
    for name in ["cls", "long", "prompts", "v6", "bert-uncased", "bert-cased"] {
        let rows = json_of(&format!("{name}/golden.json"));
        let dir = root().join("tests/tiny").join(name);
        let files = TokenizerFiles::read(std::slice::from_ref(&dir), &dir, false).unwrap();
        let tokenizer = Tokenizer::open(&files).unwrap();
        let longest =
            rows.as_array().unwrap().iter().map(|row| row["ids"].as_array().unwrap().len());
        let max_tokens = longest.max().unwrap();
        for row in rows.as_array().unwrap() {
            if row["prompt"].is_null() {
                let tokens = tokenizer.encode(row["text"].as_str().unwrap(), max_tokens, &|| false);
                assert_eq!(json!(tokens.unwrap().ids), row["ids"], "{name}: {}", row["text"]);
                texts += 1;
            }
        }
    }
    assert!(texts > 110);
}

#[test]
fn the_special_tokens_are_found() {
    let tokenizer = load(&tiny_json());
    assert_eq!(
        (tokenizer.before.as_slice(), tokenizer.after.as_slice()),
        ([0].as_slice(), [2].as_slice())
    );
    assert_eq!(tokenizer.encode("", 2, &|| false).unwrap().ids, [0, 2]);
    let e = tokenizer.encode("", 1, &|| false).err().unwrap();
    assert_eq!(e.kind(), crate::ErrorKind::InvalidArgument);
    let bert = &bert_pipelines()[1].1;
    let id = |token| bert.pipeline.token_to_id(token).unwrap();
    assert_eq!(bert.encode("", 2, &|| false).unwrap().ids, [id("[CLS]"), id("[SEP]")]);
    let mut bare = tiny_json();
    bare["post_processor"] = Value::Null;
    assert_eq!(load(&bare).special_count(), 0);
}

#[test]
fn tokens_have_the_text_of_the_vocabulary() {
    let tokenizer = load(&tiny_json());
    let text = |id| tokenizer.token_text(id).map(|text| text.to_str().unwrap());
    assert_eq!(text(0), Some("<s>"));
    assert_eq!(text(2), Some("</s>"));
    assert_eq!(text(6), Some("▁"));
    assert_eq!(text(tokenizer.vocab_size() as u32 - 1), Some("<mask>"));
    assert_eq!(text(tokenizer.vocab_size() as u32), None);
    assert_eq!(text(u32::MAX), None);
}

#[test]
fn strip_removes_what_python_does() {
    let space = "\t\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{1f} \u{85}\u{a0}\u{1680}\u{2000}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
    assert_eq!(strip(&format!("{space}a b{space}")), "a b");
    assert_eq!(strip("\u{200b}\u{feff}a\u{1b}"), "\u{200b}\u{feff}a\u{1b}");
    assert_eq!(strip(space), "");
}

#[test]
fn the_vocabulary_is_the_one_that_the_crate_reads() {
    for (name, tokenizer) in pipelines().iter().chain(&bert_pipelines()) {
        let vocab = tokenizer.reference.get_vocab(true);
        assert_eq!(Some(tokenizer.vocab_size), vocab.values().max().map(|&id| id as usize + 1));
        let longest = vocab.keys().map(|token| token.chars().count()).max();
        assert_eq!(Some(tokenizer.longest_token), longest, "{name}");
        assert_eq!(tokenizer.pipeline.get_vocab(true), vocab, "{name}");
    }
}
