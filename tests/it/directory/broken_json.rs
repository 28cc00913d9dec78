//! Faults in the JSON files of a model directory: each ends in an error that names the file, the
//! key and the value.

use bge::ErrorKind::{ModelInvalid, ModelNotFound, Unsupported};
use serde_json::json;

use crate::support::models::{
    CONFIG, Copy, JSON_FILES, LFS_POINTER, MODULES, POOLING, PROMPTS, SENTENCE, TOKENIZER, WEIGHTS,
    open, refuses,
};

#[test]
fn what_is_no_json_of_the_right_kind_is_refused_whichever_file_it_is() {
    let deep = "[".repeat(100_000);
    let deep_map = "{\"a\":".repeat(100_000);
    let long = format!("{{\"model_type\": \"{}\"}}", "x".repeat(3 << 20));
    let contents: [(&str, &str); 12] = [
        ("empty", ""),
        ("blank", " \n"),
        ("words", "not json"),
        ("half", "{\"model_type\": \"xlm-rob"),
        ("number", "17"),
        ("string", "\"x\""),
        ("null", "null"),
        ("control character", "{\"\u{0}\": 1}"),
        ("something after the end", "{} {}"),
        ("deep list", &deep),
        ("deep map", &deep_map),
        ("list of lists", "[[[[[]]]]]"),
    ];
    for file in JSON_FILES {
        let copy = Copy::of("mean");
        for (case, content) in contents {
            // The two files that a model may lack may also say nothing.
            copy.write(file, content);
            copy.is_refused(&format!("{file}: {case}"), ModelInvalid, &[file]);
        }
        copy.write(file, b"\xff\xfe{\0}\0");
        copy.is_refused(&format!("{file}: UTF-16"), ModelInvalid, &[file]);
        copy.write(file, LFS_POINTER);
        copy.is_refused(&format!("{file}: LFS"), ModelInvalid, &[file, "git lfs pull"]);
    }
    let copy = Copy::of("mean");
    copy.write(CONFIG, &long);
    copy.is_refused("long", ModelInvalid, &[CONFIG, "num_hidden_layers"]);
}

#[test]
fn a_key_that_a_file_says_twice_is_refused() {
    for (file, key, value) in
        [(CONFIG, "hidden_size", "15"), (POOLING, "pooling_mode_cls_token", "true")]
    {
        let copy = Copy::of("mean");
        let text = String::from_utf8(copy.read(file)).unwrap();
        copy.write(file, text.replacen('{', &format!("{{\"{key}\": {value}, "), 1));
        copy.is_refused(file, ModelInvalid, &[file, "duplicate field", key]);
    }
}

