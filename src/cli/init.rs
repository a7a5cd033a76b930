//! `paygate init`: three questions, a configuration, and what to do next.
//!
//! The admin key lies in a file of its own beside the configuration, so that the configuration can be
//! shown and shared; both can be read by their owner alone. Paths are written whole: Paygate started
//! from another directory must not open other books.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::output;
use crate::config::{self, Environment, InitFlags, WrapFlags};

const PORT_DEFAULT: u16 = 3402;
/// Read by its owner alone.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// What is guarded.
#[derive(Debug, PartialEq, Eq)]
enum Guarded {
    Demo,
    Command(String),
    Url(String),
}

/// All that the file says.
#[derive(Debug)]
struct Answers {
    guarded: Guarded,
    price: String,
    db: PathBuf,
}

/// The files that are written.
struct Files {
    config: PathBuf,
    admin_key: PathBuf,
    schema: PathBuf,
}

pub(super) fn run(flags: &InitFlags) -> Result<(), String> {
    let files = Files::of(&flags.config)?;
    files.check(flags.force)?;
    let stdin = io::stdin();
    let answers = if flags.yes || !stdin.is_terminal() {
        answers(flags, &files, |_, default| Ok(default.to_owned()))?
    } else {
        output::print(
            "Paygate guards an MCP server and sells its tools. Enter takes what is in brackets.",
        );
        answers(flags, &files, |question, default| ask(&mut stdin.lock(), question, default))?
    };
    let text = text(&answers, &files, flags.port.unwrap_or(PORT_DEFAULT))?;
    let new_key = if files.admin_key.exists() { None } else { Some(admin_key()?) };
    check(&text, &files, new_key.as_deref())?;
    if let Some(key) = &new_key {
        write(&files.admin_key, &format!("{key}\n"), SECRET)?;
    }
    write(&files.schema, &config::schema(), PUBLIC)?;
    write(&files.config, &text, SECRET)?;
    output::print(&next(&answers, &files, flags, new_key.is_some()));
    Ok(())
}

impl Files {
    fn of(config: &Path) -> Result<Self, String> {
        let whole = std::path::absolute(config)
            .map_err(|why| format!("{} is no path: {why}", config.display()))?;
        let name = whole.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let beside = |end: &str| whole.with_file_name(format!("{name}.{end}"));
        Ok(Self { admin_key: beside("admin-key"), schema: beside("schema.json"), config: whole })
    }

    fn check(&self, force: bool) -> Result<(), String> {
        let there = [&self.config, &self.admin_key, &self.schema].into_iter();
        match there.into_iter().find(|path| path.exists()) {
            Some(path) if !force => Err(format!(
                "{} is there already; give --force to write anew, or --config FILE for another file",
                path.display()
            )),
            _ => Ok(()),
        }
    }
}

/// What the flags do not say is asked: question and default.
fn answers(
    flags: &InitFlags,
    files: &Files,
    mut ask: impl FnMut(&str, &str) -> Result<String, String>,
) -> Result<Answers, String> {
    let guarded = match (&flags.server, &flags.remote_url) {
        (Some(line), _) => command(line).map_err(|why| format!("{why}; nothing was written"))?,
        (None, Some(url)) => Guarded::Url(url.expose_secret().to_owned()),
        (None, None) => loop {
            let demo = "the demo server of this program";
            let question =
                "Which server does it guard? A command that starts it, or the URL of one that runs";
            match guarded(&ask(question, demo)?, demo) {
                Ok(guarded) => break guarded,
                Err(why) => output::error(&why),
            }
        },
    };
    let price = match &flags.price {
        Some(price) => price.clone(),
        None => loop {
            let price = ask("How many credits does a call cost", "1")?;
            if price.parse::<u32>().is_ok() {
                break price;
            }
            output::error("A price is a whole number, 0 or more.");
        },
    };
    let beside = files.config.with_extension("db").display().to_string();
    let db = flags
        .db
        .clone()
        .map_or_else(|| ask("Where do the books lie", &beside).map(PathBuf::from), Ok)?;
    let db = std::path::absolute(&db).map_err(|why| format!("{}: {why}", db.display()))?;
    Ok(Answers { guarded, price, db })
}

