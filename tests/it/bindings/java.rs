//! `bindings/java`: its tests under Maven, its jars, and how a jar finds its native libraries.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use bge::{EncodeOptions, Model, OpenOptions, Outputs};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol, elf};

use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{demanded, empty_folder, root, run};
use crate::support::models::tiny_dir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Maven as the shell calls it: with a local repository below .cache, so that a test changes
/// nothing outside, and with one output, since it ends with a color on its standard error, even
/// without any.
fn maven_line() -> String {
    format!("mvn -q -B -Dmaven.repo.local={} 2>&1", root().join(".cache/m2").display())
}

pub fn maven() -> Command {
    let mut maven = Command::new("sh");
    maven.arg("-c").arg(format!("{} \"$@\"", maven_line())).arg("mvn");
    maven
}

/// Runs Maven, one at a time: two might fetch the same file into the repository.
pub fn run_maven(maven: &mut Command) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(maven);
}

/// The folder that `make java` builds into, once for all tests of this program. `None` if the JDK
/// or Maven is missing, which is reported.
pub fn folder() -> Option<&'static Path> {
    // A failure poisons it, so that it is reported once and not tried again by every test.
    static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let is_there = |program| Command::new(program).arg("-version").output().is_ok();
        if !is_there("mvn") || !is_there("javac") {
            println!("MAVEN OR A JDK IS NOT INSTALLED: bindings/java was not tested");
            assert!(!demanded(), "bindings/java has to be tested here: install JDK 17 and mvn");
            return None;
        }
        if !installable() {
            return None;
        }
        let folder = empty_folder("java");
        let said = make(
            "java",
            &built("java-to-build"),
            &[
                format!("JAVA={}", folder.display()),
                // The jar's own ONNX Runtime is tested, whatever the shell has set.
                format!("MVN=BGE_ORT_LIBRARY=/nowhere/libonnxruntime.so {}", maven_line()),
            ],
        );
        // -Xcheck:jni only prints its findings.
        let is_found =
            ["WARNING in native method", "WARNING: JNI"].iter().any(|it| said.contains(it));
        assert!(!is_found, "{said}");
        Some(folder)
    });
    FOLDER.as_deref()
}

fn jar(folder: &Path, kind: &str) -> PathBuf {
    folder.join(format!("build/libbge-{VERSION}{kind}.jar"))
}

/// A JVM that looks for native libraries in its own path only: cargo makes the loader search its
/// own folder.
fn jvm(classes: &Path) -> Command {
    let mut java = Command::new("java");
    java.arg("-cp").arg(classes).env_remove("BGE_ORT_LIBRARY").env_remove("LD_LIBRARY_PATH");
    java
}

/// `java` with the jar, or `None` if it could not be built, which is reported.
pub fn java() -> Option<Command> {
    Some(jvm(&jar(folder()?, "")))
}

fn program(name: &str) -> PathBuf {
    root().join("tests/java").join(name)
}

#[test]
fn the_binding_passes_its_tests_and_makes_its_jars() {
    let Some(folder) = folder() else { return };
    for kind in ["", "-sources", "-javadoc"] {
        assert!(jar(folder, kind).exists(), "there is no jar {kind}");
    }
    // The file states the number of tests, so none can be missing unseen.
    let reports = std::fs::read_dir(folder.join("build/surefire-reports")).unwrap();
    let reports: Vec<PathBuf> = reports.map(|entry| entry.unwrap().path()).collect();
    let of_tests = reports.iter().filter(|path| path.extension() == Some(OsStr::new("xml")));
    let sources = std::fs::read_dir(root().join("bindings/java/src/test/java/dev/libbge")).unwrap();
    let names = sources.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(of_tests.count(), names.filter(|name| name.ends_with("Test.java")).count());
}

/// Another library that asks for libbge.so or ONNX Runtime must not be given those of the jar.
#[test]
fn the_libraries_of_the_jar_pass_for_no_others() {
    let Some(folder) = folder() else { return };
    for (name, soname) in
        [("libbge_jni.so", "libbge_jni.so.0"), ("libonnxruntime.so", "libbgeonnxruntime.1")]
    {
        let bytes = std::fs::read(folder.join("native").join(name)).unwrap();
        let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
        let table = file.elf_dynamic_table().unwrap();
        let entries = table.iter().filter(|entry| entry.tag == elf::DT_SONAME);
        let names: Vec<_> = entries.map(|entry| table.string(entry).unwrap().to_vec()).collect();
        assert_eq!(names, [soname.as_bytes()]);
        let exported = file.dynamic_symbols().filter(|it| it.is_definition() && it.is_global());
        let names: Vec<_> = exported.map(|it| it.name().unwrap().to_string()).collect();
        let is_ours = |symbol: &String| symbol.starts_with("Java_dev_libbge_Native_");
        assert!(name != "libbge_jni.so" || names.iter().all(is_ours), "{names:?}");
    }
}

