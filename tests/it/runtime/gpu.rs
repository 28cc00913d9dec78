//! The errors on a machine without a GPU, or without a part of its software.
//!
//! The machines of the tests have no GPU: libraries with NVIDIA's names, compiled here, stand for a
//! driver and for TensorRT. The errors of the real ONNX Runtime for GPUs are tested if it was
//! fetched.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::build::root;
use crate::support::models::{BGE, tiny_dir};

const CUDA_PROVIDER: &str = "libonnxruntime_providers_cuda.so";
const TENSORRT_PROVIDER: &str = "libonnxruntime_providers_tensorrt.so";

/// A driver that reports some GPUs and can do nothing with them.
const DRIVER: &str = r#"
#include <string.h>
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuGetErrorString(int e, const char **text) { *text = e == 100 ? "no device" : 0; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    (void)device; strncpy(name, "NVIDIA Imagined", (size_t)size); return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device; *value = attribute == 75 ? 9 : 1; return 0;
}
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
"#;

const TENSORRT: &str = "int getInferLibVersion(void) { return 101401; }";

/// A folder with ONNX Runtime and stand-ins for its providers, and one for the system's loader.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: TempDir::new().unwrap() };
        for folder in ["runtime", "loader", "cache"] {
            std::fs::create_dir(machine.path(folder)).unwrap();
        }
        let runtime = std::env::var_os("BGE_ORT_LIBRARY").expect("run the tests with cargo");
        std::fs::copy(runtime, machine.runtime()).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn runtime(&self) -> PathBuf {
        self.path("runtime/libonnxruntime.so")
    }

    /// Compiles a library that needs others, which are built for that and then removed.
    fn library(&self, name: &str, source: &str, needs: &[&str], flags: &[&str]) {
        let scratch = TempDir::new().unwrap();
        let compile = |name: &Path, source: &str, rest: &[String]| {
            let file = scratch.path().join("source.c");
            std::fs::write(&file, source).unwrap();
            let compiled = Command::new("cc")
                .args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"])
                .arg(name)
                .arg(&file)
                .args(rest)
                .output()
                .expect("cc is needed");
            assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        };
        let mut rest: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        for need in needs {
            let library = scratch.path().join(need);
            let soname = [format!("-Wl,-soname,{need}")];
            compile(&library, "int nothing(void) { return 0; }", &soname);
            rest.push(library.display().to_string());
        }
        compile(&self.path(name), source, &rest);
    }

    fn providers(&self) {
        let source = "int provider(void) { return 0; }";
        self.library("runtime/libonnxruntime_providers_shared.so", source, &[], &[]);
        let needs = ["libcudart.so.13", "libcuda.so.1"];
        self.library(&format!("runtime/{CUDA_PROVIDER}"), source, &needs, &[]);
        let needs = ["libnvinfer.so.10", "libcudnn.so.9"];
        self.library(&format!("runtime/{TENSORRT_PROVIDER}"), source, &needs, &[]);
    }

    fn driver(&self, init: u32, count: u32) {
        let flags = [format!("-DINIT={init}"), format!("-DCOUNT={count}")];
        self.library("loader/libcuda.so.1", DRIVER, &[], &flags.each_ref().map(String::as_str));
    }

    fn install(&self, name: &str) {
        let source = if name.starts_with("libnvinfer") { TENSORRT } else { "int x;" };
        self.library(&format!("loader/{name}"), source, &[], &[]);
    }

    /// The last line that the command prints when it fails.
    #[track_caller]
    fn fails(&self, command: &str, arguments: &[&str], code: i32) -> String {
        fails(&self.runtime(), &self.path("loader"), command, arguments, code)
    }

    fn cache(&self) -> String {
        self.path("cache").display().to_string()
    }
}

