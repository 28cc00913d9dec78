//! Faults in a chain of modules: each ends in an error that names the file and the value.

use bge::ErrorKind::{ModelInvalid, ModelNotFound, Unsupported};
use serde_json::json;

use crate::directory::modules::chain;
use crate::support::models::{Change, Copy, MODULES, PROMPTS, open, tiny_dir, vector};

const DENSE: &str = "2_Dense/config.json";
const DENSE_WEIGHTS: &str = "2_Dense/model.safetensors";

/// Asserts that a chain is refused after each change of a JSON file.
#[track_caller]
fn refuses(name: &str, file: &str, cases: &[(&str, Change, bge::ErrorKind, &[&str])]) {
    let copy = chain(name);
    let original = copy.read(file);
    for (case, change, kind, words) in cases {
        copy.write(file, &original);
        copy.json(file, change);
        copy.is_refused(case, *kind, words);
    }
}

#[test]
fn a_dense_layer_that_does_not_fit_is_refused() {
    refuses(
        "dense Tanh",
        DENSE,
        &[
            (
                "in",
                |v| v["in_features"] = json!(31),
                ModelInvalid,
                &[DENSE, "in_features is 31", "vectors of 32 numbers"],
            ),
            ("in 0", |v| v["in_features"] = json!(0), ModelInvalid, &["in_features is 0"]),
            ("in -1", |v| v["in_features"] = json!(-1), ModelInvalid, &["in_features is -1"]),
            ("in 32.5", |v| v["in_features"] = json!(32.5), ModelInvalid, &["is 32.5"]),
            ("in huge", |v| v["in_features"] = json!(u64::MAX), ModelInvalid, &["18446744073709"]),
            ("in text", |v| v["in_features"] = json!("32"), ModelInvalid, &[DENSE, "in_features"]),
            (
                "in missing",
                |v| {
                    v.as_object_mut().unwrap().remove("in_features");
                },
                ModelInvalid,
                &[DENSE, "missing field `in_features`"],
            ),
            (
                "out",
                |v| v["out_features"] = json!(17),
                ModelInvalid,
                &[DENSE_WEIGHTS, "\"linear.weight\"", "[16, 32]", "[17, 32]"],
            ),
            ("out 0", |v| v["out_features"] = json!(0), ModelInvalid, &["out_features is 0, not"]),
            ("out -8", |v| v["out_features"] = json!(-8), ModelInvalid, &["out_features is -8"]),
            ("out 1e30", |v| v["out_features"] = json!(1e30), ModelInvalid, &["1e+30", "16777216"]),
            ("out max", |v| v["out_features"] = json!(1 << 24), ModelInvalid, &["[16777216, 32]"]),
            (
                "no bias",
                |v| v["bias"] = json!(false),
                ModelInvalid,
                &[DENSE_WEIGHTS, "\"linear.bias\"", "may have [\"linear.weight\"] only"],
            ),
            ("bias", |v| v["bias"] = json!(1), ModelInvalid, &[DENSE, "bias"]),
            (
                "residual",
                |v| v["use_residual"] = json!(true),
                ModelInvalid,
                &[DENSE_WEIGHTS, "lacks the tensor \"residual.weight\""],
            ),
            (
                "input",
                |v| v["module_input_name"] = json!("token_embeddings"),
                Unsupported,
                &[DENSE, "module_input_name is \"token_embeddings\""],
            ),
            (
                "output",
                |v| v["module_output_name"] = json!("other"),
                Unsupported,
                &[DENSE, "module_output_name is \"other\""],
            ),
        ],
    );
    let copy = chain("dense Tanh");
    for value in ["NaN", "Infinity", "1e999", "null", "[]"] {
        copy.write(DENSE, format!("{{\"in_features\": {value}, \"out_features\": 16}}"));
        copy.is_refused(value, ModelInvalid, &[DENSE]);
    }
    copy.remove(DENSE);
    copy.is_refused("no config", ModelNotFound, &[DENSE, "does not exist"]);
}

#[test]
fn an_activation_that_is_not_known_is_refused_and_never_taken_for_another() {
    for path in [
        "",
        "Tanh",
        "torch.nn.modules.activation.PReLU",
        "torch.nn.modules.activation.tanh",
        "torch.nn.modules.activation.Softmax",
        "torch.nn.functional.gelu",
        "torch.tanh",
        "torch.nn.",
        "transformers.activations.GELUActivation",
        "mine.torch.nn.Tanh",
        "os.system",
    ] {
        let copy = chain("dense Tanh");
        copy.json(DENSE, |v| v["activation_function"] = json!(path));
        let said = format!("activation_function is {path:?}");
        copy.is_refused(path, Unsupported, &[DENSE, &said, "Sigmoid, SiLU"]);
    }
    let copy = chain("dense Tanh");
    copy.json(DENSE, |v| v["activation_function"] = json!(null));
    copy.is_refused("null", ModelInvalid, &[DENSE, "activation_function"]);
}

