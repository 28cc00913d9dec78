//! `make install` as packagers use it: the folders and kinds of its files, and that nothing else is
//! needed.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};

use crate::packaging::artifact::{built, installable, make, runtime_of_the_command};
use crate::support::build::{cc, empty_folder, has, library, root, run};

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                files.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_string());
            }
        }
    }
    files
}

/// For each folder of libraries, the argument of make, and the folder relative to the prefix.
const LIBDIRS: [(&str, &str); 3] = [
    ("", "lib"),
    ("libdir=lib64", "lib64"),
    ("libdir=/opt/bge/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"),
];

#[test]
fn destdir_is_a_stage_and_uninstall_clears_it() {
    if !installable() {
        return;
    }
    let built = built("to-stage");
    for (said, lib) in LIBDIRS {
        let stage = empty_folder("staged");
        let variables: Vec<String> =
            [&format!("DESTDIR={}", stage.display()), "PREFIX=/opt/bge", said]
                .into_iter()
                .filter(|word| !word.is_empty())
                .map(Into::into)
                .collect();
        make("install", &built, &variables);
        let installed = files_below(&stage);
        let version = env!("CARGO_PKG_VERSION");
        let major = env!("CARGO_PKG_VERSION_MAJOR");
        let runtime = PathBuf::from(std::env::var_os("BGE_ORT_LIBRARY").unwrap());
        let mut expected: BTreeSet<String> = [
            "bin/bge",
            "include/bge.h",
            "include/bge.hpp",
            &format!("{lib}/bge/{}", runtime.file_name().unwrap().to_str().unwrap()),
            &format!("{lib}/cmake/bge/bge-config.cmake"),
            &format!("{lib}/cmake/bge/bge-config-version.cmake"),
            &format!("{lib}/libbge.so"),
            &format!("{lib}/libbge.so.{major}"),
            &format!("{lib}/libbge.so.{version}"),
            &format!("{lib}/pkgconfig/bge.pc"),
            "share/bash-completion/completions/bge",
            "share/doc/bge/LICENSE-APACHE",
            "share/doc/bge/LICENSE-MIT",
            "share/doc/bge/onnxruntime-LICENSE",
            "share/doc/bge/onnxruntime-ThirdPartyNotices.txt",
            "share/fish/vendor_completions.d/bge.fish",
            "share/man/man1/bge.1",
            "share/zsh/site-functions/_bge",
        ]
        .map(|file| format!("opt/bge/{file}"))
        .into();
        for command in subcommands() {
            expected.insert(format!("opt/bge/share/man/man1/bge-{command}.1"));
        }
        if lib != "lib" {
            expected.insert("opt/bge/lib/bge".into());
        }
        assert_eq!(installed, expected);
        let libraries = stage.join("opt/bge").join(lib);
        for (link, target) in [
            ("libbge.so", format!("libbge.so.{major}")),
            (&format!("libbge.so.{major}"), format!("libbge.so.{version}")),
        ] {
            let found = std::fs::read_link(libraries.join(link)).unwrap();
            assert_eq!(found, Path::new(&target));
        }
        for (file, mode) in [
            (libraries.join(format!("libbge.so.{version}")), 0o644),
            (stage.join("opt/bge/bin/bge"), 0o755),
        ] {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode);
            let bytes = std::fs::read(&file).unwrap();
            let elf = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
            assert_eq!(elf.symbols().count(), 0, "{} is not stripped", file.display());
        }
        let pc = std::fs::read_to_string(libraries.join("pkgconfig/bge.pc")).unwrap();
        assert!(pc.starts_with("prefix=/opt/bge\n"), "{pc}");
        assert!(pc.contains(&format!("\nlibdir=${{prefix}}/{lib}\n")), "{pc}");
        assert!(!pc.contains(stage.to_str().unwrap()), "{pc}");
        make("uninstall", &built, &variables);
        assert_eq!(files_below(&stage), BTreeSet::new());
    }
}

/// The subcommands that `bge --help` lists.
fn subcommands() -> Vec<String> {
    let said = run(Command::new(env!("CARGO_BIN_EXE_bge")).arg("--help"));
    let list = said.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|&name| name != "help").map(Into::into).collect()
}

