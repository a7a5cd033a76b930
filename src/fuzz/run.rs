//! The corpus, and mutations of it from a fixed seed, thrown at every target.
//!
//! The number of inputs is fixed, so a run is the same everywhere; a slow machine stops early.
//! `FUZZ_SEED` and `FUZZ_SECONDS` run further. An input that breaks a rule is printed and written
//! to `target/fuzz`; keep it in the corpus once the fault is mended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use super::{TARGETS, Target};

/// Inputs of one run of one target: about 20 s of a test build on a slow machine.
const INPUTS: u64 = 400_000;
/// A run that is slower than that ends here.
const LONGEST: Duration = Duration::from_secs(20);
/// Bytes of an input. Faults of readers show in small ones.
const INPUT_BYTES_MAX: usize = 4096;

/// Pieces that no chance would find.
const WORDS: &[&str] = &[
    "\"jsonrpc\":\"2.0\"",
    "\"id\":1",
    "\"id\":null",
    "\"Id\":2",
    "\"method\":\"tools/call\"",
    "\"method\":\"tools/call_batch\"",
    "\"method\":\"notifications/progress\"",
    "\"params\":{",
    "\"params\":[",
    "\"name\":\"a\"",
    "\"Name\":\"b\"",
    "\"name\\u0000\":\"c\"",
    "\"arguments\":{}",
    "\"_meta\":{",
    "\"_META\":{",
    "\"progressToken\":1",
    "\"calls\":[",
    "\"result\":{",
    "\"error\":{\"code\":-1,\"message\":\"\"}",
    "\"isError\":true",
    "\"\\u0069d\":3",
    "\\ud800",
    "\\u0000",
    "\u{17f}",
    "\u{212a}",
    "1e400",
    "-0",
    "1.0",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "null",
    "true",
    "Accept: ",
    "Content-Type: ",
    "X-Forwarded-For: ",
    "application/json",
    "text/event-stream",
    "*/*",
    ";q=0",
    "10.0.0.1",
    "[::1]:80",
    "data: ",
    "event: ",
    "id: ",
    "retry: 5",
    ": keep-alive",
];

#[test]
fn client_messages_hold_their_rules() {
    run("client_message");
}

#[test]
fn server_messages_hold_their_rules() {
    run("server_message");
}

#[test]
fn lines_hold_their_rules() {
    run("line_framing");
}

#[test]
fn event_streams_hold_their_rules() {
    run("event_stream");
}

#[test]
fn headers_hold_their_rules() {
    run("headers");
}

#[test]
fn every_target_has_a_corpus_and_a_wrapper() {
    for (name, _) in TARGETS {
        assert!(!corpus(name).is_empty(), "fuzz/corpus/{name} is empty");
        let wrapper = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(wrapper.exists(), "{} is missing", wrapper.display());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every input that is kept for this target, in order of its name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("fuzz/corpus").join(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(name: &'static str) {
    let target = *TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let corpus = corpus(name);
    for input in &corpus {
        attempt(target, input);
    }
    let seed = variable("FUZZ_SEED").unwrap_or(1);
    let asked = variable("FUZZ_SECONDS").map(Duration::from_secs);
    println!("{name}: seed {seed}");
    let (until, inputs) =
        (Instant::now() + asked.unwrap_or(LONGEST), asked.map_or(INPUTS, |_| u64::MAX));
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for number in 0..inputs {
        if number % 256 == 0 && Instant::now() > until {
            println!("{name}: {number} inputs in the time there was");
            return;
        }
        attempt(target, &chance.mutation(&corpus));
    }
}

/// Runs one input; if a rule is broken, says which input broke it.
fn attempt((name, rule): Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| rule(input))) {
        let folder = root().join("target/fuzz");
        let path = folder.join(format!("{name}-failed"));
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
        println!("{name} fails with: {}", input.escape_ascii());
        println!("written to {}: {written:?}", path.display());
        std::panic::resume_unwind(panic);
    }
}

/// A small generator of numbers (xorshift), the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number under `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a size").max(1);
        usize::try_from(self.next() % end).expect("less than a size")
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An entry of the corpus, changed in a few places.
    fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(corpus).clone();
        for _ in 0..=self.below(5) {
            self.change(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(32) + 1);
        match self.below(7) {
            0 => drop(input.drain(at..end)),
            1 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            2 => {
                let byte = self.next().to_le_bytes()[0];
                input.insert(at, byte);
            }
            3 if at < input.len() => input[at] ^= 1 << self.below(8),
            4 => {
                let other = self.pick(corpus);
                let from = self.below(other.len() + 1);
                input.splice(at..end, other[from..].iter().copied());
            }
            5 if at < input.len() => input[at] = input[at].to_ascii_uppercase(),
            _ => {
                let word = *self.pick(WORDS);
                input.splice(at..end, word.bytes());
            }
        }
    }
}
