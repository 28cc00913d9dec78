//! `bindings/cpp`: its tests under ctest, and its CMake package, against an installed tree.

use std::path::Path;
use std::process::Command;

use crate::artefact::{built, installable, make};
use crate::built::{compiler, demanded, empty_folder, has, root, run};

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
    let said = run(Command::new("ctest")
        .arg("--test-dir")
        .arg(&build)
        .args(["--output-on-failure", "--timeout", "600"])
        .env("BGE_TINY", root().join("tests/tiny"))
        .env_remove("BGE_ORT_LIBRARY"));
    assert!(said.contains("100% tests passed, 0 tests failed out of 2"), "{said}");
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