#[test]
fn a_chain_of_modules_that_is_not_known_is_refused() {
    let unknown = "is not supported; Transformer, Pooling, Dense, LayerNorm, Normalize and";
    let order = "supported is a Transformer, then one Pooling, then any of the others";
    refuses(
        "cls",
        MODULES,
        &[
            ("map", |v| *v = json!({}), ModelInvalid, &[MODULES, "expected a sequence"]),
            ("none", |v| *v = json!([]), Unsupported, &[MODULES, "[]", order]),
            ("no type", |v| v[1] = json!({"path": ""}), ModelInvalid, &["[1]", "`type`"]),
            ("type is a number", |v| v[1]["type"] = json!(1), ModelInvalid, &["[1].type"]),
            ("path is null", |v| v[1]["path"] = json!(null), ModelInvalid, &["[1].path"]),
            (
                "dense",
                |v| v[1]["type"] = json!("sentence_transformers.models.Dense"),
                Unsupported,
                &[MODULES, "[Transformer, Dense, Normalize]", order],
            ),
            (
                "own module",
                |v| v[2]["type"] = json!("mine.Own"),
                Unsupported,
                &["mine.Own", unknown],
            ),
            ("empty type", |v| v[0]["type"] = json!(""), Unsupported, &["\"\"", unknown]),
            ("dot", |v| v[0]["type"] = json!("Transformer."), Unsupported, &[unknown]),
            ("swapped", |v| v.as_array_mut().unwrap().swap(0, 1), Unsupported, &[order]),
            ("normalize early", |v| v.as_array_mut().unwrap().swap(1, 2), Unsupported, &[order]),
            (
                "twice",
                |v| {
                    let pooling = v[1].clone();
                    v.as_array_mut().unwrap().push(pooling);
                },
                Unsupported,
                &[order],
            ),
            (
                "a million",
                |v| *v = json!(vec![v[0].clone(); 30_000]),
                Unsupported,
                &[MODULES, "30000 modules; at most 64"],
            ),
            ("up", |v| v[0]["path"] = json!(".."), ModelInvalid, &[MODULES, "\"..\"", "leads out"]),
            ("deep up", |v| v[1]["path"] = json!("a/../../b"), ModelInvalid, &["leads out"]),
            ("root", |v| v[1]["path"] = json!("/etc"), ModelInvalid, &["\"/etc\"", "leads out"]),
            ("absent folder", |v| v[0]["path"] = json!("x"), ModelNotFound, &["x/config.json"]),
            ("NUL", |v| v[1]["path"] = json!("a\0b"), ModelNotFound, &["cannot be read"]),
        ],
    );
}

#[test]
fn pooling_that_is_not_known_is_refused() {
    let supported = "cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken are";
    refuses(
        "cls",
        POOLING,
        &[
            (
                "cls, and mean not said",
                |v| {
                    v.as_object_mut().unwrap().remove("pooling_mode_mean_tokens");
                },
                ModelInvalid,
                &[POOLING, "[\"cls\"]", "pooling_mode_mean_tokens"],
            ),
            (
                "of another program",
                |v| v["pooling_mode_first_tokens"] = json!(true),
                Unsupported,
                &[POOLING, "pooling_mode_first_tokens"],
            ),
            (
                "v6 unknown",
                |v| v["pooling_mode"] = json!("first"),
                Unsupported,
                &[POOLING, "\"first\"", supported],
            ),
            ("v6 none", |v| v["pooling_mode"] = json!([]), ModelInvalid, &["is an empty list"]),
            (
                "v6 two",
                |v| v["pooling_mode"] = json!(["cls", "MAX"]),
                Unsupported,
                &["\"MAX\"", supported],
            ),
            (
                "v6 number",
                |v| v["pooling_mode"] = json!(1),
                ModelInvalid,
                &["pooling_mode", "expected a string or a list of strings"],
            ),
            ("prompt", |v| v["include_prompt"] = json!(0), ModelInvalid, &["include_prompt"]),
            (
                "dimension",
                |v| v["word_embedding_dimension"] = json!(1024),
                ModelInvalid,
                &[POOLING, "1024", "hidden_size 32"],
            ),
            (
                "negative dimension",
                |v| v["word_embedding_dimension"] = json!(-1),
                ModelInvalid,
                &[POOLING, "word_embedding_dimension", "-1"],
            ),
            (
                "flag",
                |v| v["pooling_mode_cls_token"] = json!("true"),
                ModelInvalid,
                &[POOLING, "pooling_mode_cls_token"],
            ),
        ],
    );
}

