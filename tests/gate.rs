//! The gate's rules as tables: order of checks, exact reasons, prices, retry times, and what a
//! charge keeps or leaves. Demands run against the real book.
#![allow(clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "support_model/world.rs"]
mod world;

use paygate::gate::{CallFacts, Policy, ToolPolicy, admit, admit_free, admit_method};
use paygate::ledger::{ResolutionKind, names};
use paygate::model::bounds::COUNTER_MAX;
use paygate::model::ids::CallId;
use paygate::model::key::IpAllowlist;
use paygate::model::time::Time;

use world::{World, quota, tools};

/// A batch of search, read, read, search at 10 each that everything speaks against.
fn hopeless() -> World {
    World::with(|world| {
        world.credential_shown = false;
        world.key_found = false;
        world.key.expires_at = Some(world.now);
        world.key.active = false;
        world.key.suspended = true;
        world.namespace.suspended = true;
        world.key.ip_allowlist = IpAllowlist::parse(["10.0.0.0/8"].into_iter()).expect("a list");
        world.namespace.allowed_tools = tools(&["search"]);
        world.namespace.denied_tools = tools(&["search"]);
        world.key.allowed_tools = tools(&["read"]);
        world.key.denied_tools = tools(&["search"]);
        world.policy.key_rate = 3;
        world.tool("search", None, 1, 0);
        world.tool("read", None, 1, 0);
        world.credit(-1_003);
        world.key.spending_limit = 39;
        world.key.quota = Some(quota([3, 3, 39, 39]));
        world.team(39, [3, 3, 39, 39]);
    })
}

type Change = fn(&mut World);

/// The reasons that speak against it in order, the item each is about, and what takes each away.
const IN_ORDER: &[(&str, usize, Change)] = &[
    ("missing_api_key", 0, |world| world.credential_shown = true),
    ("invalid_api_key", 0, |world| world.key_found = true),
    ("api_key_expired", 0, |world| world.key.expires_at = Some(world.now.next_day())),
    ("invalid_api_key", 0, |world| world.key.active = true),
    ("api_key_suspended", 0, |world| world.key.suspended = false),
    ("namespace_suspended", 0, |world| world.namespace.suspended = false),
    ("ip_not_allowed: 192.0.2.9 not in allowlist", 0, |world| {
        world.address = "10.1.2.3".parse().expect("an address");
    }),
    // The namespace's lists, allowed before denied, and all items before the key's lists.
    ("tool_denied: search is in deniedTools", 0, |world| {
        world.namespace.denied_tools = tools(&[]);
    }),
    ("tool_not_allowed: read not in allowedTools", 1, |world| {
        world.namespace.allowed_tools = tools(&[]);
    }),
    ("tool_not_allowed: search not in allowedTools", 0, |world| {
        world.key.allowed_tools = tools(&[]);
    }),
    ("tool_denied: search is in deniedTools", 0, |world| world.key.denied_tools = tools(&[])),
    ("rate_limited: 3 calls/min exceeded", 0, |world| world.policy.key_rate = 4),
    // The second read comes before the second search.
    ("tool_rate_limited: read limited to 1 calls/min", 2, |world| {
        world.tool("read", None, 2, 0);
    }),
    ("tool_rate_limited: search limited to 1 calls/min", 3, |world| {
        world.tool("search", None, 2, 0);
    }),
    ("insufficient_credits: need 40, have -3", 0, |world| world.credit(42)),
    ("insufficient_credits: need 40, have 39", 0, |world| world.credit(1)),
    ("spending_limit_exceeded: limit 39, spent 0, need 40", 0, |world| {
        world.key.spending_limit = 40;
    }),
    ("daily_call_quota_exceeded: 0+4 would exceed 3 calls/day", 0, |world| {
        world.key.quota = Some(quota([4, 3, 39, 39]));
    }),
    ("monthly_call_quota_exceeded: 0+4 would exceed 3 calls/month", 0, |world| {
        world.key.quota = Some(quota([4, 4, 39, 39]));
    }),
    ("daily_credit_quota_exceeded: 0+40 would exceed 39 credits/day", 0, |world| {
        world.key.quota = Some(quota([4, 4, 40, 39]));
    }),
    ("monthly_credit_quota_exceeded: 0+40 would exceed 39 credits/month", 0, |world| {
        world.key.quota = Some(quota([4, 4, 40, 40]));
    }),
    ("team_budget_exceeded", 0, |world| world.team(40, [3, 3, 39, 39])),
    ("team_daily_call_limit", 0, |world| world.team(40, [4, 3, 39, 39])),
    ("team_monthly_call_limit", 0, |world| world.team(40, [4, 4, 39, 39])),
    ("team_daily_credit_limit", 0, |world| world.team(40, [4, 4, 40, 39])),
    ("team_monthly_credit_limit", 0, |world| world.team(40, [4, 4, 40, 40])),
];

