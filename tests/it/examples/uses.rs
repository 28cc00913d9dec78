//! The programs in `examples` for the uses that the seed's model card names: search, paraphrases,
//! classification and clustering.

use std::path::PathBuf;

use crate::encode::golden::default_model;
use crate::examples::first_program::in_c_or_cpp;
use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{compiler, empty_folder, has, root, run};

/// The default model and an installed tree, or `None` if one of them is missing.
fn installed(name: &str) -> Option<(PathBuf, PathBuf)> {
    let model = default_model()?;
    if !installable() {
        return None;
    }
    let prefix = empty_folder(name);
    let folder = built(&format!("{name}-to-install"));
    make("install", &folder, &[format!("PREFIX={}", prefix.display())]);
    Some((model, prefix))
}

fn in_cpp(name: &str, source: &str) -> Option<String> {
    if !has("c++", &format!("examples/{source} was not tried")) {
        return None;
    }
    let (model, prefix) = installed(name)?;
    let compiler = compiler("CXX", "c++");
    Some(run(in_c_or_cpp(compiler, "-std=c++17", source, &prefix).arg(model)))
}

#[test]
fn search_finds_the_passage_that_answers() {
    let Some(said) = in_cpp("search", "search.cpp") else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 9, "{said}");
    for (query, answer) in [(0, "Nasi goreng"), (3, "Harimau sumatera"), (6, "Kereta berangkat")] {
        assert!(lines[query + 1].contains(answer), "{said}");
    }
}

#[test]
fn clusters_are_the_topics() {
    let Some(said) = in_cpp("clusters", "clusters.cpp") else { return };
    let expected = "1\n  \
        Harga beras di pasar naik lagi.\n  \
        Pedagang mengeluh karena harga cabai dan bawang mahal.\n  \
        Harga minyak goreng turun di pasar tradisional.\n\
        2\n  \
        Penyerang itu mencetak dua gol ke gawang lawan.\n  \
        Kiper itu menahan tendangan penalti di menit terakhir.\n  \
        Pelatih mengganti penyerang pada babak kedua.\n\
        3\n  \
        Nanti malam hujan lebat akan turun di wilayah selatan.\n  \
        Besok cuaca cerah dan berawan di sebagian besar wilayah.\n  \
        Angin kencang dan hujan petir akan berlanjut sampai besok.\n";
    assert_eq!(said, expected);
}

#[test]
fn paraphrases_are_the_pairs_that_say_the_same() {
    let Some((model, prefix)) = installed("paraphrases") else { return };
    let Some(mut go) = crate::bindings::go::go(&prefix) else { return };
    let said = run(go.arg("run").arg(root().join("examples/paraphrases.go")).arg(model));
    let lines: Vec<&str> = said.lines().map(str::trim_start).collect();
    let pairs: Vec<[&str; 2]> = lines.chunks(3).map(|lines| [lines[1], lines[2]]).collect();
    let expected = [
        ["Toko buka setiap hari mulai", "Setiap hari toko dibuka"],
        ["Pemerintah menaikkan harga bensin", "Mulai bulan depan harga bensin"],
        ["Hujan deras membuat jalan", "Jalan di depan pasar banjir"],
        ["Bagaimana cara mengganti kata sandi", "Saya lupa kata sandi"],
    ];
    assert_eq!(pairs.len(), expected.len(), "{said}");
    for (pair, expected) in pairs.iter().zip(expected) {
        assert!(pair[0].starts_with(expected[0]) && pair[1].starts_with(expected[1]), "{said}");
    }
    let scores: Vec<f32> = lines.iter().step_by(3).map(|line| line.parse().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{said}");
}

#[test]
fn messages_get_the_labels_of_examples_like_them() {
    let Some(model) = default_model() else { return };
    let Some(mut java) = crate::bindings::java::java() else { return };
    let said = run(java.arg(root().join("examples/Classification.java")).arg(model));
    let expected = "\
        pengiriman: Sudah seminggu pesanan saya belum diantar.\n\
        pembayaran: Kenapa saldo saya terpotong padahal pembayaran gagal?\n\
        akun: Kata sandi saya ditolak waktu masuk.\n";
    assert_eq!(said, expected);
}