#[track_caller]
fn fails(runtime: &Path, loader: &Path, command: &str, arguments: &[&str], code: i32) -> String {
    let output = Command::new(BGE)
        .arg(command)
        .arg(tiny_dir("cls"))
        .args(arguments)
        .env("BGE_ORT_LIBRARY", runtime)
        .env("LD_LIBRARY_PATH", loader)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said.lines().last().unwrap_or_default().to_string()
}

#[track_caller]
fn has(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

#[test]
fn each_library_that_is_missing_is_named_with_its_version() {
    let machine = Machine::new();
    let cuda = |code| machine.fails("info", &["--device", "cuda:2"], code);
    has(
        &cuda(3),
        &["device is cuda:2", "is a build for the CPU", "libonnxruntime_providers_shared"],
    );
    machine.providers();
    let missing = "libcudart.so.13 (CUDA), libcuda.so.1 (NVIDIA driver); install them";
    has(&cuda(3), &["device is cuda:2", CUDA_PROVIDER, missing, "LD_LIBRARY_PATH"]);
    machine.install("libcudart.so.13");
    has(&cuda(3), &["does not find: libcuda.so.1 (NVIDIA driver); install them"]);
    machine.driver(0, 1);
    has(&cuda(3), &["device is cuda:2, but there is one GPU, 0"]);
    machine.driver(0, 2);
    has(&cuda(3), &["device is cuda:2, but there are 2 GPUs"]);
    machine.driver(100, 0);
    has(&cuda(3), &["the NVIDIA driver answers cuInit with error 100, no device"]);
    machine.driver(999, 0);
    has(&cuda(3), &["answers cuInit with error 999"]);
    machine.driver(0, 3);
    let usable =
        "cannot use NVIDIA Imagined, of compute capability 9.1, with a driver for CUDA 12.8: ";
    has(&cuda(3), &[usable]);
}

#[test]
fn tensorrt_runs_engines_that_were_prepared_and_builds_none_as_it_opens() {
    let machine = Machine::new();
    let cache = machine.cache();
    let options = ["--device", "tensorrt", "--compute-type", "fp16", "--cache-dir", &cache];
    let fails =
        |command, more: &[&str], code| machine.fails(command, &[&options[..], more].concat(), code);
    for command in ["info", "prepare"] {
        has(&fails(command, &[], 3), &["device is tensorrt:0", "is a build for the CPU"]);
    }
    machine.providers();
    let no_driver = "there is no NVIDIA driver: libcuda.so.1 cannot be loaded";
    for command in ["info", "prepare"] {
        has(
            &fails(command, &[], 3),
            &["libnvinfer.so.10 (TensorRT), libcudnn.so.9 (cuDNN); install"],
        );
    }
    machine.install("libcudnn.so.9");
    machine.install("libnvinfer.so.10");
    has(&fails("info", &[], 3), &["device is tensorrt:0", no_driver]);
    machine.driver(0, 1);
    let said = fails("info", &[], 3);
    has(&said, &["TensorRT's engines are not prepared: there is no ", "They would be for "]);
    has(&said, &["GPU NVIDIA Imagined, compute capability 9.1, TensorRT 10.14.1, onnxruntime 1."]);
    has(&said, &["computed in fp16, texts and tokens 512x32 128x128, weights "]);
    let prepare = format!(
        "run `bge prepare DIR --device tensorrt:0 --compute-type fp16 --max-tokens 128 \
         --max-batch-tokens 16384 --cache-dir {cache}`"
    );
    has(&said, &[&prepare]);

    let folder = |said: &str| {
        let (_, after) = said.split_once("there is no ").unwrap();
        after.split_once(';').unwrap().0.to_string()
    };
    assert_eq!(folder(&said), folder(&fails("info", &[], 3)));
    for other in [&["--max-batch-tokens", "4096"][..], &["--compute-type", "bf16"]] {
        let options: Vec<&str> = match other[0] {
            "--compute-type" => ["--device", "tensorrt", "--cache-dir", &cache].to_vec(),
            _ => options.to_vec(),
        };
        let said = machine.fails("info", &[&options[..], other].concat(), 3);
        assert_ne!(folder(&said), folder(&fails("info", &[], 3)), "{other:?}");
    }
    let shorter =
        machine.fails("similarity", &[&options[..], &["--max-tokens", "64", "a", "b"]].concat(), 3);
    has(&shorter, &["texts and tokens 512x32 256x64"]);
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);

    // Building fails at a provider that is a stand-in.
    has(&fails("prepare", &[], 3), &["NVIDIA Imagined"]);
    let left: Vec<_> =
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tensorrt-10.14.1.bge-timing"]);
    // A stamp alone makes no engine.
    let stamped = PathBuf::from(folder(&said));
    std::fs::create_dir(&stamped).unwrap();
    std::fs::write(stamped.join("prepared.txt"), "").unwrap();
    assert!(!fails("info", &[], 3).contains("not prepared"));
}