#[test]
fn the_first_check_in_order_refuses() {
    let (mut world, mut shown) = (hopeless(), false);
    for (reason, failed_index, mend) in IN_ORDER {
        let denied = world.batch(&["search", "read", "read", "search"]).expect_err(reason);
        assert_eq!(denied.denial.to_string(), *reason);
        assert_eq!(denied.failed_index, *failed_index, "{reason}");
        assert_eq!(denied.credits_required, 40, "{reason}");
        // Lists and everything after them are for holders of a good key at a good address.
        shown |= reason.starts_with("tool_");
        assert_eq!(denied.denial.may_show_balance(), shown, "{reason}");
        mend(&mut world);
    }
    let charge = world.batch(&["search", "read", "read", "search"]).expect("nothing is left");
    assert_eq!((charge.total, charge.key_revision, charge.namespace_revision), (40, 3, 5));
    assert_eq!(world.numbers(), [0, 40, 4, 4, 4, 40, 40]);
    let team = world.team.as_ref().expect("it is in one");
    assert_eq!(charge.team, Some((team.id.clone(), 8)));
    let team = world.book.account(&team.id.account()).expect("loaded");
    let counters = [names::SPENT, names::CALLS, names::CALLS_DAY, names::CREDITS_MONTH];
    assert_eq!(counters.map(|counter| team.value(&counter, world.now)), [40, 4, 4, 40]);
    assert_eq!((team.available(), team.held()), (0, 0), "a team has no credits of its own");
}

#[test]
fn the_allowed_list_is_read_before_the_denied_list_item_by_item() {
    let mut world = World::with(|world| {
        world.key.allowed_tools = tools(&["a", "b"]);
        world.key.denied_tools = tools(&["b", "c"]);
    });
    for (calls, reason, index) in [
        (["a", "c"], "tool_not_allowed: c not in allowedTools", 1),
        (["b", "c"], "tool_denied: b is in deniedTools", 0),
        (["c", "b"], "tool_not_allowed: c not in allowedTools", 0),
        (["A", "a"], "tool_not_allowed: A not in allowedTools", 0),
    ] {
        let denied = world.batch(&calls).expect_err(reason);
        assert_eq!((denied.denial.to_string().as_str(), denied.failed_index), (reason, index));
    }
}

#[test]
fn other_methods_pass_the_same_checks_and_use_nothing_up() {
    let mut world = World::with(|world| {
        world.policy.key_rate = 1;
        world.key.allowed_tools = tools(&["other"]);
    });
    assert_eq!(admit_free(&world.request(&[], false)), Ok(()));
    world.namespace.suspended = true;
    let denied = admit_free(&world.request(&[], false)).expect_err("suspended");
    assert_eq!(denied.denial.to_string(), "namespace_suspended");
    assert_eq!((denied.credits_required, denied.opens_at), (0, None));
}

