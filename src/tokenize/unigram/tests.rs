//! Compares tokens with those of the crate's own Unigram.

use std::cell::Cell;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokenizers::Model;
use tokenizers::models::unigram::Unigram as Reference;

use super::super::file::ModelJson;
use super::super::model::Segmenter;
use super::*;

type Pieces = Vec<(String, f64)>;

fn ours(pieces: &Pieces, unk_id: Option<usize>, byte_fallback: bool) -> Unigram {
    let mut vocab = Vocab::default();
    pieces.iter().for_each(|(piece, score)| vocab.push(piece, *score).unwrap());
    Unigram::new(vocab, unk_id, byte_fallback).unwrap()
}

fn read(json: &str) -> Result<Unigram, String> {
    let model: ModelJson = serde_json::from_str(json).map_err(|e| e.to_string())?;
    match model.segmenter("tokenizer.json").map_err(|e| e.to_string())? {
        Segmenter::Unigram(unigram) => Ok(unigram),
        Segmenter::WordPiece(_) => Err("a WordPiece".into()),
    }
}

/// Letters of one to four bytes that share their first bytes, and `<0x..>` for some of the bytes.
const LETTERS: [char; 10] = ['a', 'b', '▁', '▂', 'é', 'è', '中', '丮', '😀', '😁'];

fn text(lengths: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LETTERS.as_slice()), lengths)
        .prop_map(|letters| letters.into_iter().collect())
}

/// A vocabulary with few different scores, so that sums are often equal.
fn pieces() -> impl Strategy<Value = Pieces> {
    let score = prop::sample::select(&[0.0, -1.0, -2.0, -0.1, -0.2, -0.30000000000000004, 7.5][..]);
    let byte = (0..=255_u8).prop_map(|byte| format!("<0x{byte:02X}>"));
    let piece = prop_oneof![8 => text(1..5), 1 => byte, 1 => Just("<unk>".to_string())];
    prop::collection::vec((piece, score), 1..40)
}

#[test]
fn tokens_are_those_of_the_crate() {
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, cases: 4000, ..Config::default() });
    let unknown = prop::option::weighted(0.8, any::<prop::sample::Index>());
    let every_byte = any::<bool>();
    let [errors, unknown_tokens, byte_tokens] = [(); 3].map(|()| Cell::new(0));
    let add = |cell: &Cell<usize>, count| cell.set(cell.get() + count);
    let check = |pieces: &Pieces, unk_id, byte_fallback, text: &str| {
        let reference = Reference::from(pieces.clone(), unk_id, byte_fallback).unwrap();
        let ours = ours(pieces, unk_id, byte_fallback);
        for (piece, _) in pieces {
            assert_eq!(ours.id(piece), reference.token_to_id(piece), "{piece:?}");
        }
        let Ok(expected) = reference.tokenize(text) else {
            add(&errors, 1);
            return ours.tokenize(text).is_err();
        };
        add(&unknown_tokens, expected.iter().filter(|t| Some(t.id as usize) == unk_id).count());
        add(&byte_tokens, expected.iter().filter(|t| t.value.starts_with("<0x")).count());
        ours.tokenize(text).unwrap() == expected
    };
    runner
        .run(
            &(pieces(), unknown, any::<bool>(), every_byte, text(0..60), text(0..3)),
            |(mut pieces, unknown, byte_fallback, every_byte, text, more)| {
                if every_byte {
                    pieces.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), -3.0)));
                }
                let unk_id = unknown.map(|index| index.index(pieces.len()));
                for text in [text.clone(), format!("{text}<unk>{more}"), more] {
                    prop_assert!(check(&pieces, unk_id, byte_fallback, &text), "{text:?}");
                }
                Ok(())
            },
        )
        .unwrap();
    // Each case has to occur.
    let counts = [errors, unknown_tokens, byte_tokens].map(Cell::into_inner);
    assert!(counts.iter().all(|&count| count > 1000), "{counts:?}");
}

