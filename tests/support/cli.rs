//! Commands of operators and customers against a running Paygate, and what they print.

use serde_json::Value;

use super::ADMIN_KEY;
use super::paygate::Paygate;
use super::process::Ended;

impl Paygate {
    /// Runs a command of an operator, with the environment that says where Paygate is.
    pub fn command(&self, args: &[&str]) -> Ended {
        self.command_with(args, &[("PAYGATE_ADMIN_KEY", ADMIN_KEY)])
    }

    /// The same with these variables alone.
    pub fn command_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        let setup = self.setup().with_same_files().env("PAYGATE_URL", self.base_url());
        let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value));
        setup.run(args)
    }

    /// What it prints for people.
    #[track_caller]
    pub fn said(&self, args: &[&str]) -> String {
        let ended = self.command(args);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{args:?} {ended:#?}");
        ended.stdout
    }

    /// What it prints for programs.
    #[track_caller]
    pub fn answered(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.said(&args)).unwrap()
    }
}

/// The cells of the line that begins with this word.
#[track_caller]
pub fn row(text: &str, first: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(first));
    let line = line.unwrap_or_else(|| panic!("no {first} in {text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}