#[test]
fn what_a_gpu_cannot_do_is_refused_before_it_is_looked_for() {
    let machine = Machine::new();
    let cache = machine.cache();
    let cases: [(&str, &[&str], i32, &str); 9] = [
        ("prepare", &[], 3, "device is cpu, for which nothing has to be prepared"),
        ("prepare", &["--device", "cuda"], 3, "device is cuda:0, for which nothing"),
        ("info", &["--device", "tensorrt", "--cache-dir", &cache], 3, "built in fp16 or bf16"),
        ("info", &["--device", "tensorrt", "--compute-type", "bf16"], 2, "cache_dir"),
        ("info", &["--device", "cuda", "--compute-type", "bf16"], 3, "or the device tensorrt"),
        ("info", &["--compute-type", "bf16"], 3, "a GPU has and the CPU has not"),
        ("info", &["--device-count", "2"], 2, "there is one CPU device"),
        ("info", &["--device", "cuda", "--device-count", "65"], 2, "it may be 1 to 64"),
        ("info", &["--device", "npu"], 2, "none of cpu, cuda, cuda:0, tensorrt, tensorrt:0"),
    ];
    for (command, arguments, code, words) in cases {
        let output = Command::new(BGE).arg(command).arg(tiny_dir("cls")).args(arguments).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let bytes = ["--device", "tensorrt", "--compute-type", "fp16", "--max-run-bytes", "1000000000"];
    has(&machine.fails("info", &bytes, 3), &["max_run_bytes is 1000000000, but an engine"]);
}

/// With the real libraries, if `make quickstart DEVICE=cuda` has fetched them.
#[test]
fn the_build_for_gpus_is_told_what_it_lacks() {
    let runtime = root().join(".cache/onnxruntime-gpu/1.31.1/libonnxruntime.so.1.31.1");
    if !runtime.exists() {
        println!("left out: {} was not fetched", runtime.display());
        return;
    }
    if Path::new("/proc/driver/nvidia").exists() {
        println!("left out: there is a GPU");
        return;
    }
    let machine = Machine::new();
    let loader = machine.path("loader");
    let cuda = fails(&runtime, &loader, "info", &["--device", "cuda"], 3);
    has(&cuda, &[CUDA_PROVIDER, "libcuda.so.1 (NVIDIA driver)"]);
    let cache = machine.cache();
    let options = ["--device", "tensorrt", "--compute-type", "fp16", "--cache-dir", &cache];
    let tensorrt = fails(&runtime, &loader, "prepare", &options, 3);
    has(&tensorrt, &[TENSORRT_PROVIDER, "libnvinfer.so.10 (TensorRT)", "libnvonnxparser.so.10"]);
    // On the CPU it runs as any.
    let output = Command::new(BGE)
        .arg("info")
        .arg(tiny_dir("cls"))
        .arg("--json")
        .env("BGE_ORT_LIBRARY", &runtime)
        .output()
        .unwrap();
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["runtime"], "onnxruntime 1.31.1");
    assert_eq!(facts["device"], "cpu");
}