fn guarded(answer: &str, demo: &str) -> Result<Guarded, String> {
    if answer == demo {
        return Ok(Guarded::Demo);
    }
    if answer.starts_with("http://") || answer.starts_with("https://") {
        return Ok(Guarded::Url(answer.to_owned()));
    }
    command(answer)
}

/// A command line that could be started here.
fn command(line: &str) -> Result<Guarded, String> {
    let words = shell_words::split(line).unwrap_or_default();
    let Some(program) = words.first() else {
        return Err(format!("{line:?} is neither a command line nor a URL"));
    };
    // What the file names in another place is found when Paygate starts.
    if program.contains("${") || is_there(program) {
        return Ok(Guarded::Command(line.to_owned()));
    }
    Err(format!(
        "There is no program {program} here, neither as a path nor in PATH, so Paygate could not start the server; \
         install it first, or name another"
    ))
}

/// Can a program be run: at its path, or from a folder of `PATH`?
fn is_there(program: &str) -> bool {
    let can_run = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return can_run(Path::new(program));
    }
    let variables = Environment::inherited();
    let folders = variables.iter().filter(|(name, _)| name == "PATH");
    let mut folders = folders.flat_map(|(_, folders)| std::env::split_paths(folders));
    folders.any(|folder| can_run(&folder.join(program)))
}

/// One question at the terminal.
fn ask(input: &mut impl BufRead, question: &str, default: &str) -> Result<String, String> {
    output::piece(format!("{question}? [{default}] ").as_bytes());
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(0) => Err("The answers ended; nothing was written".to_owned()),
        Ok(_) if line.trim().is_empty() => Ok(default.to_owned()),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(why) => Err(format!("The answer cannot be read: {why}")),
    }
}

/// The file, with a word on each part.
fn text(answers: &Answers, files: &Files, port: u16) -> Result<String, String> {
    let guarded = match &answers.guarded {
        Guarded::Demo => {
            let program = std::env::current_exe()
                .map_err(|why| format!("This program does not know where it lies: {why}"))?;
            let program = path(&program)?;
            format!("\"serverCommand\": {program},\n  \"serverArgs\": [\"demo-server\"],")
        }
        Guarded::Command(command) => format!("\"serverCommand\": {},", json!(command)),
        Guarded::Url(url) => format!("\"remoteUrl\": {},", json!(url)),
    };
    let schema = files.schema.file_name().unwrap_or_default().to_string_lossy();
    let price = match answers.price.parse::<i64>() {
        Ok(price) => json!(price),
        // The check of the whole says what is wrong with it.
        Err(_) => json!(answers.price),
    };
    Ok(format!(
        r#"// A configuration of Paygate: paygate wrap --config FILE
// All that may stand here is in docs/reference/config.md; `paygate validate --config FILE` checks it.
{{
  "$schema": {schema},

  // The server that is guarded. A secret that it needs is best named: "childEnv": {{"TOKEN": "${{file:PATH}}"}}
  {guarded}

  // Credits for a call; a tool with a price of its own: "search": {{ "creditsPerCall": 5 }}
  "defaultCreditsPerCall": {price},
  "toolPricing": {{}},

  // Where it listens; "0.0.0.0" is for all of the network.
  "host": "127.0.0.1",
  "port": {port},

  // The books, and the file with the key to the admin API.
  "db": {db},
  "adminKeyFile": {admin_key}
}}
"#,
        schema = Value::from(format!("./{schema}")),
        db = path(&answers.db)?,
        admin_key = path(&files.admin_key)?,
    ))
}

