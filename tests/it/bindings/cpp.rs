//! `bindings/cpp`: its tests under ctest, and its CMake package, against an installed tree.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{compiler, demanded, empty_folder, has, library, root, run};

/// Whether there are CMake and GoogleTest, which Debian's libgtest-dev brings.
fn tested_here() -> bool {
    let includes_it = || {
        let source = empty_folder("gtest").join("it.cpp");
        std::fs::write(&source, "#include <gtest/gtest.h>\n").unwrap();
        compiler("CXX", "c++").arg("-E").arg(source).output().is_ok_and(|it| it.status.success())
    };
    let found = has("cmake", "bindings/cpp was not tested")
        && has("c++", "bindings/cpp was not tested")
        && includes_it();
    if !found {
        println!("GOOGLETEST OR CMAKE IS NOT INSTALLED: bindings/cpp was not tested");
        assert!(!demanded(), "bindings/cpp has to be tested here: install cmake and libgtest-dev");
    }
    found && installable()
}

fn cmake(arguments: &[&str], source: &Path, prefix: &Path, build: &Path) {
    run(Command::new("cmake")
        .args(["-Wno-dev", "-S"])
        .arg(source)
        .arg("-B")
        .arg(build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()))
        .args(arguments));
}

#[test]
fn the_binding_passes_its_tests() {
    if !tested_here() {
        return;
    }
    let folder = empty_folder("cpp");
    let (prefix, build) = (folder.join("installed"), folder.join("build"));
    make("install", &built("cpp-to-install"), &[format!("PREFIX={}", prefix.display())]);
    cmake(&[], &root().join("bindings/cpp"), &prefix, &build);
    run(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", "2"]));
    // Otherwise the checks that the build asks for would pass without being there.
    let symbols = run(Command::new("nm").arg("-D").arg(build.join("bge_cpp20")));
    assert!(symbols.contains("__asan_init"), "bge_cpp20 was built without AddressSanitizer");
    // Without the folder of cargo, where an older libbge.so may lie.
    let said = run(Command::new("ctest")
        .arg("--test-dir")
        .arg(&build)
        .args(["--output-on-failure", "--timeout", "600"])
        .env("BGE_TINY", root().join("tests/tiny"))
        .env_remove("BGE_ORT_LIBRARY")
        .env_remove("LD_LIBRARY_PATH"));
    assert!(said.contains("100% tests passed, 0 tests failed out of 3"), "{said}");
    let symbols = run(Command::new("nm").arg("-D").arg(build.join("bge_threads")));
    assert!(symbols.contains("__tsan_release"), "bge_threads was built without ThreadSanitizer");
}

/// Found where the headers of a project itself are: those of the system may warn as they like.
#[test]
fn the_headers_have_no_warning_in_a_strict_project() {
    if !tested_here() {
        return;
    }
    let standards = ["-std=c++17", "-std=c++20"];
    for name in ["g++", "clang++"] {
        if !has(name, "the warnings of its kind were not looked for") {
            continue;
        }
        for (standard, source) in standards.iter().flat_map(|standard| {
            ["tests/model_test.cpp", "tests/scores_test.cpp", "tests/threads_test.cpp"]
                .map(|source| (standard, source))
        }) {
            run(Command::new(name)
                .args([standard, "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow"])
                .args(["-Wold-style-cast", "-Wconversion", "-Wsign-conversion", "-Wcast-qual"])
                .args(["-Wundef", "-Werror", "-Iinclude", "-Ibindings/cpp"])
                .arg(root().join("bindings/cpp").join(source))
                .current_dir(root()));
        }
    }
}

/// By FetchContent, as from an archive or a checkout. A script replaces cargo and provides the
/// library of these tests: building another would take minutes.
#[test]
fn another_project_can_have_it_built() {
    if !has("cmake", "CMakeLists.txt was not tried") || !installable() {
        return;
    }
    let folder = empty_folder("cmake-fetch");
    let (build, target) = (folder.join("build"), folder.join("target"));
    let cargo = folder.join("cargo");
    let script = format!(
        "#!/bin/sh -e\n\
         test \"$*\" = 'build --quiet --release --locked --package libbge-c --target-dir {target}'\n\
         {cargo} pkgid --quiet --offline --package libbge-c > {target}.id\n\
         mkdir -p {target}/release\ncp {library} {target}/release/libbge_c.so\n",
        cargo = env!("CARGO"),
        target = target.display(),
        library = library().display(),
    );
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::copy(root().join("examples/first.cpp"), folder.join("first.cpp")).unwrap();
    // The project that the page for C++ shows, with this checkout instead of the repository.
    let project = std::fs::read_to_string(root().join("examples/CMakeLists.txt")).unwrap();
    let published = "GIT_REPOSITORY https://github.com/libbge/libbge GIT_TAG v0.1.0";
    assert!(project.contains(published), "{project}");
    let project = project.replace(published, &format!("SOURCE_DIR {:?}", root()));
    std::fs::write(folder.join("CMakeLists.txt"), project).unwrap();
    let runtime = root().join(std::env::var("BGE_ORT_LIBRARY").unwrap());
    let variable = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let variables = [
        variable("BGE_CARGO", &cargo),
        variable("BGE_TARGET_DIR", &target),
        variable("BGE_RUNTIME", &runtime),
    ];
    cmake(&variables.each_ref().map(String::as_str), &folder, &folder, &build);
    run(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", "2"]));
    let said = run(Command::new(build.join("first"))
        .arg(root().join("tests/tiny/cls"))
        .current_dir("/")
        .env_remove("BGE_ORT_LIBRARY")
        .env_remove("LD_LIBRARY_PATH"));
    assert!(said.starts_with("[3, 32]\n1.0000 "), "{said}");
    let versions = std::fs::read_to_string(root().join("CMakeLists.txt")).unwrap();
    assert!(versions.contains(&format!("VERSION {} LANGUAGES", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn cmake_finds_the_versions_that_fit() {
    if !has("cmake", "bge-config.cmake was not tried") || !installable() {
        return;
    }
    let folder = empty_folder("cmake-versions");
    let prefix = folder.join("installed");
    make("install", &built("cmake-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let version = env!("CARGO_PKG_VERSION");
    let next = format!(
        "{}.{}",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR").parse::<u32>().unwrap() + 1
    );
    for (wanted, fits) in [("", true), (version, true), (&next, false), ("99", false)] {
        let source = folder.join("source");
        std::fs::create_dir_all(&source).unwrap();
        let project = format!(
            "cmake_minimum_required(VERSION 3.16)\nproject(finder NONE)\n\
             find_package(bge {wanted} QUIET)\n\
             if(bge_FOUND)\n  file(WRITE \"${{CMAKE_BINARY_DIR}}/found\" \"${{bge_VERSION}}\")\nendif()\n"
        );
        std::fs::write(source.join("CMakeLists.txt"), project).unwrap();
        let build = folder.join(format!("build-{wanted}"));
        cmake(&[], &source, &prefix, &build);
        let found = std::fs::read_to_string(build.join("found"));
        assert_eq!(found.as_deref().ok(), fits.then_some(version), "find_package(bge {wanted})");
    }
}