#[test]
fn numbers_of_config_json_that_cannot_be_are_named() {
    let sizes = [
        ("num_hidden_layers", 1000),
        ("hidden_size", 1 << 24),
        ("num_attention_heads", 1 << 24),
        ("intermediate_size", 1 << 24),
        ("vocab_size", 1 << 24),
        ("max_position_embeddings", 1 << 24),
        ("type_vocab_size", 1 << 24),
    ];
    let copy = Copy::of("cls");
    let original = copy.read(CONFIG);
    for (key, max) in sizes {
        let too_large = (max + 1).to_string();
        for value in ["0", "-1", "0.5", "1e30", "-1e308", "18446744073709551615", &too_large] {
            copy.write(CONFIG, &original);
            copy.json(CONFIG, |v| v[key] = serde_json::from_str(value).unwrap());
            let said =
                format!("{key} is {}", value.replace("e30", "e+30").replace("e308", "e+308"));
            let range = format!("not a whole number 1 to {max}");
            copy.is_refused(key, ModelInvalid, &[CONFIG, &said, &range]);
        }
        for value in ["null", "\"12\"", "[]", "true", "NaN", "Infinity", "1e999"] {
            let text = String::from_utf8(original.clone()).unwrap();
            let line = text.lines().find(|line| line.contains(&format!("\"{key}\""))).unwrap();
            copy.write(
                CONFIG,
                text.replace(line, &format!("\"{key}\": {value},")).replace(",\n}", "\n}"),
            );
            copy.is_refused(&format!("{key} {value}"), ModelInvalid, &[CONFIG, "line"]);
        }
        copy.write(CONFIG, &original);
        copy.json(CONFIG, |v| {
            v.as_object_mut().unwrap().remove(key);
        });
        // This size alone has a default, which differs from the model's value.
        let words = match key {
            "type_vocab_size" => ["token_type_embeddings", "[2, 32]"],
            _ => [key, "missing"],
        };
        copy.is_refused(key, ModelInvalid, &words);
    }
}

#[test]
fn what_config_json_says_of_another_architecture_is_refused() {
    refuses(
        "cls",
        CONFIG,
        &[
            (
                "distilbert",
                |v| v["model_type"] = json!("distilbert"),
                Unsupported,
                &[CONFIG, "\"distilbert\"", "\"xlm-roberta\", \"roberta\""],
            ),
            ("relu", |v| v["hidden_act"] = json!("relu"), Unsupported, &["\"relu\"", "\"gelu\""]),
            (
                "relative",
                |v| v["position_embedding_type"] = json!("relative_key"),
                Unsupported,
                &["relative_key", "absolute"],
            ),
            ("decoder", |v| v["is_decoder"] = json!(true), Unsupported, &["is_decoder"]),
            (
                "heads",
                |v| v["num_attention_heads"] = json!(5),
                ModelInvalid,
                &["hidden_size 32", "num_attention_heads 5"],
            ),
            ("eps", |v| v["layer_norm_eps"] = json!(-1e-5), ModelInvalid, &["layer_norm_eps"]),
            ("eps 1", |v| v["layer_norm_eps"] = json!(1e30), ModelInvalid, &["layer_norm_eps"]),
            (
                "padding",
                |v| v["pad_token_id"] = json!(1501),
                ModelInvalid,
                &["pad_token_id is 1501", "0 to 1500"],
            ),
            ("negative", |v| v["pad_token_id"] = json!(-1), ModelInvalid, &["pad_token_id is -1"]),
            ("null", |v| v["pad_token_id"] = json!(null), ModelInvalid, &["pad_token_id"]),
            (
                "no room for positions",
                |v| v["pad_token_id"] = json!(128),
                ModelInvalid,
                &[CONFIG, "max_position_embeddings 130", "pad_token_id 128", "1 tokens"],
            ),
        ],
    );
    let copy = Copy::of("bert-cased");
    copy.json(CONFIG, |v| v["max_position_embeddings"] = json!(1));
    copy.is_refused("no room", ModelInvalid, &["position_embeddings", "[64, 32]", "[1, 32]"]);
    copy.json(CONFIG, |v| v["max_position_embeddings"] = json!(65));
    copy.is_refused("positions", ModelInvalid, &["position_embeddings", "[64, 32]", "[65, 32]"]);
}