/// A path as a text of the file, in which `${` would begin a name.
fn path(path: &Path) -> Result<Value, String> {
    let text = path.to_str();
    let text = text.ok_or_else(|| format!("{} is not UTF-8; choose another", path.display()))?;
    Ok(Value::from(text.replace("${", "$${")))
}

/// Would Paygate start with it?
fn check(text: &str, files: &Files, new_key: Option<&str>) -> Result<(), String> {
    let flags = WrapFlags { config: Some(files.config.clone()), ..WrapFlags::default() };
    let read = |path: &Path| match new_key {
        _ if path == files.config => Ok(text.to_owned()),
        Some(key) if path == files.admin_key => Ok(key.to_owned()),
        _ => config::read_file(path),
    };
    match config::load(&flags, &Environment::read(), read) {
        Ok(_) => Ok(()),
        Err(report) => {
            Err(format!("Nothing was written, because Paygate would not start:\n{report}"))
        }
    }
}

fn admin_key() -> Result<String, String> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|why| format!("The system gives no random bytes: {why}"))?;
    Ok(hex::encode(bytes))
}

/// Makes the file anew, so that nobody else has it open or may read it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let fails = |why: io::Error| format!("{} cannot be written: {why}", path.display());
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(fails(why)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(fails)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fails)
}

/// What to do next, line by line.
fn next(answers: &Answers, files: &Files, flags: &InitFlags, is_key_new: bool) -> String {
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let (config, admin_key) = (quoted(&files.config), quoted(&files.admin_key));
    let kept = if is_key_new { "keep it to yourself" } else { "as it was" };
    let url = match flags.port {
        None | Some(PORT_DEFAULT) => String::new(),
        Some(port) => format!("  export PAYGATE_URL=http://127.0.0.1:{port}\n"),
    };
    let call = match answers.guarded {
        Guarded::Demo => "add --args '{\"a\": 2, \"b\": 3}'",
        Guarded::Command(_) | Guarded::Url(_) => "NAME --args '{}'",
    };
    format!(
        "\
{config} is the configuration, {admin_key} holds the admin key ({kept}).

Start it:
  paygate wrap --config {config}

Then, in another terminal, make a customer, and call a tool as that customer does:
  export PAYGATE_ADMIN_KEY_FILE={admin_key}
{url}  paygate keys create --name \"First customer\" --credits 100
  export PAYGATE_API_KEY=…   # the key that the answer shows, once
  paygate tools
  paygate tools call {call}

docs/operators-guide.md goes on from here."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_at_a_terminal() {
        let files = Files::of(Path::new("/x/paygate.json")).unwrap();
        assert_eq!(files.admin_key, Path::new("/x/paygate.admin-key"));
        let flags = |price: Option<&str>| InitFlags {
            server: None,
            remote_url: None,
            price: price.map(str::to_owned),
            db: None,
            port: None,
            config: "/x/paygate.json".into(),
            yes: false,
            force: false,
        };
        let said = |typed: &str, price: Option<&str>| {
            let mut typed = typed.as_bytes();
            answers(&flags(price), &files, |question, default| ask(&mut typed, question, default))
        };
        let all = said("\n\n\n", None).unwrap();
        let db = Path::new("/x/paygate.db");
        assert_eq!((all.guarded, all.price.as_str(), &*all.db), (Guarded::Demo, "1", db));
        // What makes no sense is asked again; what a flag says is not asked.
        let all = said("'\n https://mcp.example.com/mcp \n-1\n\n /y/b.db", None).unwrap();
        assert_eq!(all.guarded, Guarded::Url("https://mcp.example.com/mcp".to_owned()));
        assert_eq!((all.price.as_str(), &*all.db), ("1", Path::new("/y/b.db")));
        let all = said("no-such-program\nsh -c 'a b'\n\n", Some("7")).unwrap();
        assert_eq!(all.guarded, Guarded::Command("sh -c 'a b'".to_owned()));
        assert_eq!(all.price, "7");
        assert!(said("sh\n", None).unwrap_err().contains("nothing was written"));
    }
}
