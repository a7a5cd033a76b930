//! One client: it works through random calls, batches and top-ups, and writes down what it sent and
//! what it was told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Request, Response, rpc_request};

/// The same numbers for the same seed, on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a client has asked for.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    TopUp {
        amount: i64,
        once: Option<String>,
    },
    /// Tools, and what they cost together if all is well.
    Calls {
        tools: Vec<&'static str>,
    },
}

impl Kind {
    /// How many calls it is.
    pub(crate) fn calls(&self) -> usize {
        match self {
            Self::TopUp { .. } => 0,
            Self::Calls { tools } => tools.len(),
        }
    }

    /// What it costs: a tool that fails is free.
    pub(crate) fn price(&self) -> i64 {
        let price = |tool: &&str| match *tool {
            "instant" => 2,
            "sleep" => 3,
            _ => 0,
        };
        match self {
            Self::TopUp { .. } => 0,
            Self::Calls { tools } => tools.iter().map(price).sum(),
        }
    }
}

/// One thing that a client asked for, and what it knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) key_index: usize,
    pub(crate) kind: Kind,
    pub(crate) is_answered: bool,
    /// `X-PayGate-Call-Id` of the answer.
    pub(crate) call_id: Option<String>,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl Deed {
    /// Credits that the client knows it was charged.
    pub(crate) fn charged(&self) -> i64 {
        if self.is_answered { self.kind.price() } else { 0 }
    }
}

/// How far all clients together are.
#[derive(Clone, Copy)]
pub(crate) struct Progress<'a> {
    pub(crate) answers: &'a AtomicUsize,
    pub(crate) stop: &'a AtomicBool,
}

pub(crate) struct Client {
    pub(crate) address: String,
    pub(crate) key_index: usize,
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) random: Random,
    pub(crate) deeds: Vec<Deed>,
}

impl Client {
    /// Works until the server is gone.
    pub(crate) fn work(&mut self, progress: Progress<'_>) {
        while !progress.stop.load(Ordering::Relaxed) {
            let kind = self.choose();
            let request = self.request(&kind);
            let began = Instant::now();
            let answer = request.send(&self.address);
            let call_id = answer.as_ref().ok().and_then(|answer| {
                expect_good(&kind, answer);
                answer.header("x-paygate-call-id").map(str::to_owned)
            });
            let is_answered = answer.is_ok();
            let (key_index, ended) = (self.key_index, Instant::now());
            self.deeds.push(Deed { key_index, kind, is_answered, call_id, began, ended });
            if !is_answered {
                return;
            }
            progress.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn choose(&mut self) -> Kind {
        let number = self.deeds.len();
        let tools = ["instant", "sleep", "fail"];
        match self.random.below(10) {
            0..2 => {
                // No two top-ups of a run are alike: each can be found in the journal.
                let amount = unique_amount();
                let once = self.random.below(2) == 0;
                let once = once.then(|| format!("{}-{number}", self.name));
                Kind::TopUp { amount, once }
            }
            2..4 => {
                let count = 2 + self.random.below(3);
                let tool = |_| tools[self.random.below(3) as usize];
                Kind::Calls { tools: (0..count).map(tool).collect() }
            }
            4 => Kind::Calls { tools: vec!["sleep"] },
            5 => Kind::Calls { tools: vec!["fail"] },
            _ => Kind::Calls { tools: vec!["instant"] },
        }
    }

    fn request(&mut self, kind: &Kind) -> Request {
        let Kind::Calls { tools } = kind else { return top_up(&self.id, kind) };
        // Some outlive the time that a hold may wait for its row, most do not.
        let ms = self.random.below(45);
        let arguments = json!({"nonce": self.name, "ms": ms});
        let call = |tool: &&str| json!({"name": tool, "arguments": arguments});
        match tools.as_slice() {
            [tool] => rpc_request(&self.key, "tools/call", &call(tool)),
            tools => {
                let calls: Vec<Value> = tools.iter().map(call).collect();
                rpc_request(&self.key, "tools/call_batch", &json!({"calls": calls}))
            }
        }
    }
}

fn unique_amount() -> i64 {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    1_000 + i64::try_from(COUNT.fetch_add(1, Ordering::Relaxed)).unwrap()
}

/// The request for a top-up.
pub(crate) fn top_up(id: &str, kind: &Kind) -> Request {
    let Kind::TopUp { amount, once } = kind else { panic!("not a top-up: {kind:?}") };
    let request = Request::new("POST", "/topup")
        .header("X-Admin-Key", ADMIN_KEY)
        .json(&json!({"key": id, "credits": amount}));
    match once {
        Some(once) => request.header("Idempotency-Key", once),
        None => request,
    }
}

/// An answer is the one that was asked for, and says the price that is expected.
fn expect_good(kind: &Kind, answer: &Response) {
    assert_eq!(answer.status, 200, "{kind:?}: {}", answer.text());
    let json = answer.json();
    match kind {
        Kind::TopUp { .. } => assert!(json["credits"].is_i64(), "{json}"),
        Kind::Calls { tools } if tools.len() > 1 => {
            assert_eq!(json["result"]["totalCreditsCharged"], kind.price(), "{json}");
        }
        Kind::Calls { .. } => assert!(json["result"].is_object(), "{json}"),
    }
}