#[test]
fn vectors_are_those_of_the_library_bit_by_bit() {
    let Some(mut java) = java() else { return };
    let texts = ["Orang-orang ada di luar.", "", "a", "😀 dí mèo 猫"];
    let said = run(java.arg(program("Vectors.java")).arg(tiny_dir("heads")).args(texts));
    let options = OpenOptions { threads: 1, ..OpenOptions::default() };
    let model = Model::open(tiny_dir("heads"), &options).unwrap();
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
    let options = EncodeOptions { outputs, ..EncodeOptions::default() };
    let all = model.encode(&texts, &options).unwrap();
    let bits = |numbers: &[f32]| -> String {
        numbers.iter().map(|number| format!("{:08x}", number.to_bits())).collect()
    };
    let mut lines = Vec::new();
    for text in 0..texts.len() {
        let weights: Vec<f32> =
            all.sparse.as_ref().unwrap().of(text).map(|(_, weight)| weight).collect();
        lines.push(bits(&all.dense[text * all.dim..(text + 1) * all.dim]));
        lines.push(bits(&weights));
        lines.push(bits(all.multi.as_ref().unwrap().of(text)));
        lines.push(bits(all.tokens.as_ref().unwrap().of(text)));
    }
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn nothing_is_left_behind_however_the_process_ends() {
    let Some(mut java) = java() else { return };
    let temporary = empty_folder("java-tmpdir");
    let is_empty = || std::fs::read_dir(&temporary).unwrap().count() == 0;
    java.arg(format!("-Djava.io.tmpdir={}", temporary.display()))
        .arg("-XX:-UsePerfData")
        .arg(program("Waiting.java"))
        .arg(tiny_dir("cls"))
        .arg("wait")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = java.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(VERSION), "{line}");
    assert!(is_empty(), "files are there while the library is in use");
    // On Unix, this is SIGKILL.
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(is_empty(), "files are left behind");
}

#[test]
fn the_native_library_may_come_from_elsewhere() {
    let Some(folder) = folder() else { return };
    let native = folder.join("native");
    // A jar without libraries.
    let classes = empty_folder("java-classes");
    run(Command::new("jar").arg("xf").arg(jar(folder, "")).current_dir(&classes));
    std::fs::remove_dir_all(classes.join("dev/libbge/linux-x86_64")).unwrap();
    let library = native.join("libbge_jni.so");
    let waiting = |option: &str| {
        let mut java = jvm(&classes);
        java.arg(option).arg(program("Waiting.java")).arg(tiny_dir("cls"));
        java
    };
    // ONNX Runtime is found beside it. That the program ends shows that no thread keeps the JVM.
    for option in [
        format!("-Ddev.libbge.library={}", library.display()),
        format!("-Djava.library.path={}", native.display()),
    ] {
        assert!(run(&mut waiting(&option)).starts_with(VERSION), "{option}");
    }
    for (option, words) in [
        ("-Ddev.libbge.library=/nowhere/libbge_jni.so", "/nowhere/libbge_jni.so"),
        ("-Dignored=", "set the system property dev.libbge.library"),
    ] {
        let output = waiting(option).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains("BgeException") && said.contains(words), "{said}");
        assert!(said.contains("(RUNTIME_UNAVAILABLE)"), "{said}");
    }
}

/// Loading that failed is tried again at the next use, and an interrupt of the thread changes
/// nothing.
#[test]
fn a_first_use_that_fails_or_is_interrupted_is_not_the_last() {
    let Some(mut java) = java() else { return };
    let said = run(java
        .arg("-Dfirst=/nowhere/libbge_jni.so,/nowhere/other.so")
        .arg(program("Loading.java"))
        .arg(tiny_dir("cls")));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    for (line, library) in
        lines.iter().zip(["/nowhere/libbge_jni.so"; 2].iter().chain(&["/nowhere/other.so"; 2]))
    {
        let words =
            format!("RUNTIME_UNAVAILABLE the system property dev.libbge.library is {library}, ");
        assert!(line.starts_with(&words), "{line}");
    }
    assert_eq!(lines[4], "32");
}

