//! The built library as the linker and the loader see it, the header as each compiler sees it, and
//! the installed tree.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bge::{EncodeOptions, Metric, Model, OpenOptions};
use ndarray::{ArrayView2, ArrayViewMut2};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol, elf};

use crate::support::build::{cc, compiler, empty_folder, has, library, linkable, root, run};

/// Functions that `include/bge.h` declares: a name before a parenthesis, in no comment or macro.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("include/bge.h")).unwrap();
    let (_, functions) = header.split_once("extern \"C\" {").unwrap();
    functions
        .lines()
        .filter(|line| !line.starts_with(['/', '#', ' ']))
        .filter_map(|line| line.split_once('('))
        .map(|(before, _)| before.rsplit([' ', '*']).next().unwrap().to_string())
        .filter(|name| name.starts_with("bge_"))
        .collect()
}

#[test]
fn exports_are_the_functions_of_the_header() {
    let bytes = std::fs::read(library()).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let exported: BTreeSet<String> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && symbol.is_global())
        .map(|symbol| symbol.name().unwrap().to_string())
        .collect();
    assert_eq!(exported, declared());
    assert_eq!(exported.len(), 28);
}

#[test]
fn library_has_its_soname_and_stays_loaded_and_needs_only_the_system() {
    let bytes = std::fs::read(library()).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let table = file.elf_dynamic_table().unwrap();
    let (mut sonames, mut needed, mut flags) = (Vec::new(), Vec::new(), 0);
    for entry in table.iter() {
        let text = || String::from_utf8(table.string(entry).unwrap().to_vec()).unwrap();
        match entry.tag {
            elf::DT_SONAME => sonames.push(text()),
            elf::DT_NEEDED => needed.push(text()),
            elf::DT_FLAGS_1 => flags = entry.val,
            elf::DT_RPATH | elf::DT_RUNPATH => panic!("the library looks in {}", text()),
            _ => {}
        }
    }
    assert_eq!(sonames, [format!("libbge.so.{}", env!("CARGO_PKG_VERSION_MAJOR"))]);
    assert_ne!(flags & elf::DF_1_NODELETE.0, 0, "not linked with -z nodelete");
    // On old systems glibc is in several libraries. There is no libstdc++ and no libonnxruntime.
    let system = ["libc", "libm", "libgcc_s", "libdl", "libpthread", "librt"];
    for name in &needed {
        let stem = name.split(".so").next().unwrap();
        assert!(system.contains(&stem) || stem.starts_with("ld-linux"), "it needs {name}");
    }
}

#[test]
fn header_compiles_alone_and_twice_in_every_standard() {
    let folder = empty_folder("header");
    let source = folder.join("alone.c");
    // The second time, nothing may be left to declare.
    std::fs::write(&source, "#include <bge.h>\n#include <bge.h>\nbge_error e;\n").unwrap();
    let compile = |mut command: Command, language: &str, standard: &str| {
        command
            .args([&format!("-std={standard}"), "-x", language, "-fsyntax-only"])
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
            .arg(root().join("include"))
            .arg(&source);
        run(&mut command);
    };
    for standard in ["c99", "c11", "c17"] {
        compile(cc(), "c", standard);
    }
    let cxx = compiler("CXX", "c++");
    if has(&cxx.get_program().to_string_lossy(), "the header was not compiled as C++") {
        for standard in ["c++11", "c++17", "c++20"] {
            compile(compiler("CXX", "c++"), "c++", standard);
        }
    }
}

#[test]
fn versions_agree_everywhere() {
    let folder = empty_folder("version");
    let source = folder.join("version.c");
    std::fs::write(
        &source,
        "#include <bge.h>\n#include <stdio.h>\nint main(void) { printf(\"%d.%d.%d %d %u %s\", \
         BGE_VERSION_MAJOR, BGE_VERSION_MINOR, BGE_VERSION_PATCH, BGE_VERSION, bge_version(), \
         bge_version_string()); return 0; }\n",
    )
    .unwrap();
    let program = folder.join("version");
    linkable(&folder);
    run(cc()
        .arg(&source)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&folder)
        .arg("-lbge"));
    let said = run(Command::new(&program).env("LD_LIBRARY_PATH", &folder));
    let cargo = env!("CARGO_PKG_VERSION");
    let part = |index| cargo.split('.').nth(index).unwrap().parse::<u32>().unwrap();
    let number = part(0) * 1_000_000 + part(1) * 1_000 + part(2);
    assert!(said.starts_with(&format!("{cargo} {number} {number} {cargo}")), "{said}");
}