#[test]
fn weights_of_a_layer_that_cannot_be_are_refused() {
    type Case = (&'static str, fn(&Copy), bge::ErrorKind, &'static [&'static str]);
    let weight = |copy: &Copy, numbers: &[u8]| {
        copy.weights(DENSE_WEIGHTS, |header, data| {
            let at = header["linear.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
            data[at + 64..][..4].copy_from_slice(numbers);
        });
    };
    for (said, number) in [("NaN", f32::NAN), ("-inf", f32::NEG_INFINITY)] {
        let copy = chain("dense Tanh");
        weight(&copy, &number.to_le_bytes());
        let words = [DENSE_WEIGHTS, "\"linear.weight\"", &format!("holds {said}")];
        copy.is_refused(said, ModelInvalid, &words);
    }
    let cases: [Case; 8] = [
        (
            "missing",
            |copy| copy.remove(DENSE_WEIGHTS),
            ModelNotFound,
            &["2_Dense has neither model.safetensors nor pytorch_model.bin"],
        ),
        ("empty", |copy| copy.write(DENSE_WEIGHTS, ""), ModelInvalid, &[DENSE_WEIGHTS, "0 bytes"]),
        (
            "cut",
            |copy| {
                let bytes = copy.read(DENSE_WEIGHTS);
                copy.write(DENSE_WEIGHTS, &bytes[..bytes.len() - 1]);
            },
            ModelInvalid,
            &[DENSE_WEIGHTS, "download it again"],
        ),
        (
            "one more",
            |copy| {
                copy.weights(DENSE_WEIGHTS, |header, _| {
                    header["gate"] =
                        json!({"dtype": "F32", "shape": [0], "data_offsets": [2112, 2112]});
                });
            },
            ModelInvalid,
            &[DENSE_WEIGHTS, "has the tensor \"gate\""],
        ),
        (
            "name",
            |copy| {
                copy.weights(DENSE_WEIGHTS, |header, _| {
                    let bias = header.as_object_mut().unwrap().remove("linear.bias");
                    header["linear.b"] = bias.unwrap();
                });
            },
            ModelInvalid,
            &["lacks the tensor \"linear.bias\""],
        ),
        (
            "type",
            |copy| {
                copy.weights(DENSE_WEIGHTS, |header, _| {
                    header["linear.bias"]["dtype"] = json!("I32");
                });
            },
            Unsupported,
            &["\"linear.bias\"", "I32", "F32, F16 and BF16"],
        ),
        (
            "shape",
            |copy| {
                copy.weights(DENSE_WEIGHTS, |header, _| {
                    header["linear.weight"]["shape"] = json!([32, 16]);
                });
            },
            ModelInvalid,
            &["\"linear.weight\"", "[32, 16]", "[16, 32]"],
        ),
        (
            "only the old format, and that no archive",
            |copy| {
                copy.remove(DENSE_WEIGHTS);
                copy.write("2_Dense/pytorch_model.bin", b"\x80\x02}q\0.");
            },
            Unsupported,
            &["2_Dense/pytorch_model.bin", "old format"],
        ),
    ];
    for (case, change, kind, words) in cases {
        let copy = chain("dense Tanh");
        change(&copy);
        copy.is_refused(case, kind, words);
    }
}

#[test]
fn a_matrix_that_claims_too_much_is_refused_before_it_is_read() {
    let copy = chain("dense Tanh");
    copy.json(DENSE, |v| v["out_features"] = json!(1 << 22));
    let header = json!({
        "linear.weight": {"dtype": "F32", "shape": [1 << 22, 32], "data_offsets": [0, 1 << 29]},
        "linear.bias": {
            "dtype": "F32", "shape": [1 << 22], "data_offsets": [1 << 29, (1 << 29) + (1 << 24)]
        },
    })
    .to_string();
    copy.write(DENSE_WEIGHTS, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat());
    let file = std::fs::File::options().write(true).open(copy.path(DENSE_WEIGHTS)).unwrap();
    // A hole, which takes no room on the disk.
    file.set_len(8 + header.len() as u64 + (1 << 29) + (1 << 24)).unwrap();
    copy.is_refused("a hole", ModelInvalid, &["553648304 bytes", "268435456"]);
}

#[test]
fn a_chain_whose_lengths_do_not_fit_is_refused() {
    refuses(
        "norm, dense, normalize",
        MODULES,
        &[
            (
                "dense before norm",
                |v| v.as_array_mut().unwrap().swap(2, 3),
                ModelInvalid,
                &["2_LayerNorm/config.json", "dimension is 32", "vectors of 16 numbers"],
            ),
            (
                "dense twice",
                |v| v[2] = v[3].clone(),
                ModelInvalid,
                &["3_Dense/config.json", "in_features is 32", "vectors of 16 numbers"],
            ),
        ],
    );
    refuses(
        "dense Tanh",
        "1_Pooling/config.json",
        &[(
            "a mode more",
            |v| v["pooling_mode"] = json!(["cls", "mean"]),
            ModelInvalid,
            &["in_features is 32", "vectors of 64 numbers"],
        )],
    );
    let copy = Copy::of("cls");
    let many = vec!["mean"; (1 << 24) / 32 + 1];
    copy.write("1_Pooling/config.json", json!({"pooling_mode": many}).to_string());
    copy.is_refused("too many modes", ModelInvalid, &["524289 modes of 32", "16777216"]);
}

#[test]
fn modules_of_an_unknown_kind_or_order_are_refused() {
    let unknown = "Transformer, Pooling, Dense, LayerNorm, Normalize and Dropout are";
    let order = "supported is a Transformer, then one Pooling, then any of the others";
    let name = "dense, norm, normalize";
    let late = |class: &str, words: &[&str]| {
        let copy = chain(name);
        copy.json(MODULES, |v| v[4]["type"] = json!(class));
        copy.is_refused(class, Unsupported, words);
    };
    for class in ["CNN", "LSTM", "WordWeights", "WeightedLayerPooling", "Router", "Asym", "BoW", ""]
    {
        late(&format!("sentence_transformers.models.{class}"), &[MODULES, class, unknown]);
    }
    late("sentence_transformers.models.Pooling", &[order]);
    late("sentence_transformers.models.Transformer", &[order]);
    refuses(
        name,
        MODULES,
        &[
            (
                "normalize first",
                |v| v.as_array_mut().unwrap().swap(1, 4),
                Unsupported,
                &["[Transformer, Normalize, Dense, LayerNorm, Pooling]", order],
            ),
            ("dense first", |v| v.as_array_mut().unwrap().swap(1, 2), Unsupported, &[order]),
            (
                "up",
                |v| v[2]["path"] = json!("../2_Dense"),
                ModelInvalid,
                &["\"../2_Dense\"", "leads out"],
            ),
            ("root", |v| v[4]["path"] = json!("/"), ModelInvalid, &["\"/\"", "leads out"]),
            (
                "another folder",
                |v| v[2]["path"] = json!("3_LayerNorm"),
                ModelInvalid,
                &["3_LayerNorm/config.json", "in_features"],
            ),
            (
                "too many",
                |v| *v = json!(vec![v[4].clone(); 65]),
                Unsupported,
                &["65 modules", "64"],
            ),
        ],
    );
    refuses(
        name,
        "4_Normalize/config.json",
        &[
            (
                "tokens",
                |v| v["module_input_name"] = json!("token_embeddings"),
                Unsupported,
                &["4_Normalize/config.json", "token_embeddings"],
            ),
            ("number", |v| v["module_input_name"] = json!(1), Unsupported, &["4_Normalize"]),
        ],
    );
    refuses(
        name,
        "3_LayerNorm/config.json",
        &[
            (
                "17",
                |v| v["dimension"] = json!(17),
                ModelInvalid,
                &["3_LayerNorm", "dimension is 17"],
            ),
            ("none", |v| *v = json!({}), ModelInvalid, &["3_LayerNorm", "dimension"]),
        ],
    );
}

#[test]
fn a_class_of_the_author_s_own_is_never_taken_for_one_of_the_library() {
    for class in [
        "my_pooling.Pooling",
        "custom.modules.Pooling",
        "pylate.models.Pooling.Pooling",
        "Pooling",
        "models.Pooling",
        "sentence_transformers.models.pooling",
        "sentence_transformers.models.POOLING",
        "sentence_transformers.Pooling",
        "sentence_transformers.models.Dense.Pooling",
        "sentence_transformers.base.modules.pooling.Pooling",
        "not_sentence_transformers.models.Pooling",
    ] {
        let copy = Copy::of("cls");
        copy.json(MODULES, |v| v[1]["type"] = json!(class));
        copy.is_refused(class, Unsupported, &[MODULES, class, "is not supported"]);
    }
    let expected = vector(&tiny_dir("cls"));
    for class in [
        "sentence_transformers.models.Pooling",
        "sentence_transformers.models.Pooling.Pooling",
        "sentence_transformers.sentence_transformer.modules.Pooling",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ] {
        let copy = Copy::of("cls");
        copy.json(MODULES, |v| v[1]["type"] = json!(class));
        assert_eq!(vector(&copy.dir), expected, "{class}");
    }
}

#[test]
fn what_a_module_does_not_need_may_be_missing() {
    let copy = chain("dense, norm, normalize");
    copy.remove("4_Normalize");
    open(&copy.dir).unwrap();
    copy.json(MODULES, |v| {
        v[4] = json!({"type": "sentence_transformers.models.Dropout", "path": "nowhere"})
    });
    open(&copy.dir).unwrap();
}

#[test]
fn a_length_to_cut_to_that_is_none_is_refused() {
    for value in [json!(0), json!(-1), json!(8.0), json!(1e30), json!("8"), json!([8])] {
        let copy = Copy::of("cls");
        copy.json(PROMPTS, |v| v["truncate_dim"] = value.clone());
        copy.is_refused(&value.to_string(), ModelInvalid, &[PROMPTS, "truncate_dim"]);
    }
}