/// A single call after some that were admitted: the reason word by word, and when to come back.
#[test]
fn reasons_and_retry_times_of_single_calls() {
    let minute = Some("2026-03-30T12:01:01Z");
    let day = Some("2026-03-31T00:00:00Z");
    let month = Some("2026-04-01T00:00:00Z");
    let cases: &[(Change, &str, Option<&str>)] = &[
        (|world| world.policy.key_rate = 2, "rate_limited: 2 calls/min exceeded", minute),
        (
            |world| world.tool("search", None, 2, 0),
            "tool_rate_limited: search limited to 2 calls/min",
            minute,
        ),
        (|world| world.credit(-975), "insufficient_credits: need 10, have 5", None),
        (
            |world| world.key.spending_limit = 29,
            "spending_limit_exceeded: limit 29, spent 20, need 10",
            None,
        ),
        (
            |world| world.policy.quota = quota([2, 0, 0, 0]),
            "daily_call_quota_exceeded: 2/2 calls today",
            day,
        ),
        (
            |world| world.policy.quota = quota([0, 2, 0, 0]),
            "monthly_call_quota_exceeded: 2/2 calls this month",
            month,
        ),
        (
            |world| world.policy.quota = quota([0, 0, 25, 0]),
            "daily_credit_quota_exceeded: 20+10 would exceed 25 credits/day",
            day,
        ),
        (
            |world| world.policy.quota = quota([0, 0, 0, 25]),
            "monthly_credit_quota_exceeded: 20+10 would exceed 25 credits/month",
            month,
        ),
    ];
    for (set, reason, opens_at) in cases {
        let mut world = World::with(*set);
        assert!(world.call("search").is_ok() && world.call("search").is_ok(), "{reason}");
        let before = world.book.clone();
        let denied = world.call("search").expect_err(reason);
        assert_eq!(denied.denial.to_string(), *reason);
        assert_eq!(denied.opens_at, opens_at.and_then(Time::parse), "{reason}");
        assert!(!denied.exceeds_limit_alone, "{reason}");
        assert_eq!(world.book.accounts(), before.accounts(), "a denied call uses up nothing");
        if let Some(opens_at) = denied.opens_at {
            world.now = Time::from_ms(opens_at.ms() - 1);
            assert!(world.call("search").is_err(), "{reason}");
            world.now = opens_at;
            assert!(world.call("search").is_ok(), "{reason}");
        }
    }
}

#[test]
fn a_keys_own_quota_replaces_the_global_one_entirely() {
    let mut world = World::with(|world| {
        world.policy.quota = quota([1, 1, 1, 1]);
        world.key.quota = Some(quota([0, 0, 0, 15]));
    });
    assert!(world.call("t").is_ok());
    let denied = world.call("t").expect_err("15 credits a month");
    assert_eq!(
        denied.denial.to_string(),
        "monthly_credit_quota_exceeded: 10+10 would exceed 15 credits/month"
    );
}

/// What can never fit says so and names no time; what would fit alone names one at which it does.
#[test]
fn a_batch_larger_than_a_limit_is_told_not_to_wait() {
    let limits: &[(&str, Change, bool)] = &[
        ("rate_limited", |world| world.policy.key_rate = 3, true),
        ("tool_rate_limited", |world| world.tool("t", None, 3, 0), true),
        ("spending_limit_exceeded", |world| world.key.spending_limit = 30, false),
        ("daily_call_quota_exceeded", |world| world.policy.quota = quota([3, 0, 0, 0]), true),
        ("monthly_call_quota_exceeded", |world| world.policy.quota = quota([0, 3, 0, 0]), true),
        ("daily_credit_quota_exceeded", |world| world.policy.quota = quota([0, 0, 30, 0]), true),
        ("monthly_credit_quota_exceeded", |world| world.policy.quota = quota([0, 0, 0, 30]), true),
    ];
    for (word, set, waiting_helps) in limits {
        let mut world = World::with(*set);
        let denied = world.batch(&["t"; 4]).expect_err(word);
        assert_eq!(denied.denial.word(), *word);
        assert_eq!((denied.opens_at, denied.exceeds_limit_alone), (None, true), "{word}");

        // Two calls at different seconds, then a batch that needs the whole limit.
        assert!(world.call("t").is_ok(), "{word}");
        world.now = Time::from_ms(world.now.ms() + 20_000);
        assert!(world.call("t").is_ok(), "{word}");
        let denied = world.batch(&["t"; 3]).expect_err(word);
        assert_eq!(denied.denial.word(), *word);
        assert!(!denied.exceeds_limit_alone, "{word}");
        assert_eq!(denied.opens_at.is_some(), *waiting_helps, "{word}");
        if let Some(opens_at) = denied.opens_at {
            world.now = opens_at;
            assert!(world.batch(&["t"; 3]).is_ok(), "{word}: waiting must help");
        }
    }
    let denied = World::new().batch(&["t"; 101]).expect_err("1,010 credits of 1,000");
    assert_eq!(denied.denial.to_string(), "insufficient_credits: need 1010, have 1000");
    assert_eq!((denied.opens_at, denied.exceeds_limit_alone), (None, false));
}

