//! What is shipped beside the binary: the files that a package must hold, and the promises of the
//! Dockerfile, read by a small parser because no container engine runs in the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

use std::fs;
use std::path::Path;

/// Every file that an operator or a contributor is promised.
const PROMISED: &[&str] = &[
    ".ci/run",
    ".dockerignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "docs/ARCHITECTURE.md",
    "docs/STYLE.md",
    "docs/performance.md",
    "paygate.example.json",
    "scripts/test",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One instruction of a Dockerfile, its continued lines joined.
#[derive(Debug, PartialEq)]
struct Instruction {
    keyword: String,
    rest: String,
}

impl Instruction {
    /// The words of the JSON form, `["paygate", "health"]`; empty in the shell form.
    fn exec_form(&self) -> Vec<String> {
        let start = self.rest.find('[').unwrap_or(self.rest.len());
        serde_json::from_str(&self.rest[start..]).unwrap_or_default()
    }
}

/// The instructions in order, without comments.
fn instructions(dockerfile: &str) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut joined = String::new();
    let lines = dockerfile.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(continued) = line.strip_suffix('\\') {
            joined.push_str(continued.trim());
            joined.push(' ');
            continue;
        }
        joined.push_str(line);
        let (keyword, rest) = joined.split_once(' ').expect("an instruction has arguments");
        found.push(Instruction { keyword: keyword.to_uppercase(), rest: rest.trim().to_owned() });
        joined.clear();
    }
    assert!(joined.is_empty(), "the last line continues into nothing");
    found
}

/// The stages, each beginning with its FROM.
fn stages(dockerfile: &str) -> Vec<Vec<Instruction>> {
    let mut stages: Vec<Vec<Instruction>> = Vec::new();
    for instruction in instructions(dockerfile) {
        if instruction.keyword == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("FROM comes first").push(instruction);
    }
    stages
}

fn only<'a>(stage: &'a [Instruction], keyword: &str) -> &'a Instruction {
    let found: Vec<_> = stage.iter().filter(|one| one.keyword == keyword).collect();
    assert_eq!(found.len(), 1, "one {keyword} in the last stage: {found:?}");
    found[0]
}

#[test]
fn the_parser_joins_lines_and_drops_comments() {
    let parsed =
        instructions("# a\nFROM x AS y\nrun a \\\n  # in between\n  && b\nCMD [\"c\", \"d\"]\n");
    let parsed: Vec<_> = parsed.iter().map(|i| (i.keyword.as_str(), i.rest.as_str())).collect();
    assert_eq!(parsed, [("FROM", "x AS y"), ("RUN", "a && b"), ("CMD", "[\"c\", \"d\"]")]);
    assert_eq!(instructions("CMD [\"c\", \"d\"]")[0].exec_form(), ["c", "d"]);
    assert!(instructions("CMD c d")[0].exec_form().is_empty());
}

#[test]
fn the_image_holds_what_was_built_and_not_the_tools_that_built_it() {
    let stages = stages(&read("Dockerfile"));
    assert_eq!(stages.len(), 2, "a stage that builds and a stage that runs");
    let is_built = |i: &Instruction| i.keyword == "RUN" && i.rest.contains("cargo build");
    let build = stages[0].iter().find(|i| is_built(i)).expect("the first stage builds");
    for flag in ["--release", "--locked"] {
        assert!(build.rest.contains(flag), "{flag} is missing: {}", build.rest);
    }
    assert!(!stages[1].iter().any(is_built), "the second stage only runs");
    let copies = stages[1].iter().any(|i| {
        i.keyword == "COPY" && i.rest.contains("--from=builder") && i.rest.ends_with("/bin/paygate")
    });
    assert!(copies, "the second stage takes the binary from the first");
}

