//! Records of keys, teams, tenants and tokens.

use std::time::Duration;

use paygate::ledger::{Opening, Posting, Refund, Window, names};
use paygate::model::audit::AuditEvent;
use paygate::model::key::{Key, OldCredential, ToolList};
use paygate::model::namespace::Namespace;
use paygate::model::team::{Team, TeamId};
use paygate::model::time::Time;
use paygate::model::token::{AdminToken, RawToken, Role, TokenId};
use paygate::store::{Arrival, Assigned, Deed, HoldRefused, Show, Store, StoreError, settlement};

use super::{PAID, Place, call, charge, charge_of, deadline, key, made, now, raw};

#[tokio::test]
async fn a_rotation_swaps_the_credential_of_the_same_key() {
    for place in Place::all() {
        let mut store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let until = now().plus(Duration::from_secs(10));
        let old = Some(OldCredential { digest: key.digest, until });
        let rotated = Key { digest: raw(9).digest(), ends: raw(9).ends(), old, ..(*key).clone() };
        store.update_key(rotated, None.into()).await.unwrap();
        for _ in 0..2 {
            let found = async |number, at| {
                let found = store.key_by_digest(raw(number).digest(), at).await.unwrap();
                found.map(|key| key.id.clone())
            };
            assert_eq!(found(9, now()).await, Some(key.id.clone()));
            assert_eq!(found(1, now()).await, Some(key.id.clone()), "during its grace");
            assert_eq!(found(1, until).await, None);
            assert_eq!(found(2, now()).await, None);
            store = place.again(store).await;
        }
    }
}