#[test]
fn a_free_call_needs_no_credits() {
    let mut world = World::with(|world| {
        world.policy.default_price = 0;
        world.credit(-1_005);
        world.tool("paid", Some(1), 0, 0);
    });
    assert!(world.call("t").is_ok(), "with a balance below zero");
    assert_eq!(world.numbers(), [-5, 0, 1, 1, 1, 0, 0]);
    let denied = world.batch(&["t", "paid"]).expect_err("one credit");
    assert_eq!(denied.denial.to_string(), "insufficient_credits: need 1, have -5");
    assert!(world.batch(&["t", "t"]).is_ok());
    assert_eq!(world.numbers(), [-5, 0, 3, 3, 3, 0, 0]);
}

/// A method has its own price and rate; what is said of tools, its namesake among them, is not
/// said of it.
#[test]
fn a_method_is_judged_as_no_tool() {
    let mut world = World::with(|world| {
        world.tool("resources/read", Some(50), 1, 0);
        world.key.denied_tools = tools(&["resources/read"]);
        world.key.allowed_tools = tools(&["search"]);
        world.policy.key_rate = 100;
        for (method, price, rate) in [("resources/read", 7, 2), ("prompts/get", 2_000, 0)] {
            let own = ToolPolicy::of_method(method, price, rate);
            world.policy.methods.insert(method.to_owned(), own);
        }
    });
    let judge = |world: &mut World, method: &str| {
        world.next_call += 1;
        let call = CallId::from_random([world.next_call; 16]);
        let charge = admit_method(&world.policy, &world.request(&[], false), method, call)?;
        world.hold(charge)
    };
    for _ in 0..2 {
        let charge = judge(&mut world, "resources/read").expect("allowed");
        assert_eq!((charge.total, charge.items[0].tool.as_str()), (7, "resources/read"));
    }
    let limited = judge(&mut world, "resources/read").expect_err("two a minute");
    let reason = "tool_rate_limited: resources/read limited to 2 calls/min";
    assert_eq!((limited.denial.to_string().as_str(), limited.credits_required), (reason, 7));
    let dear = judge(&mut world, "prompts/get").expect_err("too dear");
    assert_eq!(dear.denial.to_string(), "insufficient_credits: need 2000, have 986");
    assert_eq!(judge(&mut world, "without a price").expect("free").total, 0);

    world.key.denied_tools = tools(&[]);
    world.key.allowed_tools = tools(&[]);
    let call = world.call("resources/read").expect("the tool has a rate of its own");
    assert_eq!(call.total, 50);
    world.key_found = false;
    let nobody = judge(&mut world, "resources/read").expect_err("no key");
    assert_eq!((nobody.denial.word(), nobody.credits_required), ("invalid_api_key", 7));
}

#[test]
fn the_surcharge_is_part_of_what_is_required_and_charged() {
    let mut world = World::with(|world| world.tool("kb", Some(3), 0, 1_500));
    let arguments = format!("{{ \"text\" : \"{}\" }}", "x".repeat(2048 - 11));
    let facts = |tool| CallFacts { tool, arguments: Some(arguments.as_str()) };
    // 2,048 bytes without white space at 1.5 a KiB are 3 credits, each call for itself.
    let (calls, call) = ([facts("kb"), facts("other"), facts("kb")], CallId::from_random([9; 16]));
    let charge = admit(&world.policy, &world.request(&calls, true), call).expect("allowed");
    let prices: Vec<i64> = charge.items.iter().map(|item| item.price).collect();
    assert_eq!((prices, charge.total), (vec![6, 10, 6], 22));

    world.key.denied_tools = tools(&["kb"]);
    let denied = admit(&world.policy, &world.request(&calls, true), call).expect_err("denied");
    assert_eq!((denied.credits_required, denied.failed_index), (22, 0));

    world.key.denied_tools = tools(&[]);
    world.credit(-990);
    let denied = world.hold(charge).expect_err("10 credits");
    assert_eq!(denied.denial.to_string(), "insufficient_credits: need 22, have 10");
    assert_eq!(denied.credits_required, 22);
}

#[test]
fn prices_beyond_all_credits_are_refused_not_wrapped() {
    let mut world = World::with(|world| world.policy.default_price = COUNTER_MAX);
    for count in [1, 2, 100] {
        let denied = world.batch(&vec!["t"; count]).expect_err("too dear");
        assert_eq!(denied.denial.word(), "insufficient_credits");
        assert!(denied.credits_required >= COUNTER_MAX);
    }
    world.policy.default_price = i64::MAX;
    let denied = world.batch(&["t", "t"]).expect_err("too dear");
    assert_eq!(denied.credits_required, i64::MAX);
    assert_eq!(world.numbers(), [1_000, 0, 0, 0, 0, 0, 0]);
}

