//! The era without handshakes: who takes part, and its streams of changes.

use super::*;
use paygate::upstream::Hello;

fn modern(members: Vec<Member>) -> LinkOptions {
    LinkOptions { hello: Hello::Discover, ..options(members) }
}

#[tokio::test]
async fn all_servers_speak_the_era_or_none_does() {
    let members = vec![server("a", &["modern"]), server("b", &["modern"])];
    let (link, _) = start_with(modern(members)).await;
    let first: Value = serde_json::from_str(&link.first_result().unwrap()).unwrap();
    assert_eq!(first["supportedVersions"], json!(["2026-07-28"]));
    assert!(link.tools().contains("a:echo") && link.tools().contains("b:echo"));
    link.stop(CEILING).await;

    let members = vec![server("a", &["modern"]), server("b", &[])];
    let refused = Link::start(modern(members)).await.unwrap_err();
    assert!(
        matches!(refused, StartError::Refused { method: "server/discover", .. }),
        "{refused:?}"
    );

    // In the other era those that speak it are enough, because nobody could be told to go elsewhere.
    let members = vec![server("a", &["modern"]), server("b", &[])];
    let (link, _) = start(members).await;
    assert!(!link.tools().contains("a:echo") && link.tools().contains("b:echo"));
    link.stop(CEILING).await;
    let none = Link::start(options(vec![server("a", &["modern"])])).await.unwrap_err();
    assert!(matches!(none, StartError::Refused { method: "initialize", .. }), "{none:?}");
}

#[tokio::test]
async fn one_stream_of_changes_is_a_stream_of_every_server() {
    let members = vec![server("a", &["modern"]), server("b", &["modern"])];
    let (link, heard) = start_with(modern(members)).await;
    let filter = json!({"toolsListChanged": true});
    let listen = send(&link, "subscriptions/listen", json!({"notifications": filter}));
    let id = listen.id();
    let (acknowledged, call_id) = heard.first("notifications/subscriptions/acknowledged").await;
    let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
    assert_eq!(acknowledged["params"], json!({"_meta": meta, "notifications": filter}));
    assert_eq!(call_id, Some(id));
    let told = || {
        let all = heard.all().into_iter();
        all.filter(|(message, _)| {
            message["method"] == "notifications/tools/list_changed"
                && message["params"]["_meta"] == meta
        })
        .count()
    };
    for (index, server) in ["a", "b"].into_iter().enumerate() {
        until("the stream at the server", async || {
            heard_by(&link, server, "subscriptions/listen").await.len() == 1
        })
        .await;
        call(&link, &format!("{server}:add_tool"), json!({"name": "fresh"})).await;
        until("the change", async || told() == index + 1).await;
    }

    // A server that goes changes the lists, and one that comes back is listened to again.
    let died = ask(&link, "tools/call", json!({"name": "b:die"})).await;
    assert_eq!(died.unwrap_err(), Failure::Exited);
    until("the change that a lost server is", async || told() >= 3).await;
    until("the server", async || link.tools().contains("b:echo")).await;
    until("the stream at the new server", async || {
        heard_by(&link, "b", "subscriptions/listen").await.len() == 1
    })
    .await;
    let kept = heard
        .all()
        .iter()
        .filter(|(message, _)| message["method"] == "notifications/subscriptions/acknowledged")
        .count();
    assert_eq!(kept, 1);
    drop(listen);
    until("the end at the server", async || {
        heard_by(&link, "a", "notifications/cancelled").await.len() == 1
    })
    .await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn each_server_tells_of_its_own_tasks() {
    let members = vec![server("a", &["modern"]), server("b", &["modern"])];
    let (link, heard) = start_with(modern(members)).await;
    let mut ids = Vec::new();
    for (server, own) in [("a", "2"), ("b", "1")] {
        let made = call(&link, &format!("{server}:make_task"), json!({})).await;
        // The id of a task in this life of its server, here with another number.
        let made = made["task"]["taskId"].as_str().unwrap().to_owned();
        ids.push(format!("{}.{own}", made.rsplit_once('.').unwrap().0));
    }
    let filter = json!({"taskIds": [ids[1], ids[0]]});
    let listen = send(&link, "subscriptions/listen", json!({"notifications": filter}));
    let (acknowledged, _) = heard.first("notifications/subscriptions/acknowledged").await;
    assert_eq!(acknowledged["params"]["notifications"], filter);
    for ((server, own), id) in [("a", "2"), ("b", "1")].into_iter().zip(ids) {
        let mut asked = Vec::new();
        until("the stream at the server", async || {
            asked = heard_by(&link, server, "subscriptions/listen").await;
            !asked.is_empty()
        })
        .await;
        assert_eq!(asked[0]["params"]["notifications"], json!({"taskIds": [own]}));
        call(&link, &format!("{server}:end_task"), json!({"taskId": own})).await;
        let task = json!(id);
        until("the end of the task", async || {
            heard.all().iter().any(|(message, on)| {
                message["method"] == "notifications/tasks"
                    && message["params"]["taskId"] == task
                    && *on == Some(listen.id())
            })
        })
        .await;
    }
    link.stop(CEILING).await;
}
