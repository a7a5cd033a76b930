//! Where things are: the target directory, the scripted child, and directories that vanish.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The target directory of this build.
pub fn target_dir() -> PathBuf {
    // target/<profile>/paygate
    let binary = Path::new(env!("CARGO_BIN_EXE_paygate"));
    binary.ancestors().nth(2).expect("the binary lies in target/<profile>").to_owned()
}

/// The scripted child of the same profile as this test. `cargo test` builds it with all other
/// examples; after `cargo test --test NAME` alone it may be missing and is built here.
pub fn scripted_child() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let binary = Path::new(env!("CARGO_BIN_EXE_paygate"));
        let child = binary.with_file_name("examples").join("scripted-child");
        if !child.exists() {
            build_scripted_child(binary);
        }
        assert!(child.exists(), "{} is missing after its build", child.display());
        child
    })
    .clone()
}

fn build_scripted_child(binary: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--example", "scripted-child"]);
    if binary.parent().is_some_and(|directory| directory.ends_with("release")) {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "cargo build --example scripted-child failed");
}

/// A directory of its own, removed when this is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        Self::within(&env::temp_dir())
    }

    /// A fresh directory inside `parent`, for files that must be on a certain disk.
    pub fn within(parent: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("paygate-{}-{count}", process::id()));
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory and harms nobody.
        fs::remove_dir_all(&self.0).ok();
    }
}
