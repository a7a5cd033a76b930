//! What may be done to a book, as proptest draws it.

use paygate::ledger::{Bound, CounterName, Demand, Refund, Window, names};
use paygate::model::bounds::COUNTER_MAX;
use paygate::model::ids::AccountId;
use paygate::model::time::Time;
use proptest::prelude::*;

/// Accounts 0 and 1 are keys, the last one is what a team would be.
pub(crate) const ACCOUNTS: usize = 3;
pub(crate) const TEAM: usize = 2;
const TOOLS: [&str; 2] = ["search", "read"];

/// Two windows that no sixtieth divides evenly, and one shorter than its buckets are many.
const ODD_WINDOWS: [i64; 3] = [100_000, 119, 45];

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Grant {
        account: usize,
        amount: i64,
    },
    Adjust {
        account: usize,
        amount: i64,
    },
    Hold(Shape),
    /// Captures what the bits name, or everything.
    Capture {
        pick: usize,
        paid: Option<u8>,
    },
    Release {
        pick: usize,
    },
    /// Gives back what a captured call kept.
    Refund {
        pick: usize,
    },
    /// Resolves what is resolved already.
    ResolveAgain {
        pick: usize,
    },
    /// Holds under a call id that is open already.
    HoldAgain {
        pick: usize,
        shape: Shape,
    },
    Expire,
    /// Saves accounts and holds and loads them into a new book.
    Restart,
    Jump(Jump),
}

/// A call or a batch, with the limits that hold at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) account: usize,
    with_team: bool,
    /// Tool and price.
    pub(crate) items: Vec<(usize, i64)>,
    /// Caps of the limited counters in order; 0 for none.
    caps: [i64; 12],
    pub(crate) lasts_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum Jump {
    By(i64),
    DayEdge(i64),
    MonthEdge(i64),
}

/// A demand, and how much of its amount each item stands for.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) demand: Demand,
    pub(crate) shares: Vec<i64>,
}

impl Line {
    /// What stays when only some items are paid for.
    pub(crate) fn kept(&self, paid: impl Fn(usize) -> bool) -> i64 {
        match self.demand.refund {
            Refund::Stays => self.demand.amount,
            Refund::Back => {
                self.shares.iter().enumerate().filter(|(item, _)| paid(*item)).map(|(_, s)| s).sum()
            }
        }
    }
}

pub(crate) fn account_id(account: usize) -> AccountId {
    AccountId::new(&format!("account-{account}"))
}

/// Every counter but the balance that any shape uses.
pub(crate) fn counters() -> Vec<(CounterName, Window)> {
    let mut all = vec![
        (names::RATE, Window::MINUTE),
        (names::SPENT, Window::Lifetime),
        (names::CALLS_DAY, Window::Day),
        (names::CALLS_MONTH, Window::Month),
        (names::CREDITS_DAY, Window::Day),
        (names::CREDITS_MONTH, Window::Month),
        (names::CALLS, Window::Lifetime),
    ];
    all.extend(TOOLS.map(|tool| (names::tool_rate(tool), Window::MINUTE)));
    all.extend(ODD_WINDOWS.map(odd));
    all
}

fn odd(length_ms: i64) -> (CounterName, Window) {
    (CounterName::new(&format!("limit:{length_ms}")), Window::Rolling(length_ms))
}

impl Shape {
    pub(crate) fn lines(&self) -> Vec<Line> {
        let ones: Vec<i64> = self.items.iter().map(|_| 1).collect();
        let prices: Vec<i64> = self.items.iter().map(|(_, price)| *price).collect();
        let costs: Vec<i64> = prices.iter().map(|price| -price).collect();
        let [rate, read, search, spent, day, month, day_credits, month_credits, odd_caps @ ..] =
            self.caps;
        let mut lines = vec![self.line((names::RATE, Window::MINUTE), &ones, rate, Refund::Stays)];
        for (index, (tool, _)) in self.items.iter().enumerate() {
            let only: Vec<i64> =
                (0..self.items.len()).map(|item| i64::from(item == index)).collect();
            let cap = [search, read].get(*tool).copied().unwrap_or(0);
            let name = TOOLS.get(*tool).map_or(names::RATE, |tool| names::tool_rate(tool));
            lines.push(self.line((name, Window::MINUTE), &only, cap, Refund::Stays));
        }
        if prices.iter().sum::<i64>() > 0 {
            let balance = (names::BALANCE, Window::Lifetime);
            let mut own = self.line(balance.clone(), &costs, 0, Refund::Back);
            own.demand.bound = Bound::AtLeast(0);
            lines.push(own.clone());
            if self.with_team {
                own.demand.account = account_id(TEAM);
                lines.push(own);
            }
        }
        lines.push(self.line((names::SPENT, Window::Lifetime), &prices, spent, Refund::Back));
        lines.push(self.line((names::CALLS_DAY, Window::Day), &ones, day, Refund::Back));
        lines.push(self.line((names::CALLS_MONTH, Window::Month), &ones, month, Refund::Back));
        let day = (names::CREDITS_DAY, Window::Day);
        lines.push(self.line(day, &prices, day_credits, Refund::Back));
        let month = (names::CREDITS_MONTH, Window::Month);
        lines.push(self.line(month, &prices, month_credits, Refund::Back));
        for (length_ms, cap) in ODD_WINDOWS.into_iter().zip(odd_caps) {
            // One that counts outcomes over a rolling window, two that count admissions.
            let refund = if length_ms > 1_000 { Refund::Back } else { Refund::Stays };
            lines.push(self.line(odd(length_ms), &ones, cap, refund));
        }
        lines.push(self.line((names::CALLS, Window::Lifetime), &ones, 0, Refund::Back));
        lines
    }

