//! Servers that do not start, end, and come back.

use super::*;
use paygate::upstream::Status;

struct File(std::path::PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("paygate-several-{}-{name}", std::process::id())))
    }

    fn late(&self) -> String {
        format!("late:{}", self.0.display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn member(link: &Link, prefix: &str) -> Status {
    let members = link.members();
    members.into_iter().find(|member| &*member.server == prefix).unwrap().status
}

#[tokio::test]
async fn a_server_that_does_not_start_does_not_keep_the_others() {
    let file = File::new("late");
    let (link, heard) = start(vec![server("a", &[]), server("b", &[&file.late()])]).await;
    assert!(link.status().is_ready());
    assert!(!link.tools().contains("b:echo"));
    assert!(matches!(member(&link, "b"), Status::Restarting { .. }));
    let first: Value = serde_json::from_str(&link.first_result().unwrap()).unwrap();
    assert_eq!(first["protocolVersion"], "2025-11-25");
    let missing = send(&link, "tools/call", json!({"name": "b:echo"})).answer().await;
    assert_eq!(missing.unwrap_err(), Failure::Unavailable);

    std::fs::write(&file.0, "").unwrap();
    until("the late server", async || link.tools().contains("b:echo")).await;
    assert!(member(&link, "b").is_ready());
    heard.first("notifications/tools/list_changed").await;
    assert_eq!(call(&link, "b:echo", json!({})).await["server"], "b");
    let first: Value = serde_json::from_str(&link.first_result().unwrap()).unwrap();
    assert_eq!(first["protocolVersion"], "2025-06-18");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn without_any_server_there_is_no_link() {
    let late = "late:/nowhere/at/all";
    let error =
        Link::start(options(vec![server("a", &[late]), server("b", &[late])])).await.unwrap_err();
    let StartError::NoneStarted { errors } = &error else { panic!("{error:?}") };
    assert_eq!(errors.len(), 2);
    let text = error.to_string();
    assert!(text.contains("server \"a\"") && text.contains("server \"b\""), "{text}");
    assert!(text.contains("it is too early"), "{text}");
}

#[tokio::test]
async fn a_dead_servers_calls_end_its_tools_vanish_and_come_back() {
    let file = File::new("back");
    std::fs::write(&file.0, "").unwrap();
    let (link, heard) = start(vec![server("a", &[]), server("b", &[&file.late()])]).await;
    result(&link, "logging/setLevel", json!({"level": "error"})).await;
    result(&link, "resources/subscribe", json!({"uri": "x://b"})).await;
    std::fs::remove_file(&file.0).unwrap();

    let held = send(&link, "tools/call", json!({"name": "b:hold"}));
    let asking = send(&link, "tools/call", json!({"name": "b:ask"}));
    let (question, _) = heard.first("sampling/createMessage").await;
    let other = send(&link, "tools/call", json!({"name": "a:hold"}));
    let died = ask(&link, "tools/call", json!({"name": "b:die"})).await;
    assert_eq!(died.unwrap_err(), Failure::Exited);
    assert_eq!(held.answer().await.unwrap_err(), Failure::Exited);
    assert_eq!(asking.answer().await.unwrap_err(), Failure::Exited);
    until("the tools to vanish", async || !link.tools().contains("b:echo")).await;
    assert!(link.status().is_ready() && link.tools().contains("a:echo"));
    heard.first("notifications/tools/list_changed").await;
    heard.first("notifications/prompts/list_changed").await;
    let (cancelled, _) = heard.first("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], question["id"]);
    let page = result(&link, "tools/list", json!({})).await;
    assert!(names(&page["tools"]).iter().all(|name| name.starts_with("a:")));

    std::fs::write(&file.0, "").unwrap();
    until("the tools to come back", async || link.tools().contains("b:echo")).await;
    until("the reminder", async || {
        heard_by(&link, "b", "resources/subscribe").await.len() == 1
            && heard_by(&link, "b", "logging/setLevel").await.len() == 1
    })
    .await;
    drop(other);
    link.stop(CEILING).await;
}

#[tokio::test]
async fn when_none_is_left_all_are_started_again() {
    let (link, _) = start_two().await;
    for tool in ["a:die", "b:die"] {
        let died = ask(&link, "tools/call", json!({"name": tool})).await;
        assert_eq!(died.unwrap_err(), Failure::Exited);
    }
    until("both servers", async || {
        let tools = link.tools();
        link.status().is_ready() && tools.contains("a:echo") && tools.contains("b:echo")
    })
    .await;
    assert_eq!(call(&link, "b:echo", json!({})).await["server"], "b");
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_new_tool_is_found_at_once() {
    let (link, heard) = start_two().await;
    call(&link, "b:add_tool", json!({"name": "fresh"})).await;
    heard.first("notifications/tools/list_changed").await;
    link.refresh_tools().await;
    until("the new tool", async || link.tools().contains("b:fresh")).await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn stopping_leaves_no_call_and_no_server() {
    let (link, _) = start_two().await;
    let held = send(&link, "tools/call", json!({"name": "b:hold"}));
    link.stop(Duration::ZERO).await;
    assert_eq!(held.answer().await.unwrap_err(), Failure::Exited);
    assert_eq!(link.reserve().unwrap_err(), Failure::Unavailable);
    assert_eq!(link.in_flight(), 0);
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_server() {
    let files = ["a", "b"].map(|name| File::new(&format!("again-{name}")));
    let members = [("a", &files[0]), ("b", &files[1])]
        .map(|(name, file)| server(name, &[&format!("again:{}", file.0.display())]));
    let (link, _) = start(members.into()).await;
    for tool in ["a:die", "b:die"] {
        let died = ask(&link, "tools/call", json!({"name": tool})).await;
        assert_eq!(died.unwrap_err(), Failure::Exited);
    }
    let hangs = |file: &File| {
        let pid = std::fs::read_to_string(file.0.with_extension("pid"));
        let stat = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    until("both of the next start to hang", async || files.iter().all(hangs)).await;
    link.stop(Duration::ZERO).await;
    assert!(!files.iter().any(hangs), "a server outlives its link");
    for file in &files {
        std::fs::remove_file(file.0.with_extension("pid")).unwrap();
    }
}