#[test]
fn what_is_stripped_exports_what_it_did() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("stripped");
    make("install", &built("to-strip"), &[format!("PREFIX={}", prefix.display())]);
    let exported = |path: &Path| -> BTreeSet<String> {
        let bytes = std::fs::read(path).unwrap();
        let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
        let symbols = file.dynamic_symbols().filter(|it| it.is_definition() && it.is_global());
        symbols.map(|symbol| symbol.name().unwrap().to_string()).collect()
    };
    let before = exported(&library());
    assert!(!before.is_empty());
    assert_eq!(exported(&prefix.join("lib/libbge.so")), before);
}

/// Wherever the libraries are, a program finds them by pkg-config and CMake, and they and the
/// command find ONNX Runtime, with nothing else set.
#[test]
fn libraries_may_be_where_a_system_has_them() {
    if !installable() {
        return;
    }
    let folder = empty_folder("libdir");
    let prefix = folder.join("installed");
    let built = built("libdir-to-install");
    let model = root().join("tests/tiny/cls");
    for libdir in ["lib64", "lib", "lib/x86_64-linux-gnu", "lib"] {
        let variables = [format!("PREFIX={}", prefix.display()), format!("libdir={libdir}")];
        // Over an earlier installation.
        make("install", &built, &variables);
        let libraries = prefix.join(libdir);
        let runs = |program: &Path| {
            run(Command::new(program)
                .arg(&model)
                .current_dir("/")
                .env("LD_LIBRARY_PATH", &libraries)
                .env_remove("BGE_ORT_LIBRARY"))
        };
        if has("pkg-config", "bge.pc was not tried") {
            let said = run(Command::new("pkg-config")
                .args(["--cflags", "--libs", "bge"])
                .env("PKG_CONFIG_PATH", libraries.join("pkgconfig")));
            let program = folder.join("first");
            run(cc()
                .arg(root().join("examples/first.c"))
                .arg("-o")
                .arg(&program)
                .args(said.split_whitespace()));
            assert!(runs(&program).starts_with("[3, 32]\n"));
        }
        if has("cmake", "bge-config.cmake was not tried") {
            let source = folder.join("source");
            std::fs::create_dir_all(&source).unwrap();
            let project = format!(
                "cmake_minimum_required(VERSION 3.16)\nproject(finder C)\nfind_package(bge REQUIRED)\n\
                 add_executable(first {:?})\ntarget_link_libraries(first bge::bge)\n",
                root().join("examples/first.c")
            );
            std::fs::write(source.join("CMakeLists.txt"), project).unwrap();
            let build = folder.join("build");
            let _ = std::fs::remove_dir_all(&build);
            run(Command::new("cmake")
                .args(["-Wno-dev", "-S"])
                .arg(&source)
                .arg("-B")
                .arg(&build)
                .arg(format!("-Dbge_DIR={}", libraries.join("cmake/bge").display())));
            run(Command::new("cmake").arg("--build").arg(&build));
            assert!(runs(&build.join("first")).starts_with("[3, 32]\n"));
        }
        let runtime = runtime_of_the_command(&prefix, &model);
        assert!(runtime.starts_with(libraries.canonicalize().unwrap()), "{}", runtime.display());
        if libdir != "lib" {
            make("uninstall", &built, &variables);
        }
    }
    make("uninstall", &built, &[format!("PREFIX={}", prefix.display())]);
    assert_eq!(files_below(&prefix), BTreeSet::new());
}

#[test]
fn a_systems_own_runtime_is_linked_to_and_none_is_none() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("own-runtime");
    let built = built("own-runtime-to-install");
    let to_prefix = format!("PREFIX={}", prefix.display());
    let runtime = root().join(std::env::var_os("BGE_ORT_LIBRARY").unwrap());
    let elsewhere = empty_folder("elsewhere").join("libonnxruntime.so.1.99");
    symlink(&runtime, &elsewhere).unwrap();
    make("install", &built, &[to_prefix.clone(), format!("RUNTIME={}", elsewhere.display())]);
    let found: Vec<_> = std::fs::read_dir(prefix.join("lib/bge")).unwrap().flatten().collect();
    assert_eq!(found.len(), 1);
    assert_eq!(std::fs::read_link(found[0].path()).unwrap(), elsewhere);
    let version = || {
        run(Command::new(prefix.join("bin/bge"))
            .arg("--version")
            .current_dir("/")
            .env_remove("BGE_ORT_LIBRARY")
            .env_remove("LD_LIBRARY_PATH"))
    };
    assert!(version().contains("\nonnxruntime 1."), "{}", version());
    make("install", &built, &[to_prefix.clone(), "RUNTIME=".into()]);
    assert_eq!(std::fs::read_dir(prefix.join("lib/bge")).unwrap().count(), 0);
    let licenses = files_below(&prefix.join("share/doc"));
    assert!(licenses.iter().any(|name| name.contains("LICENSE-MIT")));
    make("uninstall", &built, &[to_prefix]);
    assert_eq!(files_below(&prefix), BTreeSet::new());
}