    fn line(
        &self,
        (counter, window): (CounterName, Window),
        shares: &[i64],
        cap: i64,
        refund: Refund,
    ) -> Line {
        let shares = shares.to_vec();
        let amount = shares.iter().sum();
        let bound = if cap > 0 { Bound::AtMost(cap) } else { Bound::Free };
        let account = account_id(self.account);
        Line { demand: Demand { account, counter, window, amount, bound, refund }, shares }
    }
}

impl Jump {
    pub(crate) fn from(&self, clock: Time) -> Time {
        match self {
            Self::By(ms) => Time::from_ms(clock.ms() + ms),
            Self::DayEdge(ms) => Time::from_ms(clock.next_day().ms() + ms),
            Self::MonthEdge(ms) => Time::from_ms(clock.next_month().ms() + ms),
        }
    }
}

pub(crate) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..70)
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let account = || 0..ACCOUNTS;
    let pick = || 0_usize..64;
    let amount = || {
        prop_oneof![
            8 => 0_i64..200,
            2 => (COUNTER_MAX - 20)..=COUNTER_MAX,
            1 => (COUNTER_MAX + 1)..=i64::MAX,
        ]
    };
    prop_oneof![
        4 => (account(), amount()).prop_map(|(account, amount)| Operation::Grant { account, amount }),
        1 => (account(), amount(), any::<bool>()).prop_map(|(account, amount, less)| {
            Operation::Adjust { account, amount: if less { -amount } else { amount } }
        }),
        12 => shape().prop_map(Operation::Hold),
        4 => (pick(), prop::option::weighted(0.6, any::<u8>()))
            .prop_map(|(pick, paid)| Operation::Capture { pick, paid }),
        3 => pick().prop_map(|pick| Operation::Release { pick }),
        2 => pick().prop_map(|pick| Operation::Refund { pick }),
        1 => pick().prop_map(|pick| Operation::ResolveAgain { pick }),
        1 => (pick(), shape()).prop_map(|(pick, shape)| Operation::HoldAgain { pick, shape }),
        1 => Just(Operation::Expire),
        1 => Just(Operation::Restart),
        8 => jump().prop_map(Operation::Jump),
    ]
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let price = prop_oneof![2 => Just(0_i64), 8 => 1_i64..30, 1 => Just(COUNTER_MAX)];
    let items = prop_oneof![
        2 => prop::collection::vec((0..TOOLS.len(), price.clone()), 1),
        1 => prop::collection::vec((0..TOOLS.len(), price), 2..6),
    ];
    let cap = prop_oneof![3 => Just(0_i64), 1 => 1_i64..12];
    let caps = proptest::array::uniform12(cap);
    let lasts_ms = prop_oneof![Just(0_i64), 1_i64..2_000, 60_000_i64..200_000_000];
    (0..TEAM, any::<bool>(), items, caps, lasts_ms).prop_map(
        |(account, with_team, items, caps, lasts_ms)| Shape {
            account,
            with_team,
            items,
            caps,
            lasts_ms,
        },
    )
}

fn jump() -> impl Strategy<Value = Jump> {
    prop_oneof![
        4 => (0_i64..50).prop_map(Jump::By),
        4 => (0_i64..3_000).prop_map(Jump::By),
        4 => (50_000_i64..70_000).prop_map(Jump::By),
        1 => (95_000_i64..105_000).prop_map(Jump::By),
        2 => (-100_000_i64..0).prop_map(Jump::By),
        1 => (0_i64..40_000_000).prop_map(Jump::By),
        2 => (-2_i64..2).prop_map(Jump::DayEdge),
        1 => (-2_i64..2).prop_map(Jump::MonthEdge),
    ]
}
