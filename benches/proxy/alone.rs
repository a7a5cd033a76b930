//! The scripts of a call sent to Redis by themselves, as Paygate was seen to send them: what is possible at
//! most with so many connections, one call to a script.

use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The scripts of one call as they were seen: words of two commands.
pub struct Scripts {
    hold: Vec<String>,
    end: Vec<String>,
    call: String,
}

impl Scripts {
    /// Looks on while one call is made.
    pub fn seen(port: u16, make_call: impl FnOnce()) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("Redis is there");
            let mut stream = BufReader::new(stream);
            stream.write_all(b"MONITOR\r\n").await.expect("it listens");
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("it says OK");
            make_call();
            let mut scripts: Vec<Vec<String>> = Vec::new();
            while scripts.len() < 2 {
                line.clear();
                let read =
                    tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line));
                read.await.expect("it tells of a call's scripts").expect("it goes on");
                let words = words(&line);
                // What a script itself does is told as well, by `lua`.
                if words.first().is_some_and(|word| word == "EVALSHA") && !line.contains(" lua] ") {
                    scripts.push(words);
                }
            }
            let (end, hold) = (scripts.pop().expect("two"), scripts.pop().expect("two"));
            let is_id = |word: &&String| {
                word.len() == 32 && end.iter().any(|other| other.contains(&format!("\"{word}\"")))
            };
            let call = hold.iter().find(is_id).expect("both name the call").clone();
            Self { hold, end, call }
        })
    }

    /// Calls a second: each connection holds and ends one call after the other.
    pub fn run(&self, port: u16, connections: usize, duration: Duration) -> f64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            let end = Instant::now() + duration;
            let mut all = JoinSet::new();
            for number in 0..connections {
                let (hold, resolve) = (Self::bytes(&self.hold), Self::bytes(&self.end));
                all.spawn(one_after_the_other(
                    port,
                    number,
                    (hold, resolve),
                    self.call.clone(),
                    end,
                ));
            }
            let count: u64 = all.join_all().await.into_iter().sum();
            count as f64 / duration.as_secs_f64()
        })
    }

    /// A command as Redis reads it, from whoever has seen nothing of the journal and waits for ever.
    fn bytes(words: &[String]) -> Vec<u8> {
        let keys: usize = words[2].parse().expect("a number of keys");
        let mut text = format!("*{}\r\n", words.len());
        for (index, word) in words.iter().enumerate() {
            let is_moment = word.len() == 13 && word.bytes().all(|byte| byte.is_ascii_digit());
            let word = match index {
                _ if index == keys + 5 => "0 ",
                _ if is_moment => "0",
                _ => word,
            };
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        text.into_bytes()
    }
}

async fn one_after_the_other(
    port: u16,
    number: usize,
    scripts: (Vec<u8>, Vec<u8>),
    call: String,
    end: Instant,
) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("Redis is there");
    stream.set_nodelay(true).expect("nodelay can be set");
    let (mut hold, mut resolve) = scripts;
    let place = |bytes: &[u8]| memmem::find(bytes, call.as_bytes()).expect("the call's id");
    let (in_hold, in_resolve) = (place(&hold), place(&resolve));
    let mut answer = vec![0; 16 * 1024];
    let mut count = 0;
    while Instant::now() < end {
        let id = format!("{number:016x}{count:016x}");
        hold[in_hold..in_hold + 32].copy_from_slice(id.as_bytes());
        resolve[in_resolve..in_resolve + 32].copy_from_slice(id.as_bytes());
        for (command, said) in [(&hold, &b"held"[..]), (&resolve, b"done\n")] {
            stream.write_all(command).await.expect("it can be sent");
            let mut filled = 0;
            while lines_of(&answer[..filled]) != Some(filled) {
                let read = stream.read(&mut answer[filled..]).await.expect("an answer");
                assert!(read > 0, "Redis hangs up");
                filled += read;
            }
            let is_right = memmem::find(&answer[..filled], said).is_some();
            assert!(is_right, "{}", String::from_utf8_lossy(&answer[..filled]));
        }
        count += 1;
    }
    count
}

/// Where one whole answer ends, if it is there.
fn lines_of(bytes: &[u8]) -> Option<usize> {
    let end = memmem::find(bytes, b"\r\n")?;
    let number = || str::from_utf8(&bytes[1..end]).ok()?.parse::<usize>().ok();
    let mut at = end + 2;
    match bytes[0] {
        b'*' => {
            for _ in 0..number()? {
                at += lines_of(&bytes[at..])?;
            }
        }
        b'$' => at += number()? + 2,
        _ => {}
    }
    (at <= bytes.len()).then_some(at)
}

/// The words of a command as `MONITOR` tells them: in quotes, with escapes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.chars());
    while rest.by_ref().any(|letter| letter == '"') {
        let mut word = String::new();
        while let Some(letter) = rest.next().filter(|letter| *letter != '"') {
            word.push(match letter {
                '\\' => match rest.next() {
                    Some('n') => '\n',
                    Some(other) => other,
                    None => break,
                },
                plain => plain,
            });
        }
        words.push(word);
    }
    words
}
