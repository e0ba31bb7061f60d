//! Compiling and running C and C++ against the library that cargo built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// A language and its standard.
#[derive(Clone, Copy)]
pub(crate) enum Lang<'a> {
    C(&'a str),
    Cpp(&'a str),
}

/// What a program is linked with.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Link {
    /// Only compiled.
    Object,
    /// Nothing of ours.
    Alone,
    Static,
    Shared,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder below cargo's folder for tests.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_abi").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where cargo put `libpalisade.so` and `libpalisade.a`: beside this test.
pub(crate) fn library_folder() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    for name in ["libpalisade.so", "libpalisade.a"] {
        assert!(folder.join(name).is_file(), "{} is not in {}", name, folder.display());
    }
    folder
}

/// A folder with the shared library alone, under its link name and its run-time name.
fn shared_folder() -> PathBuf {
    static LINKED: Mutex<bool> = Mutex::new(false);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_abi-lib");
    let mut linked = LINKED.lock().unwrap();
    if !*linked {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for name in ["libpalisade.so", "libpalisade.so.1"] {
            std::os::unix::fs::symlink(library_folder().join("libpalisade.so"), folder.join(name)).unwrap();
        }
        *linked = true;
    }
    folder
}

fn compiler(lang: Lang<'_>) -> (Command, String) {
    let (variable, usual, standard) = match lang {
        Lang::C(standard) => ("CC", "cc", standard),
        Lang::Cpp(standard) => ("CXX", "c++", standard),
    };
    (Command::new(std::env::var(variable).unwrap_or_else(|_| usual.to_owned())), format!("-std={standard}"))
}

/// Compiles with every warning an error; panics with what the compiler said.
pub(crate) fn compile(lang: Lang<'_>, sources: &[&Path], link: Link, program: &Path, flags: &[&str]) {
    let (mut command, standard) = compiler(lang);
    command.arg(standard).args(STRICT).arg("-O1").arg("-g");
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("bindings/cpp"));
    command.args(sources).arg("-o").arg(program);
    match link {
        Link::Object => drop(command.arg("-c")),
        Link::Alone => {}
        Link::Static => {
            command.arg(library_folder().join("libpalisade.a"));
            command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]);
        }
        Link::Shared => {
            let folder = shared_folder();
            command.arg("-L").arg(&folder).arg("-lpalisade").arg(format!("-Wl,-rpath,{}", folder.display()));
        }
    }
    let output = command.args(flags).output().expect("these tests need a C and a C++ compiler");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a small program compiles and links with `flags`.
pub(crate) fn compiles(source: &Path, program: &Path, flags: &[&str]) -> bool {
    let (mut command, standard) = compiler(Lang::C("c11"));
    command.arg(standard).arg(source).arg("-o").arg(program).args(flags);
    command.output().is_ok_and(|output| output.status.success())
}

/// Makes a program once for all tests of this process.
pub(crate) fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c_abi-{name}"));
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !made.iter().any(|one| one == name) {
        make(&program);
        made.push(name.to_owned());
    }
    program
}

/// Runs a program and waits for its end, but not longer than `limit`: then it is killed.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let reader = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let out = reader(child.stdout.take().map(|p| Box::new(p) as _));
    let err = reader(child.stderr.take().map(|p| Box::new(p) as _));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end\n{}", String::from_utf8_lossy(&err.join().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}
