//! `paygate init`, and what a new operator does next, to a customer's first paid call.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use support::{Background, Setup, TempDir, scripted_child};

fn mode(dir: &TempDir, name: &str) -> u32 {
    fs::metadata(dir.file(name)).unwrap().permissions().mode() & 0o777
}

/// From nothing to a paid call, by the lines that init prints.
#[test]
fn from_init_to_a_customers_first_paid_call() {
    let setup = Setup::new();
    let dir = setup.dir();
    // Its stdin is no terminal, so nothing is asked.
    let said = setup.run(&["init", "--price", "4", "--port", "0"]).expect_success().stdout;
    for (name, expected) in
        [("paygate.json", 0o600), ("paygate.admin-key", 0o600), ("paygate.schema.json", 0o644)]
    {
        assert_eq!(mode(dir, name), expected, "{name}");
    }
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let wrap = *lines.iter().find(|line| line.starts_with("paygate wrap")).unwrap();
    let wrap = shell_words::split(wrap).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
    // Another directory: the paths are whole.
    command.args(&wrap[1..]).current_dir("/");
    let server = Background::start(command, "listening on ");
    let url = server.word("http://");
    let variable = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("export {name}="))).unwrap();
        shell_words::split(line).unwrap()[1].split_once('=').unwrap().1.to_owned()
    };
    let run = |line: &str, key: &str| {
        let words = shell_words::split(line).unwrap();
        let setup = setup.with_same_files().env("PAYGATE_URL", &url).env("PAYGATE_API_KEY", key);
        let setup = setup.env("PAYGATE_ADMIN_KEY_FILE", variable("PAYGATE_ADMIN_KEY_FILE"));
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        setup.run(&words).expect_success().stdout
    };
    let line = |begin: &str| *lines.iter().find(|line| line.starts_with(begin)).unwrap();
    let made = run(&format!("{} --json", line("paygate keys create")), "");
    let made: Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap();
    assert!(run("paygate tools", key).contains("add"));
    let paid = run(line("paygate tools call"), key);
    assert!(paid.starts_with("5\n\ncharged 4, 96 left"), "{paid}");
    assert!(dir.file("paygate.db").exists());
    // What it wrote is good, and the file with the schema is the one that it names.
    setup.run(&["validate", "--config", "paygate.json"]).expect_success();
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(dir.file("paygate.schema.json")).unwrap())
            .unwrap();
    assert!(schema["properties"]["toolPricing"].is_object());
}

#[test]
fn nothing_is_overwritten_unless_it_is_forced() {
    let setup = Setup::new();
    let dir = setup.dir();
    let child = scripted_child().display().to_string();
    let init = ["init", "--yes", "--server", &child, "--db", "books/b.db", "--config", "p.json"];
    setup.run(&init).expect_success();
    let (config, key) = (dir.file("p.json"), dir.file("p.admin-key"));
    let (before, key_before) =
        (fs::read_to_string(&config).unwrap(), fs::read_to_string(&key).unwrap());
    assert!(before.contains(&format!("\"serverCommand\": \"{child}\"")), "{before}");
    assert!(before.contains("/books/b.db\""), "{before}");
    assert!(!before.contains(key_before.trim()), "the key lies beside it");
    let again = setup.run(&init);
    assert!(again.code() == Some(1) && again.stderr.contains("--force"), "{again:#?}");
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    let forced = [
        "init",
        "-y",
        "--remote-url",
        "https://mcp.example.com/mcp",
        "--force",
        "--config",
        "p.json",
    ];
    assert!(setup.run(&forced).expect_success().stdout.contains("as it was"));
    let after = fs::read_to_string(&config).unwrap();
    assert!(after.contains("\"remoteUrl\": \"https://mcp.example.com/mcp\""), "{after}");
    assert_eq!(fs::read_to_string(&key).unwrap(), key_before);
    assert_eq!((mode(dir, "p.json"), mode(dir, "p.admin-key")), (0o600, 0o600));
}

#[test]
fn what_would_not_start_is_not_written() {
    let setup = Setup::new();
    for (args, words) in [
        (&["--price", "1.5"][..], &["Nothing was written", "defaultCreditsPerCall"][..]),
        (&["--server", "'"], &["nothing was written", "neither a command line"]),
        (
            &["--server", "no-such-program -x"],
            &["nothing was written", "no program no-such-program"],
        ),
        (&["--server", "./server.py"], &["nothing was written", "no program ./server.py"]),
        (&["--remote-url", "ftp://x"], &["Nothing was written", "remoteUrl"]),
        (&["--config", "/no/such/folder/p.json"], &["/no/such/folder", "cannot be written"]),
    ] {
        let args: Vec<&str> = ["init"].iter().chain(args).copied().collect();
        let ended = setup.run(&args);
        assert_eq!(ended.code(), Some(1), "{ended:#?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{word:?} is missing in {}", ended.stderr);
        }
        assert_eq!(fs::read_dir(setup.dir().path()).unwrap().count(), 0, "{args:?}");
    }
}