/// Which calls of a batch (prices 10, 3, 0) are paid for, and the numbers afterwards.
#[test]
fn a_capture_keeps_what_was_paid_and_every_rate() {
    let cases = [
        ([true, true, true], 13, [987, 13, 3, 3, 3, 13, 13]),
        ([true, false, true], 10, [990, 10, 2, 2, 2, 10, 10]),
        ([false, true, false], 3, [997, 3, 1, 1, 1, 3, 3]),
        ([false, false, true], 0, [1_000, 0, 1, 1, 1, 0, 0]),
        ([false, false, false], 0, [1_000, 0, 0, 0, 0, 0, 0]),
    ];
    for (paid, credits, numbers) in cases {
        let mut world = World::with(|world| {
            world.policy.key_rate = 9;
            world.tool("three", Some(3), 9, 0);
            world.tool("free", Some(0), 9, 0);
        });
        let charge = world.batch(&["t", "three", "free"]).expect("admitted");
        assert_eq!(world.numbers(), [987, 13, 3, 3, 3, 13, 13], "held");
        assert_eq!((world.account().held(), world.account().balance()), (13, 1_000));
        let (kept, price) = charge.kept(&paid);
        assert_eq!(price, credits, "{paid:?}");
        let captured = ResolutionKind::Captured;
        world.book.resolve(world.now, charge.call, captured, kept).expect("open");
        assert_eq!(world.numbers(), numbers, "{paid:?}");
        assert_eq!(world.account().held(), 0);
        let rates = [names::RATE, names::tool_rate("three"), names::tool_rate("free")];
        assert_eq!(rates.map(|rate| world.value(&rate)), [3, 1, 1], "admitted is admitted");
    }
}

#[test]
fn a_release_is_a_capture_of_nothing() {
    let mut world = World::with(|world| world.policy.key_rate = 9);
    let charge = world.batch(&["t", "t"]).expect("admitted");
    let hold = world.book.holds().get(&charge.call).expect("open").clone();
    assert_eq!(charge.kept(&[false, false]).0, hold.kept_by_release());
    assert_eq!(charge.kept(&[]).0, hold.kept_by_release(), "what is not named is not paid for");
    let everything: Vec<i64> = charge.demands.iter().map(|demand| demand.amount).collect();
    assert_eq!(charge.kept(&[true, true]), (everything, 20));
}

#[test]
fn a_shadow_charge_counts_its_rates_and_nothing_else() {
    let mut world = World::with(|world| {
        world.policy.key_rate = 1;
        world.tool("t", None, 1, 0);
        world.key.spending_limit = 1;
        world.credit(-1_000);
    });
    let calls = [CallFacts { tool: "t", arguments: None }; 3];
    for round in 1_u8..=2 {
        let call = CallId::from_random([round; 16]);
        let charge = admit(&world.policy, &world.request(&calls, true), call).expect("judged");
        assert!(world.book.check(world.now, &charge.demands).is_err(), "it would be refused");
        let charge = world.hold(charge.shadow()).expect("never refused");
        assert_eq!(world.numbers(), [0; 7]);
        assert_eq!(world.account().held(), 0);
        let rates = [names::RATE, names::tool_rate("t")].map(|rate| world.value(&rate));
        assert_eq!(rates, [i64::from(round) * 3; 2]);
        let (kept, cost) = charge.kept(&[true; 3]);
        assert_eq!(cost, 0, "never charged");
        world.book.resolve(world.now, call, ResolutionKind::Captured, kept).expect("open");
        assert_eq!(world.numbers(), [0; 7], "and capturing it takes nothing");
    }
}

#[test]
fn the_shown_rate_is_the_tools_own_or_the_keys() {
    let world = World::with(|world| {
        world.policy.key_rate = 60;
        world.tool("slow", None, 2, 0);
        world.tool("plain", Some(1), 0, 0);
    });
    for (tool, shown) in [
        (Some("slow"), (2, names::tool_rate("slow"))),
        (Some("plain"), (60, names::RATE)),
        (Some("unknown"), (60, names::RATE)),
        (None, (60, names::RATE)),
    ] {
        assert_eq!(world.policy.shown_rate(tool), Some(shown));
    }
    assert_eq!(Policy::default().shown_rate(Some("slow")), None);
}