/// Runs make without building, on the files that cargo built for these tests: a build would replace
/// the library under the other tests.
pub fn make(target: &str, built: &Path, variables: &[String]) -> String {
    let mut command = Command::new("make");
    command
        .args(["-s", "-C"])
        .arg(root())
        .args([target, "CARGO=true"])
        .arg(format!("BUILT={}", built.display()))
        .args(variables)
        .env_remove("MAKEFLAGS")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("BGE_ORT_LIBRARY");
    run(&mut command)
}

/// A folder as target/release is after `cargo build --release`.
pub fn built(name: &str) -> PathBuf {
    let folder = empty_folder(name);
    linkable(&folder);
    symlink(env!("CARGO_BIN_EXE_bge"), folder.join("bge")).unwrap();
    symlink(library().with_file_name("libbge_jni.so"), folder.join("libbge_jni.so")).unwrap();
    folder
}

/// The ONNX Runtime that an installed command finds by itself.
pub fn runtime_of_the_command(prefix: &Path, model: &Path) -> PathBuf {
    let info = run(Command::new(prefix.join("bin/bge"))
        .args(["info", "--json"])
        .arg(model)
        .current_dir("/")
        .env_remove("BGE_ORT_LIBRARY"));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    Path::new(info["runtime_library"].as_str().unwrap()).canonicalize().unwrap()
}

pub fn installable() -> bool {
    let runtime = std::env::var_os("BGE_ORT_LIBRARY").map(PathBuf::from);
    if !runtime.is_some_and(|path| path.exists()) {
        println!("nothing was installed: ONNX Runtime is not there; `make runtime` fetches it");
        return false;
    }
    has("make", "nothing was installed")
}

/// If `pkg-config` is missing, the two lines of the file are read directly.
fn pkg_config(prefix: &Path) -> Vec<String> {
    let folder = prefix.join("lib/pkgconfig");
    if has("pkg-config", "the .pc file is read by the test itself") {
        let said = run(Command::new("pkg-config")
            .args(["--cflags", "--libs", "bge"])
            .env("PKG_CONFIG_PATH", &folder));
        let version = run(Command::new("pkg-config")
            .args(["--modversion", "bge"])
            .env("PKG_CONFIG_PATH", &folder));
        assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));
        return said.split_whitespace().map(Into::into).collect();
    }
    let file = std::fs::read_to_string(folder.join("bge.pc")).unwrap();
    let at = prefix.to_str().unwrap();
    file.lines()
        .filter_map(|line| line.strip_prefix("Cflags: ").or(line.strip_prefix("Libs: ")))
        .flat_map(str::split_whitespace)
        .map(|word| word.replace("${libdir}", &format!("{at}/lib")))
        .map(|word| word.replace("${includedir}", &format!("{at}/include")))
        .collect()
}

/// The output of examples/first.c, computed by the Rust API.
fn expected_of_first(model: &Path) -> Vec<f32> {
    let source = std::fs::read_to_string(root().join("examples/first.c")).unwrap();
    // A literal may continue in the next line.
    let source = source.replace("\"\n        \"", "");
    let texts: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next())
        .collect();
    assert_eq!(texts.len(), 3);
    let model = Model::open(model, &OpenOptions::default()).unwrap();
    let vectors = model.encode(&texts, &EncodeOptions::default()).unwrap();
    let rows = ArrayView2::from_shape((3, vectors.dim), &vectors.dense).unwrap();
    let mut scores = vec![0.0; 9];
    let view = ArrayViewMut2::from_shape((3, 3), &mut scores).unwrap();
    bge::similarity(Metric::Cosine, rows, rows, 1, view).unwrap();
    [vec![3.0, vectors.dim as f32], scores].concat()
}

#[test]
fn first_program_runs_on_an_installed_tree() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("installed");
    make("install", &built("to-install"), &[format!("PREFIX={}", prefix.display())]);
    let program = prefix.join("first");
    run(cc()
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg(root().join("examples/first.c"))
        .arg("-o")
        .arg(&program)
        .args(pkg_config(&prefix)));
    let model = root().join("tests/tiny/cls");
    // From another folder, without a variable that names ONNX Runtime.
    let said = run(Command::new(&program)
        .arg(&model)
        .current_dir("/")
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .env_remove("BGE_ORT_LIBRARY"));
    let numbers: Vec<f32> = said
        .split(|c: char| c.is_whitespace() || "[],".contains(c))
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().unwrap())
        .collect();
    let expected = expected_of_first(&model);
    assert_eq!(numbers.len(), expected.len(), "{said}");
    for (number, expected) in numbers.iter().zip(&expected) {
        // Four decimals are printed.
        assert!((number - expected).abs() <= 1e-4, "{said}: expected {expected:?}");
    }
    // The command runs from there, too, and reports which ONNX Runtime it found.
    let runtime = runtime_of_the_command(&prefix, &model);
    assert!(runtime.starts_with(prefix.canonicalize().unwrap()), "{}", runtime.display());
}