/// With real vocabularies, for texts of every script and of none.
#[test]
fn tokens_of_any_text_are_those_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("tests/tiny/tokenizer.json")];
    let large = root.join(".cache/models/multilingual-e5-small/tokenizer.json");
    // A missing model is no failure, unless the environment promises it.
    if large.exists() || std::env::var_os("BGE_TEST_MODEL").is_some() {
        files.push(large);
    }
    for file in files {
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let model = file["model"].to_string();
        let reference: Reference = serde_json::from_str(&model).unwrap();
        let ours = read(&model).unwrap();
        for (piece, _) in reference.iter() {
            assert_eq!(ours.id(piece), reference.token_to_id(piece), "{piece:?}");
        }
        let pieces: Vec<String> = ours.pieces().iter().map(Into::into).collect();
        let any_text = prop_oneof![
            any::<String>(),
            prop::collection::vec(any::<char>(), 0..300).prop_map(String::from_iter),
            prop::collection::vec(prop::sample::select(pieces), 1..300)
                .prop_map(|pieces| pieces.concat()),
            ("[a-z▁]{1,6}", 1..3000_usize).prop_map(|(word, count)| word.repeat(count)),
        ];
        let mut runner =
            TestRunner::new(Config { failure_persistence: None, cases: 500, ..Config::default() });
        runner
            .run(&any_text, |text: String| {
                prop_assert_eq!(ours.tokenize(&text).unwrap(), reference.tokenize(&text).unwrap());
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn consecutive_unknown_characters_may_be_a_piece_together() {
    let pieces: Pieces = [("<unk>", 0.0), ("ab", 40.0), ("c", 50.0), ("x", 40.0)]
        .map(|(piece, score)| (piece.to_string(), score))
        .into();
    // Every unknown character scores -10, less than any piece of this vocabulary.
    for text in ["ab", "aab", "abc", "ba", "x<unk>x", "<unk>", "q<unk>q", ""] {
        let reference = Reference::from(pieces.clone(), Some(0), false).unwrap();
        let tokens = ours(&pieces, Some(0), false).tokenize(text).unwrap();
        assert_eq!(tokens, reference.tokenize(text).unwrap(), "{text}");
    }
    let dear: Pieces = [("<unk>", 30.0), ("ab", 30.0)].map(|(p, s)| (p.to_string(), s)).into();
    let reference = Reference::from(dear.clone(), Some(0), false).unwrap();
    let tokens = ours(&dear, Some(0), false).tokenize("ab").unwrap();
    assert_eq!(tokens, reference.tokenize("ab").unwrap());
    assert_eq!(tokens[0].id, 1);
}

#[test]
fn prefixes_are_those_found_by_comparing_with_every_text() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    // From no children to more than are searched one by one.
    let letter = prop::char::range('a', 'p');
    let word = prop::collection::vec(letter, 0..4)
        .prop_map(|letters| letters.into_iter().collect::<String>());
    runner
        .run(&(prop::collection::vec(word.clone(), 0..200), word), |(words, text)| {
            let mut texts = StringTable::default();
            words.iter().for_each(|word| texts.push(word).unwrap());
            let tree = Trie::new(&texts).unwrap();
            prop_assert!(texts.iter().eq(words.iter().map(String::as_str)));
            let last = |text: &str| words.iter().rposition(|word| word == text);
            prop_assert_eq!(tree.get(&text).map(|id| id as usize), last(&text));
            let expected: Vec<(usize, u32)> = (1..=text.len())
                .filter_map(|length| Some((length, last(&text[..length])? as u32)))
                .collect();
            prop_assert_eq!(tree.prefixes_of(text.as_bytes()).collect::<Vec<_>>(), expected);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_description_is_read_as_the_crate_reads_it() {
    for good in [
        r#"{"vocab": [["a", 0]]}"#,
        r#"{"unk_id": null, "vocab": []}"#,
        r#"{"vocab": [["\u2581a", -1e-3], ["\"", 2]], "unk_id": 1, "type": "Unigram"}"#,
    ] {
        let reference: Reference = serde_json::from_str(good).unwrap();
        let pieces: Vec<&str> = reference.iter().map(|(piece, _)| piece.as_str()).collect();
        assert!(read(good).unwrap().pieces().iter().eq(pieces), "{good}");
    }
    for (bad, word) in [
        (r#"{}"#, "vocab"),
        (r#"{"vocab": {}}"#, "WordLevel"),
        (r#"{"vocab": [["a"]]}"#, "tuple"),
        (r#"{"vocab": [[1, 1]]}"#, "string"),
        (r#"{"vocab": [["a", "1"]]}"#, "f64"),
        (r#"{"vocab": [["a", 1e999]]}"#, "out of range"),
        (r#"{"type": "BPE", "vocab": []}"#, "BPE"),
        (r#"{"vocab": [], "unk_id": 0}"#, "unk_id is 0"),
        (r#"{"vocab": [["a", 0]], "unk_id": 1}"#, "has 1 pieces"),
        (r#"{"vocab": [["a", 0]], "unk_id": -1}"#, "-1"),
    ] {
        assert!(serde_json::from_str::<Reference>(bad).is_err(), "{bad}");
        let e = read(bad).err().unwrap().to_string();
        assert!(e.contains(word), "{bad}: {e}");
    }
}