/// As `sudo make install` after `make build`: without cargo, Python or a network in reach.
#[test]
fn what_is_built_is_installed_with_nothing_but_the_systems_tools() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("only-installed");
    let built = built("only-to-install");
    make("build", &built, &[]);
    let broken = "false";
    let variables = [
        format!("PREFIX={}", prefix.display()),
        format!("CARGO={broken}"),
        format!("PYTHON={broken}"),
    ];
    make("install", &built, &variables);
    assert!(prefix.join("bin/bge").exists());
}

/// Libraries and programs contain nothing that names the machine that built them.
#[test]
fn make_keeps_the_paths_of_the_machine_out_of_what_it_builds() {
    if !has("make", "its flags were not looked at") {
        return;
    }
    let said = run(Command::new("make")
        .args(["-s", "-C"])
        .arg(root())
        .args(["lint", "CARGO=printenv RUSTFLAGS; true"])
        .env("CARGO_HOME", "/nowhere/cargo")
        .env("RUSTFLAGS", "-Cdebuginfo=0")
        .env_remove("MAKEFLAGS"));
    let expected = format!(
        "-Cdebuginfo=0 --remap-path-prefix=/nowhere/cargo=/cargo --remap-path-prefix={}=/libbge",
        root().display()
    );
    assert!(said.lines().any(|line| line == expected), "{said}");
    // Where these tests were built by make, they see for themselves.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if !flags.contains("--remap-path-prefix") {
        println!("the paths in the library were not looked for: run make test");
        return;
    }
    let home = std::env::var("CARGO_HOME")
        .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap()));
    for file in
        [library(), library().with_file_name("libbge_jni.so"), env!("CARGO_BIN_EXE_bge").into()]
    {
        let bytes = std::fs::read(&file).unwrap();
        for path in [home.as_str(), root().to_str().unwrap()] {
            let at = bytes.windows(path.len()).position(|window| window == path.as_bytes());
            let around = at.map(|at| {
                String::from_utf8_lossy(&bytes[at..(at + 120).min(bytes.len())]).into_owned()
            });
            assert_eq!(around, None, "{} names {path}", file.display());
        }
    }
}

#[test]
fn the_manual_and_the_completions_name_every_command_and_option() {
    let folder = empty_folder("generated");
    run(Command::new(env!("CARGO_BIN_EXE_bge")).arg("generate").arg(&folder));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let manual = read("man/man1/bge.1");
    let completions = [
        "bash-completion/completions/bge",
        "zsh/site-functions/_bge",
        "fish/vendor_completions.d/bge.fish",
    ];
    for command in subcommands() {
        assert!(manual.contains(&format!("bge\\-{command}(1)")), "{manual}");
        let page = read(&format!("man/man1/bge-{command}.1")).replace("\\-", "-");
        let help = run(Command::new(env!("CARGO_BIN_EXE_bge")).args([&command, "--help"]));
        let options = help.split_whitespace().filter(|word| word.starts_with("--"));
        for option in options.map(|word| word.trim_end_matches([',', '.', ';', ':'])) {
            assert!(page.contains(option), "bge-{command}.1 lacks {option}");
        }
        for file in completions {
            assert!(read(file).contains(&command), "{file} lacks {command}");
        }
    }
    // A command for packages alone is nobody else's.
    for text in completions.map(read).iter().chain([&manual]) {
        assert!(!text.contains("generate"), "{text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        if has(shell, "its completions were not read by it") {
            let file = completions.iter().find(|file| file.contains(shell)).unwrap();
            run(Command::new(shell).arg("-n").arg(folder.join(file)));
        }
    }
    if has("man", "the manual's pages were not read by it") {
        run(Command::new("man").args(["--warnings", "-l"]).arg(folder.join("man/man1/bge.1")));
    }
}
