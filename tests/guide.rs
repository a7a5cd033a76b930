//! The operator's guide, typed line by line: what it tells to do can be done, in its order, and says
//! what the guide says that it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Background, TempDir, blocks, commands};

const GUIDE: &str = include_str!("../docs/operators-guide.md");

/// A terminal: its variables, and the last of each kind of name that was seen on it.
struct Terminal {
    dir: TempDir,
    variables: BTreeMap<String, String>,
    seen: BTreeMap<&'static str, String>,
    server: Option<Background>,
    said: Vec<(String, String)>,
}

/// What `…` stands for, by what is before it.
const NAMES: [&str; 5] = ["pga_", "pg_", "key_", "team_", "call_"];

impl Terminal {
    fn open() -> Self {
        let (variables, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { dir: TempDir::new(), variables, seen, server: None, said: Vec::new() }
    }

    /// Types one line.
    fn type_in(&mut self, line: &str) {
        let line = self.filled_in(line);
        if line.starts_with("paygate wrap") {
            return self.start(&line);
        }
        let words = shell_words::split(&line).unwrap();
        match words.as_slice() {
            [export, assignment] if export == "export" => self.assign(assignment),
            [assignment] if assignment.contains('=') => self.assign(assignment),
            _ => self.run(&line),
        }
    }

    fn assign(&mut self, assignment: &str) {
        let (name, value) = assignment.split_once('=').unwrap();
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// With the last name of its kind in the place of one that is left out.
    fn filled_in(&self, line: &str) -> String {
        NAMES.iter().fold(line.to_owned(), |line, name| match self.seen.get(name) {
            Some(seen) => line.replace(&format!("{name}…"), seen),
            None => line,
        })
    }

    fn shell(&self, line: &str) -> Command {
        let ours = Path::new(env!("CARGO_BIN_EXE_paygate")).parent().unwrap();
        let path = env::join_paths(
            std::iter::once(ours.to_owned()).chain(env::split_paths(&env::var_os("PATH").unwrap())),
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(self.dir.path()).env("PATH", path.unwrap());
        command.envs(&self.variables);
        command
    }

    fn start(&mut self, line: &str) {
        // The port of the guide may be taken by another test.
        let server = self.shell(&format!("exec {line} --port 0"));
        let server = Background::start(server, "listening on ");
        let url = server.word("http://").trim_end_matches("/mcp").to_owned();
        self.variables.insert("PAYGATE_URL".to_owned(), url);
        self.server = Some(server);
    }

    fn run(&mut self, line: &str) {
        let output = self.shell(line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:#?}");
        assert!(output.stderr.is_empty(), "{line}: {output:#?}");
        let said = String::from_utf8(output.stdout).unwrap();
        for word in said.split(|sign: char| !(sign.is_alphanumeric() || sign == '_')) {
            if let Some(name) = NAMES.iter().find(|name| word.starts_with(**name)) {
                self.seen.insert(name, word.to_owned());
            }
        }
        self.said.push((line.to_owned(), said));
    }

    /// Puts a member of the configuration in the place of the one that is there.
    fn edit(&self, member: &str) {
        let path = self.dir.file("paygate.json");
        let config = fs::read_to_string(&path).unwrap();
        let name = member.split_once(':').unwrap().0;
        let line = config.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        fs::write(&path, config.replace(line, member)).unwrap();
    }

    /// What the commands that begin so have printed, in their order.
    fn printed(&self, begin: &str) -> Vec<&str> {
        let all = self.said.iter().filter(|(line, _)| line.starts_with(begin));
        all.map(|(_, said)| said.as_str()).collect()
    }

    /// The text of a file that a command has made.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.file(name)).unwrap()
    }
}

#[test]
fn every_line_of_the_guide_can_be_typed() {
    let mut terminal = Terminal::open();
    let mut typed = 0;
    for (language, block) in blocks(GUIDE) {
        match language {
            "json" => terminal.edit(block.trim()),
            "sh" => {
                for line in commands(block) {
                    terminal.type_in(&line);
                    typed += 1;
                }
            }
            other => panic!("what is a block of {other}?"),
        }
    }
    assert!(typed > 40, "{typed}");
    let call = terminal.printed("paygate tools call");
    assert!(call[0].starts_with("5\n\ncharged 2, 98 left (call_"), "{call:?}");
    let tools = terminal.said.iter().filter(|(line, _)| line == "paygate tools");
    let tools: Vec<&str> = tools.map(|(_, said)| said.as_str()).collect();
    let price = |listed: &str| support::row(listed, "add")[1].clone();
    assert_eq!((price(tools[0]), price(tools.last().unwrap())), ("2".to_owned(), "5".to_owned()));
    // The tenant's admin sees one key of two.
    let theirs = terminal.printed("PAYGATE_ADMIN_KEY=pga_");
    assert!(theirs[0].contains("Acme's agent") && !theirs[0].contains("Ada"), "{theirs:?}");
    let explained = terminal.printed("paygate explain");
    assert!(explained[0].contains(": 2 credits charged\n"), "{explained:?}");
    assert!(explained[1].contains("because: the answer was wrong, ticket 12"), "{explained:?}");
    // 100 − 2 + 500 + 2 − 20.
    assert_eq!(support::row(terminal.printed("paygate keys adjust")[0], "credits")[1], "580");
    let alerts = terminal.printed("paygate alerts list");
    assert!(alerts[0].contains("credits_low") && alerts[0].contains("Ada"), "{alerts:?}");
    let (usage, audit) = (terminal.file("usage.csv"), terminal.file("audit.csv"));
    assert!(usage.contains(",add,2,") && usage.contains(",add,-2,"), "{usage}");
    assert!(audit.contains("credits.adjusted") || audit.contains("adjust"), "{audit}");
    assert!(terminal.dir.file("restored.db").exists());
}

/// The other documents name no command that does not exist.
#[test]
fn what_other_documents_show_is_understood() {
    for document in [include_str!("../docs/command-line.md")] {
        let shell = blocks(document).into_iter().filter(|(language, _)| *language == "sh");
        let lines: Vec<String> = shell.flat_map(|(_, block)| commands(block)).collect();
        assert!(lines.len() > 10, "{lines:?}");
        for line in lines.iter().filter(|line| line.starts_with("paygate ")) {
            let words = shell_words::split(line).unwrap();
            let words = words.iter().take_while(|word| *word != ">");
            paygate::config::parse(words).unwrap_or_else(|why| panic!("{line}: {why:?}"));
        }
    }
}
