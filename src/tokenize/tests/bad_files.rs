//! Files that are refused.

use super::*;

#[test]
fn a_file_that_is_no_tokenizer_is_refused() {
    let mut malformed = tiny_json();
    malformed["normalizer"]["normalizers"][0]["precompiled_charsmap"] = json!("/////w==");
    let mut wrapping = tiny_json();
    wrapping["post_processor"]["single"] =
        json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let files = ["", "{}", "null", "[1]", "\u{0}", &malformed.to_string()];
    for file in files {
        let e = Tokenizer::from_bytes(file.as_bytes(), "dir/tokenizer.json").err().unwrap();
        assert_eq!(e.kind(), crate::ErrorKind::ModelInvalid, "{file:.40}");
        assert!(e.to_string().contains("dir/tokenizer.json"), "{e}");
    }
}

#[test]
fn a_model_whose_tokens_are_not_known_to_settle_is_refused() {
    let bert = || json_of("bert-cased/tokenizer.json");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut json = bert();
        change(&mut json["model"]);
        let e = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").err().unwrap();
        (e.kind(), e.to_string())
    };
    let bpe = json!({"type": "BPE", "vocab": {"a": 0}, "merges": []});
    let word_level = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
    for (model, word) in [(bpe, "BPE"), (word_level, "WordLevel")] {
        let (kind, message) = changed(&|v| *v = model.clone());
        assert_eq!(kind, crate::ErrorKind::Unsupported, "{message}");
        assert!(message.contains(word) && message.contains("WordPiece"), "{message}");
    }
    let (kind, message) = changed(&|v| v["max_input_chars_per_word"] = json!(1001));
    assert_eq!(kind, crate::ErrorKind::Unsupported, "{message}");
    assert!(message.contains("max_input_chars_per_word is 1001"), "{message}");
    let (kind, message) = changed(&|v| v["unk_token"] = json!("[?]"));
    assert_eq!(kind, crate::ErrorKind::ModelInvalid, "{message}");
    assert!(message.contains("[?]"), "{message}");
}

/// Files that could take minutes or all memory, each with the words of its error.
#[test]
fn a_file_that_multiplies_or_never_ends_is_refused() {
    let split = |pattern: &str| {
        let part = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        move |json: &mut Value| {
            json["pre_tokenizer"] =
                json!({"type": "Sequence", "pretokenizers": [part, json["pre_tokenizer"]]});
        }
    };
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let normalizer = |steps: Vec<Value>| {
        move |json: &mut Value| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        }
    };
    let doubled = replace(json!({"String": "z"}), "zz");
    let nested = |depth: usize| {
        let step = |inner, _| json!({"type": "Sequence", "normalizers": [doubled, doubled, inner]});
        let nested = (0..depth).fold(doubled.clone(), step);
        move |json: &mut Value| json["normalizer"] = nested.clone()
    };
    let mut table_beyond = 64_u32.to_le_bytes().to_vec();
    table_beyond.push(0);
    let mut long_text = 4_u32.to_le_bytes().to_vec();
    long_text.extend([0; 4]);
    long_text.extend([b'x'; 65]);
    let charsmap = |bytes: &[u8]| {
        use base64::Engine;
        let text = base64::prelude::BASE64_STANDARD.encode(bytes);
        normalizer(vec![json!({"type": "Precompiled", "precompiled_charsmap": text})])
    };
    let byte_levels =
        json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel"}); 2]});
    type Case<'a> = (&'a str, Box<dyn Fn(&mut Value)>);
    let regex = |pattern: &str| normalizer(vec![replace(json!({"Regex": pattern}), "b")]);
    let text = "z".repeat(65);
    let cases: [Case<'_>; 18] = [
        ("the normalizer has 17 steps", Box::new(normalizer(vec![doubled.clone(); 17]))),
        ("the normalizer has 17 steps", Box::new(nested(8))),
        ("more than 24 deep", Box::new(nested(13))),
        (
            "content in the normalizer",
            Box::new(normalizer(vec![replace(json!({"String": "z"}), &text)])),
        ),
        (
            "prepend in the normalizer",
            Box::new(normalizer(vec![json!({"type": "Prepend", "prepend": text})])),
        ),
        ("2 steps ByteLevel", Box::new(move |json| json["pre_tokenizer"] = byte_levels.clone())),
        ("its precompiled_charsmap is malformed or cut short", Box::new(charsmap(&table_beyond))),
        ("has a text of 65 bytes", Box::new(charsmap(&long_text))),
        ("(?=z)", Box::new(split(r"(?:(?:(?=z)(?=z)){1000000000}){1000000000}b"))),
        ("(?=z)", Box::new(regex("(?:(?=z)){10}b"))),
        ("1{1000000000}", Box::new(regex(r"(z?)(?:\1{1000000000}){1000000000}b"))),
        ("{1000}", Box::new(split(r"(?:a{1000}){1000}"))),
        ("(?>a+)", Box::new(split("(?>a+)b"))),
        (
            "300000 special tokens",
            Box::new(|json| {
                let token =
                    json!({"id": "<s>", "ids": vec![0; 100_000], "tokens": vec!["<s>"; 100_000]});
                let part = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
                json["post_processor"]["special_tokens"]["<s>"] = token;
                json["post_processor"]["single"] =
                    json!([part, part, part, {"Sequence": {"id": "A", "type_id": 0}}]);
            }),
        ),
        (
            "the type 1",
            Box::new(|json| {
                json["post_processor"]["single"][1]["Sequence"]["type_id"] = json!(1);
            }),
        ),
        (
            "a token of 257 characters",
            Box::new(|json| json["model"]["vocab"][9][0] = json!("z".repeat(257))),
        ),
        (
            "a token of 257 characters",
            Box::new(|json| json["added_tokens"][0]["content"] = json!("z".repeat(257))),
        ),
        ("the version is \"2.0\"", Box::new(|json| json["version"] = json!("2.0"))),
    ];
    for (word, change) in cases {
        let mut json = tiny_json();
        change(&mut json);
        let e = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").err();
        let e = e.unwrap_or_else(|| panic!("{word}: not refused"));
        assert!(e.to_string().contains(word), "{word}: {e}");
        assert!(e.to_string().contains("tokenizer.json"), "{e}");
    }
}

/// A file within every limit may still make a text long.
#[test]
fn a_text_that_grows_too_much_fails_alone() {
    let mut json = tiny_json();
    let doubled = json!({"type": "Replace", "pattern": {"String": "z"}, "content": "zz"});
    json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![doubled; 16]});
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").unwrap();
    assert!(tokenizer.encode("di luar", 128, &|| false).is_ok());
    let e = tokenizer.encode("zaman", 128, &|| false).err().unwrap();
    assert!(e.to_string().contains("the normalizer makes"), "{e}");
}