#[test]
fn config_json_that_disagrees_with_the_weights_is_refused() {
    let table = "embeddings.word_embeddings.weight";
    refuses(
        "mean",
        CONFIG,
        &[
            (
                "a layer more",
                |v| v["num_hidden_layers"] = json!(2),
                ModelInvalid,
                &["lack the tensor", "encoder.layer.1."],
            ),
            (
                "hidden",
                |v| v["hidden_size"] = json!(30),
                ModelInvalid,
                &[WEIGHTS, "[1501, 15]", "[1501, 30]"],
            ),
            ("vocabulary", |v| v["vocab_size"] = json!(9), ModelInvalid, &[table, "[9, 15]"]),
            (
                "vocabulary",
                |v| v["vocab_size"] = json!(250002),
                ModelInvalid,
                &[WEIGHTS, table, "[1501, 15]", "[250002, 15]"],
            ),
            (
                "positions",
                |v| v["max_position_embeddings"] = json!(8194),
                ModelInvalid,
                &["position_embeddings", "[130, 15]", "[8194, 15]"],
            ),
            (
                "types",
                |v| v["type_vocab_size"] = json!(2),
                ModelInvalid,
                &["token_type_embeddings", "[1, 15]", "[2, 15]"],
            ),
            (
                "intermediate",
                |v| v["intermediate_size"] = json!(1 << 24),
                ModelInvalid,
                &["intermediate.dense.weight", "[20, 15]", "[16777216, 15]"],
            ),
        ],
    );
}

#[test]
fn a_longest_text_that_leaves_no_room_is_refused() {
    for value in [json!(0), json!(1), json!(-1), json!(1.5), json!(-1e30)] {
        for (file, key) in
            [(SENTENCE, "max_seq_length"), ("tokenizer_config.json", "model_max_length")]
        {
            let copy = Copy::of("mean");
            copy.write(SENTENCE, "{}");
            copy.write(file, json!({ key: value }).to_string());
            copy.is_refused(
                file,
                ModelInvalid,
                &[file, &format!("{key} is {value:?}")[..key.len() + 4]],
            );
        }
    }
    let copy = Copy::of("mean");
    copy.json(SENTENCE, |v| v["do_lower_case"] = json!("yes"));
    copy.is_refused("lower case", ModelInvalid, &[SENTENCE, "do_lower_case"]);
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    refuses(
        "default-prompt",
        PROMPTS,
        &[
            (
                "unknown",
                |v| v["default_prompt_name"] = json!("frage"),
                ModelInvalid,
                &[PROMPTS, "\"frage\"", "[\"passage\", \"query\"]"],
            ),
            ("number", |v| v["prompts"]["query"] = json!(1), ModelInvalid, &["prompts.query"]),
            ("list", |v| v["prompts"] = json!(["query: "]), ModelInvalid, &[PROMPTS, "prompts"]),
            (
                "similarity",
                |v| v["similarity_fn_name"] = json!(1),
                ModelInvalid,
                &[PROMPTS, "similarity_fn_name", "expected a string"],
            ),
        ],
    );
}

/// With the stack that the header requires for opening.
#[test]
fn a_tokenizer_that_is_nested_deeper_than_a_stack_is_refused() {
    const STACK: usize = 256 << 10;
    for (depth, is_fine) in [(8, true), (60, false), (10_000, false)] {
        let copy = Copy::of("mean");
        let text = String::from_utf8(copy.read(TOKENIZER)).unwrap();
        let tokenizer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let normalizer = tokenizer["normalizer"].to_string();
        let nested = r#"{"type":"Sequence","normalizers":["#.repeat(depth)
            + &normalizer
            + &"]}".repeat(depth);
        let written = tokenizer.to_string().replacen(&normalizer, &nested, 1);
        assert!(written.contains(&nested));
        copy.write(TOKENIZER, written);
        let on_thread = || match is_fine {
            true => drop(open(&copy.dir).unwrap()),
            false => copy.is_refused(&format!("{depth}"), ModelInvalid, &[TOKENIZER, "24 deep"]),
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, on_thread).unwrap().join().unwrap();
        });
    }
}
