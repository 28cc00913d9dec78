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