/// Folders that cannot be written to, are full, or are mounted noexec, where this process may
/// mount.
#[test]
fn the_jar_takes_another_folder_where_one_will_not_do() {
    let Some(of_java) = folder().map(|folder| jar(folder, "")) else { return };
    let mut java = jvm(&of_java);
    let elsewhere = java.arg("-Djava.io.tmpdir=/nowhere").arg(program("Loading.java"));
    assert_eq!(run(elsewhere.arg(tiny_dir("cls"))), "32\n");

    let mounting = ["-rm", "sh", "-e", "-c"];
    if !Command::new("unshare")
        .args(mounting)
        .arg("true")
        .output()
        .is_ok_and(|it| it.status.success())
    {
        println!("this process may not mount: folders that are full or noexec were not tried");
        return;
    }
    let folder = empty_folder("java-folders");
    let (noexec, small, home) = (folder.join("noexec"), folder.join("small"), folder.join("home"));
    for folder in [&noexec, &small, &home] {
        std::fs::create_dir(folder).unwrap();
    }
    let with = |temporary: &Path, home: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(mounting).arg(format!(
            "for at in /dev/shm /var/tmp {noexec}; do mount -t tmpfs -o noexec none $at; done
             mount -t tmpfs -o size=16m none {small}; exec \"$@\"",
            noexec = noexec.display(),
            small = small.display()
        ));
        unshare.args(["sh", "java", "-cp"]).arg(&of_java);
        unshare.arg(format!("-Djava.io.tmpdir={}", temporary.display()));
        unshare.arg(format!("-Duser.home={home}")).arg(program("Loading.java"));
        run(unshare
            .arg(tiny_dir("cls"))
            .env_remove("BGE_ORT_LIBRARY")
            .env_remove("LD_LIBRARY_PATH"))
    };
    let home = home.to_str().unwrap();
    for temporary in [&noexec, &small, Path::new("/nowhere")] {
        assert_eq!(with(temporary, home), "32\n");
    }
    // Room for the one library, and not for the other.
    let said = with(&small, "?");
    assert!(
        said.starts_with("RUNTIME_UNAVAILABLE libbge cannot load libonnxruntime.so "),
        "{said}"
    );
    assert!(said.contains("/small: No space left on device; /dev/shm is mounted noexec"), "{said}");
    let said = with(&noexec, "/nowhere");
    for words in [
        "RUNTIME_UNAVAILABLE",
        "dev.libbge.library",
        "/noexec is mounted noexec",
        "-Djava.io.tmpdir=",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

/// A JVM of JDK 21 or later, which is where virtual threads are.
fn java_with_virtual_threads() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let programs = installed.map(|entry| entry.path().join("bin/java"));
    let found = programs.chain([PathBuf::from("java")]).find(|java| {
        let said = Command::new(java)
            .args(["--class-path", ".", "-XshowSettings:properties", "-version"])
            .output();
        let said =
            said.map(|it| String::from_utf8_lossy(&it.stderr).into_owned()).unwrap_or_default();
        let version =
            said.lines().find_map(|line| line.trim().strip_prefix("java.specification.version = "));
        version.is_some_and(|version| version.parse().unwrap_or(0) >= 21)
    });
    if found.is_none() {
        println!("NO JDK 21 IS INSTALLED: virtual threads were not tested");
    }
    found
}

#[test]
fn a_virtual_thread_that_waits_leaves_its_carrier_to_others() {
    let Some(folder) = folder() else { return };
    let Some(java) = java_with_virtual_threads() else { return };
    let said = run(Command::new(java)
        .args(["--enable-native-access=ALL-UNNAMED", "-Djdk.virtualThreadScheduler.parallelism=1"])
        .args(["-Djdk.virtualThreadScheduler.maxPoolSize=1", "-cp"])
        .arg(jar(folder, ""))
        .arg(program("Virtual.java"))
        .arg(tiny_dir("cls"))
        .env_remove("BGE_ORT_LIBRARY")
        .env_remove("LD_LIBRARY_PATH"));
    assert_eq!(said, "done\n");
}

#[test]
fn maven_alone_says_what_to_run_first() {
    if folder().is_none() {
        return;
    }
    let output = maven()
        .args(["-Dbge.native=/nowhere", "validate", "-f"])
        .arg(root().join("bindings/java"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(said.contains("/nowhere: run `make java-native`"), "{said}");
}

#[test]
fn another_project_can_depend_on_it_and_benchmarks_compile() {
    let Some(folder) = folder() else { return };
    let consumer = empty_folder("java-consumer");
    let sources = consumer.join("src/main/java");
    std::fs::create_dir_all(&sources).unwrap();
    std::fs::copy(root().join("examples/First.java"), sources.join("First.java")).unwrap();
    let dependency = std::fs::read_to_string(root().join("examples/dependency.xml")).unwrap();
    assert!(dependency.contains(&format!("<version>{VERSION}</version>")), "{dependency}");
    let project = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId>\
         <artifactId>consumer</artifactId><version>1</version><properties>\
         <maven.compiler.release>17</maven.compiler.release>\
         <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>\
         <dependencies>{dependency}</dependencies><build><plugins><plugin>\
         <artifactId>maven-compiler-plugin</artifactId><version>3.16.0</version>\
         </plugin></plugins></build></project>"
    );
    std::fs::write(consumer.join("pom.xml"), project).unwrap();
    run_maven(maven().arg("compiler:compile").current_dir(&consumer));
    assert!(consumer.join("target/classes/First.class").exists());
    run_maven(
        maven()
            .arg(format!("-Dbge.build={}", folder.join("bench").display()))
            .args(["package", "-f"])
            .arg(root().join("bindings/java/bench")),
    );
}