#[test]
fn base_images_have_a_version_and_one_c_library() {
    let stages = stages(&read("Dockerfile"));
    for stage in &stages {
        let image = stage[0].rest.split(' ').next().expect("an image");
        let (_, tag) = image.split_once(':').unwrap_or((image, "latest"));
        assert!(tag != "latest" && tag.contains("bookworm"), "{image}: both are Debian bookworm");
    }
    let rust = &stages[0][0].rest;
    let manifest = read("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let wanted = wanted.expect("rust-version is set").trim_matches('"');
    assert!(rust.starts_with(&format!("rust:{wanted}")), "{rust} builds for Rust {wanted}");
}

#[test]
fn the_container_runs_without_rights_and_tells_its_health() {
    let stages = stages(&read("Dockerfile"));
    let last = stages.last().expect("a stage");
    let user = only(last, "USER").rest.split(':').next().expect("a user").to_owned();
    assert!(user != "root" && user != "0", "runs as {user}");
    let numeric = user.parse::<u32>();
    assert!(numeric.is_ok(), "{user}: an orchestrator can only check a number");

    assert_eq!(only(last, "HEALTHCHECK").exec_form(), ["paygate", "health"]);
    assert_eq!(only(last, "ENTRYPOINT").exec_form(), ["paygate"]);
    assert_eq!(only(last, "EXPOSE").rest, "3402");

    let volume = &only(last, "VOLUME").rest;
    let command = only(last, "CMD").exec_form();
    let option = |name: &str| {
        let at = command.iter().position(|word| word == name)?;
        command.get(at + 1).cloned()
    };
    assert!(option("--db").is_some_and(|path| path.starts_with(volume)), "{command:?}");
    assert_eq!(option("--host").as_deref(), Some("0.0.0.0"), "reachable from outside");
    // Each start of a demo makes a key with credits, and these books outlive a start.
    assert!(!command.contains(&"--demo".to_owned()), "{command:?}");
    assert_eq!(option("--config").as_deref(), Some("/etc/paygate/paygate.json"));

    let position = |keyword: &str| last.iter().position(|one| one.keyword == keyword);
    let owner_is_made = last.iter().position(|i| i.rest.contains("useradd"));
    assert!(owner_is_made < position("USER") && position("USER") < position("ENTRYPOINT"));
}

#[test]
fn the_builder_gets_what_cargo_needs_and_nothing_else() {
    let ignore = read(".dockerignore");
    let lines: Vec<&str> = ignore.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "everything is left out unless it is named");
    let dockerfile = instructions(&read("Dockerfile"));
    let from_outside =
        dockerfile.iter().filter(|i| i.keyword == "COPY" && !i.rest.contains("--from"));
    for copy in from_outside {
        let words: Vec<&str> = copy.rest.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            let source = source.trim_start_matches("./");
            let is_sent = lines.contains(&format!("!{source}").as_str());
            assert!(is_sent, "{source} is copied but left out by .dockerignore");
        }
    }
}

#[test]
fn every_promised_file_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = PROMISED.iter().filter(|path| !root.join(path).is_file()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn the_licence_is_the_one_that_the_manifest_names() {
    let licence = read("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("Version 2.0, January 2004"));
    assert!(read("Cargo.toml").contains("license = \"Apache-2.0\""));
    assert!(read("tests/tools/package.json").contains("\"license\": \"Apache-2.0\""));
}

#[cfg(unix)]
#[test]
fn scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt;

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in ["scripts/test", ".ci/run"] {
        let mode = fs::metadata(root.join(script)).expect("it is there").permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script}: chmod +x {script}");
    }
}

#[test]
fn test_tools_have_exact_versions() {
    let requirements = read("tests/tools/requirements.txt");
    for line in requirements.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains("=="), "requirements.txt: {line}: NAME==VERSION");
    }
    let package: serde_json::Value =
        serde_json::from_str(&read("tests/tools/package.json")).expect("JSON");
    for (name, version) in package["dependencies"].as_object().expect("dependencies") {
        let version = version.as_str().expect("a version");
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name}: {version}");
    }
}