#[tokio::test]
async fn a_credential_belongs_to_one_key() {
    for place in Place::all() {
        let store = place.open().await;
        made(&*store, 1, 100).await;
        let other = made(&*store, 2, 100).await;
        let same = Key { digest: raw(1).digest(), ..key(3) };
        let refused = store.create_key(same, 5, None.into(), now()).await;
        assert!(matches!(refused, Err(StoreError::Duplicate)), "{refused:?}");
        let same = Key { digest: raw(1).digest(), ..(*other).clone() };
        let refused = store.update_key(same, None.into()).await;
        assert!(matches!(refused, Err(StoreError::Duplicate)), "{refused:?}");
        let store = place.again(store).await;
        let found = store.key_by_digest(raw(1).digest(), now()).await.unwrap();
        assert_eq!(found.map(|found| found.id.clone()), Some(key(1).id));
        assert!(store.key_by_id(&key(3).id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_deleted_key_is_gone_and_its_id_is_never_used_again() {
    for place in Place::all() {
        let store = place.open().await;
        let doomed = made(&*store, 1, 100).await;
        made(&*store, 2, 7).await;
        call(&*store, &doomed, 1, &["a"], &[PAID]).await;
        store.delete_key(&doomed.id, None.into(), now()).await.unwrap();
        let store = place.again(store).await;
        assert!(store.key_by_digest(raw(1).digest(), now()).await.unwrap().is_none());
        assert!(store.key_by_id(&doomed.id).await.unwrap().is_none());
        assert!(matches!(store.account(&doomed.id).await, Err(StoreError::NotFound)));
        let held = store.hold(&charge(&doomed, 2, &["a"]), now(), deadline()).await;
        assert!(matches!(held, Err(HoldRefused::Stale)), "{held:?}");
        let again = Key { digest: raw(5).digest(), ..key(1) };
        let refused = store.create_key(again, 5, None.into(), now()).await;
        assert!(matches!(refused, Err(StoreError::Duplicate)), "{refused:?}");
        let left = store.keys(None).await.unwrap();
        assert_eq!(left.iter().map(|(key, _)| key.id.clone()).collect::<Vec<_>>(), [key(2).id]);
        assert_eq!(left[0].1.available(), 7);
        let gone = store.delete_key(&doomed.id, None.into(), now()).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    }
}

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_making() {
    for place in Place::all_and_a_cluster() {
        let store = place.open().await;
        for (number, namespace) in [(5, "b"), (3, "a"), (4, "b"), (1, "a")] {
            let key = Key { namespace: namespace.to_owned(), ..key(number) };
            store.create_key(key, i64::from(number), None.into(), now()).await.unwrap();
        }
        let store = place.again(store).await;
        let all = async |namespace| {
            let keys = store.keys(namespace).await.unwrap();
            keys.iter().map(|(_, account)| account.available()).collect::<Vec<_>>()
        };
        assert_eq!(all(None).await, [5, 3, 4, 1]);
        assert_eq!(all(Some("b")).await, [5, 4]);
        assert_eq!(all(Some("c")).await, [0_i64; 0]);
        let (mut after, mut paged) = (None, Vec::new());
        loop {
            let page = store.keys_page(None, after, 3).await.unwrap();
            paged.extend(page.keys.iter().map(|(key, _)| key.namespace.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, ["b", "a", "b", "a"]);
    }
}

pub(crate) fn team(number: u8, namespace: &str) -> Team {
    Team {
        id: TeamId::from_random([number; 8]),
        name: "team".to_owned(),
        description: String::new(),
        namespace: namespace.to_owned(),
        members: Vec::new(),
        budget: 5,
        quota: None,
        tags: [].into(),
        created_at: now(),
        active: true,
        revision: 0,
    }
}

#[tokio::test]
async fn a_team_bounds_its_keys_until_it_lets_them_go() {
    for place in Place::all_and_a_cluster() {
        let mut store = place.open().await;
        let one = made(&*store, 1, 100).await;
        let own = store.create_team(team(1, "default"), Deed::default()).await.unwrap();
        let foreign = store.create_team(team(2, "other"), Deed::default()).await.unwrap();
        let assign = async |store: &dyn Store, team: &Team| {
            store.assign_key(&one.id, &team.id, Deed::default()).await.unwrap()
        };
        assert_eq!(assign(&*store, &foreign).await, Assigned::NoSuchTeam);
        assert_eq!(assign(&*store, &own).await, Assigned::Done);
        assert_eq!(assign(&*store, &own).await, Assigned::Done);
        let alone = store.hold(&charge(&one, 1, &["a"]), now(), deadline()).await;
        assert!(matches!(alone, Err(HoldRefused::Stale)), "it was judged without its team");

        store = place.again(store).await;
        let member = store.key_by_id(&one.id).await.unwrap().unwrap();
        let present = store.team(&own.id).unwrap();
        assert_eq!(
            (member.team.as_ref(), &*present.members),
            (Some(&own.id), &[one.id.clone()][..])
        );
        for (call, fits) in [(2, true), (3, true), (4, false)] {
            let charge = charge_of(&member, Some(&present), [call; 16], &["a"]);
            let held = store.hold(&charge, now(), deadline()).await;
            assert_eq!(held.is_ok(), fits, "{held:?}");
            if fits {
                let end = settlement(&charge, &[PAID], Show::BALANCE);
                store.settle(end, now()).await.unwrap().1.wait().await.unwrap();
            }
        }
        let account = store.team_account(&own.id).await.unwrap();
        assert_eq!(account.value(&names::SPENT, now()), 4);

        // A cap that is raised: whoever was judged by the lower one is judged again.
        let raised = Team { budget: 50, ..(*present).clone() };
        let raised = store.update_team(raised, Deed::default()).await.unwrap();
        let old = charge_of(&member, Some(&present), [5; 16], &["a"]);
        let held = store.hold(&old, now(), deadline()).await;
        assert!(matches!(held, Err(HoldRefused::Stale)), "{held:?}");

        let ended = Team { active: false, ..(*raised).clone() };
        store.update_team(ended, Deed::default()).await.unwrap();
        store = place.again(store).await;
        let free = store.key_by_id(&one.id).await.unwrap().unwrap();
        assert_eq!(free.team, None);
        let team = store.team(&own.id).unwrap();
        assert!(!team.active && team.members.is_empty());
        assert_eq!(store.teams().len(), 2);
        assert!(!store.remove_key(&one.id, &own.id, Deed::default()).await.unwrap());
        assert_eq!(call(&*store, &free, 6, &["a"], &[PAID]).await, 94);
    }
}

#[tokio::test]
async fn a_tenants_record_has_revisions_and_closes_its_keys() {
    for place in Place::all() {
        let mut store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let judged = charge(&key, 1, &["a"]);
        let open = store.namespace("default").await.unwrap();
        assert_eq!(*open, Namespace::unwritten("default"));
        let closed = Namespace {
            suspended: true,
            denied_tools: ToolList::from_names(["b"].into_iter()),
            ..(*open).clone()
        };
        let closed = store.update_namespace(closed.clone(), Deed::default()).await.unwrap();
        let again = store.update_namespace((*open).clone(), Deed::default()).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
        let held = store.hold(&judged, now(), deadline()).await;
        assert!(matches!(held, Err(HoldRefused::Stale)), "{held:?}");
        store = place.again(store).await;
        assert_eq!(store.namespace("default").await.unwrap(), closed);
        assert_eq!(store.namespaces(), [closed]);
    }
}

#[tokio::test]
async fn an_admin_token_opens_until_it_is_ended() {
    for place in Place::all_and_a_cluster() {
        let mut store = place.open().await;
        let raw = RawToken::from_random([7; 24]);
        let token = AdminToken {
            id: TokenId::from_random([7; 8]),
            digest: raw.digest(),
            name: "Ada".to_owned(),
            role: Role::Admin,
            namespace: Some("a".to_owned()),
            created_at: now(),
            created_by: "admin".to_owned(),
        };
        let audit = Some(AuditEvent {
            at: now(),
            kind: "token.created",
            actor: "admin".to_owned(),
            actor_id: None,
            namespace: None,
            target: Some(token.id.to_string()),
            message: "Ada".to_owned(),
            metadata: serde_json::Map::default(),
        });
        store.create_token(token.clone(), Deed { audit, ..Deed::default() }).await.unwrap();
        store = place.again(store).await;
        assert_eq!(store.token(&raw.digest()).as_deref(), Some(&token));
        assert_eq!(store.tokens().len(), 1);
        store.delete_token(&token.id, Deed::default()).await.unwrap();
        let gone = store.delete_token(&token.id, Deed::default()).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
        store = place.again(store).await;
        assert!(store.token(&raw.digest()).is_none());
        // Whatever messages are sealed with stays the same.
        let seal = *store.seal_key().bytes();
        assert_eq!(*place.again(store).await.seal_key().bytes(), seal);
    }
}

#[tokio::test]
async fn keys_come_over_once_with_their_numbers() {
    for place in Place::all() {
        let store = place.open().await;
        assert!(store.is_unused().await.unwrap());
        let arrival = |number: u8, namespace: &str| {
            let key = Key { namespace: namespace.to_owned(), ..super::key(number) };
            let account = key.id.account();
            let posting = |counter, window, amount| Posting {
                account: account.clone(),
                counter,
                window,
                amount,
                refund: Refund::Back,
            };
            let postings = vec![
                posting(names::BALANCE, Window::Lifetime, 40),
                posting(names::SPENT, Window::Lifetime, 3),
                posting(names::CALLS_DAY, Window::Day, 2),
            ];
            let (at, last_call) = (now(), Some(Time::from_ms(super::NOW - 5)));
            let opening = Opening { at, account: account.clone(), last_call, postings };
            Arrival { key, opening }
        };
        let both = || vec![arrival(1, "default"), arrival(2, "acme"), arrival(1, "default")];
        let deed = || Deed { reason: Some("moved".to_owned()), ..Deed::default() };
        let made = store.import(both(), deed(), now()).await.unwrap();
        assert_eq!(made.len(), 2);
        assert!(!store.is_unused().await.unwrap());
        let store = place.again(store).await;
        assert!(store.import(both(), deed(), now()).await.unwrap().is_empty());
        for number in [1, 2] {
            let key = store.key_by_digest(raw(number).digest(), now()).await.unwrap().unwrap();
            let account = store.account(&key.id).await.unwrap();
            assert_eq!((account.available(), account.held()), (40, 0));
            assert_eq!(account.value(&names::SPENT, now()), 3);
            assert_eq!(account.value(&names::CALLS_DAY, now()), 2);
            assert_eq!(account.last_call(), Some(Time::from_ms(super::NOW - 5)));
        }
        // One that was deleted does not come back.
        let id = super::key(1).id;
        store.delete_key(&id, Deed::default(), now()).await.unwrap();
        let again = store.import(vec![arrival(1, "default"), arrival(3, "acme")], deed(), now());
        let again = again.await.unwrap();
        assert_eq!(again.into_iter().collect::<Vec<_>>(), [super::key(3).id]);
        store.compare_books().await.unwrap();
        assert_eq!(store.load().compared.unwrap().drift, 0);
        store.close().await.unwrap();
    }
}
