//! The kinds of steps, each done with the client's own functions.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::rmcp::ServiceError;
use ::rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientRequest, GetTaskParams, PingRequest,
    ProtocolVersion, ServerNotification, SubscriptionFilter,
};
use ::rmcp::service::Subscription;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Connection, Told, typed};

/// How long something that was told may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

pub type Outcome = Result<(), String>;

/// One connection.
pub struct Steps(pub Connection);

impl Steps {
    pub async fn follow(&self, step: &Value) -> Outcome {
        match word(step, "do") {
            "version" => check(self.version() == step["is"], self.version()),
            "ping" => {
                let ping = ClientRequest::PingRequest(PingRequest::default());
                said(self.0.send_request(ping)).await.map(drop)
            }
            "list" => self.list(step).await,
            "schema" => self.schema(step).await,
            "call" => has(step, self.say(step).await?),
            "progress" => self.progress(step, 1).await,
            "together" => self.progress(step, 3).await,
            "cancel" => self.cancel(step).await,
            "task" => self.task(step).await,
            "watch" => self.watch(step).await,
            "changed" => self.changed(step).await,
            "log" => self.log(step).await,
            "resources" => has(step, said(self.0.list_resources(None)).await?),
            "templates" => has(step, said(self.0.list_resource_templates(None)).await?),
            "prompts" => has(step, said(self.0.list_prompts(None)).await?),
            "read" => {
                let params = typed(json!({"uri": step["uri"]}));
                has(step, said(self.0.read_resource(params)).await?)
            }
            "missing" => {
                let params = typed(json!({"uri": step["uri"]}));
                match said(self.0.read_resource(params)).await {
                    Ok(found) => Err(format!("it is there: {found}")),
                    Err(why) => has(step, why),
                }
            }
            "prompt" => {
                let params = typed(json!({"name": step["name"], "arguments": step["arguments"]}));
                has(step, said(self.0.get_prompt(params)).await?)
            }
            "complete" => {
                let prompt = json!({"type": "ref/prompt", "name": step["name"]});
                let argument = json!({"name": step["argument"], "value": step["value"]});
                let params = typed(json!({"ref": prompt, "argument": argument}));
                has(step, said(self.0.complete(params)).await?)
            }
            unknown => panic!("a client cannot {unknown}"),
        }
    }

    fn version(&self) -> String {
        let server = self.0.peer().peer_info().expect("they know each other");
        server.protocol_version.to_string()
    }

    fn is_modern(&self) -> bool {
        self.version().as_str() >= ProtocolVersion::LATEST.as_str()
    }

    fn told(&self) -> &Told {
        self.0.service()
    }

    /// What the tool of this step says.
    async fn say(&self, step: &Value) -> Result<String, String> {
        said(self.0.call_tool(parameters(step))).await
    }

    async fn list(&self, step: &Value) -> Outcome {
        let tools = self.0.list_tools(None).await.map_err(text)?.tools;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        let wanted = word(step, "has");
        check(names.contains(&wanted), format!("no {wanted} in {names:?}"))
    }

    async fn schema(&self, step: &Value) -> Outcome {
        let tools = self.0.list_tools(None).await.map_err(text)?.tools;
        let tool = tools.iter().find(|tool| tool.name == word(step, "tool"));
        let tool = tool.ok_or("the tool is not listed")?;
        check(json!(tool.input_schema) == step["is"], format!("{:?}", tool.input_schema))
    }

    /// As many calls at the same time, each of which tells of its progress under its own token.
    async fn progress(&self, step: &Value, count: usize) -> Outcome {
        self.told().progress.lock().unwrap().clear();
        let calls = (0..count).map(|_| self.say(step));
        for text in futures_util::future::join_all(calls).await {
            has(step, text?)?;
        }
        let wanted: Vec<f64> = typed(step["seen"].clone());
        // The client hands on what it is told beside the answers.
        let all = || self.told().progress.lock().unwrap().len() >= count * wanted.len();
        until(all, "all the progress").await?;
        let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (token, progress) in self.told().progress.lock().unwrap().iter() {
            seen.entry(format!("{token:?}")).or_default().push(*progress);
        }
        let is_whole = seen.len() == count && seen.values().all(|progress| *progress == wanted);
        check(is_whole, format!("progress {seen:?}"))
    }

    async fn cancel(&self, step: &Value) -> Outcome {
        self.told().progress.lock().unwrap().clear();
        let has_begun = || !self.told().progress.lock().unwrap().is_empty();
        // A call that is given up tells the server so.
        tokio::select! {
            answer = self.say(step) => return Err(format!("answered: {answer:?}")),
            begun = until(has_begun, "the first progress") => begun?,
        }
        // The word travels beside the next request, so it may arrive after it.
        let then = &step["then"];
        while has(then, self.say(then).await?).is_err() {
            sleep(POLL).await;
        }
        Ok(())
    }

    /// A call that is answered with a task, whose result is asked for until it is there.
    async fn task(&self, step: &Value) -> Outcome {
        let begun = self.0.call_tool_once(parameters(step)).await.map_err(text)?;
        let CallToolResponse::Task(begun) = begun else {
            return Err(format!("no task: {begun:?}"));
        };
        loop {
            let params = GetTaskParams::new(begun.task.task_id.as_str());
            let task = self.0.get_task(params).await.map_err(text)?.task;
            if task.status().is_terminal() {
                return has(step, serde_json::to_string(&task).map_err(text)?);
            }
            sleep(POLL).await;
        }
    }

    async fn watch(&self, step: &Value) -> Outcome {
        let uri = word(step, "uri");
        if self.is_modern() {
            let filter = SubscriptionFilter::builder().resource_subscription(uri).build();
            let stream = self.0.listen(filter).await.map_err(text)?;
            self.say(step).await?;
            return heard(stream, |told| {
                matches!(told, ServerNotification::ResourceUpdatedNotification(update) if update.params.uri == uri)
            })
            .await;
        }
        self.0.subscribe(typed(json!({"uri": uri}))).await.map_err(text)?;
        self.say(step).await?;
        let is_updated = || self.told().updated.lock().unwrap().iter().any(|one| one == uri);
        until(is_updated, "an update").await?;
        self.0.unsubscribe(typed(json!({"uri": uri}))).await.map_err(text)
    }

    async fn changed(&self, step: &Value) -> Outcome {
        if self.is_modern() {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            let stream = self.0.listen(filter).await.map_err(text)?;
            self.say(step).await?;
            let is_change =
                |told: &_| matches!(told, ServerNotification::ToolListChangedNotification(_));
            return heard(stream, is_change).await;
        }
        self.say(step).await?;
        until(|| self.told().changed.load(Ordering::Relaxed) > 0, "a changed list").await
    }

    async fn log(&self, step: &Value) -> Outcome {
        let mut params = parameters(step);
        if self.is_modern() {
            params.meta = typed(json!({"io.modelcontextprotocol/logLevel": "debug"}));
        } else {
            self.0.set_level(typed(json!({"level": "debug"}))).await.map_err(text)?;
        }
        said(self.0.call_tool(params)).await?;
        until(|| self.told().logged.load(Ordering::Relaxed) > 0, "a line of the log").await
    }
}

fn word<'a>(step: &'a Value, member: &str) -> &'a str {
    step[member].as_str().expect("a word")
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn text(error: impl ToString) -> String {
    error.to_string()
}

fn parameters(step: &Value) -> CallToolRequestParams {
    typed(json!({"name": step["tool"], "arguments": step["arguments"]}))
}

/// An answer as JSON.
async fn said<T: Serialize>(
    answer: impl Future<Output = Result<T, ServiceError>>,
) -> Result<String, String> {
    serde_json::to_string(&answer.await.map_err(text)?).map_err(text)
}

/// Reads the stream until this is told on it, and ends it.
async fn heard(mut stream: Subscription, is_it: impl Fn(&ServerNotification) -> bool) -> Outcome {
    while let Some(told) = stream.next().await.map_err(text)? {
        if is_it(&told) {
            return stream.cancel().await.map_err(text);
        }
    }
    Err("the stream of changes ended".to_owned())
}

fn check(holds: bool, why: String) -> Outcome {
    if holds { Ok(()) } else { Err(why) }
}

fn has(step: &Value, said: String) -> Outcome {
    check(said.contains(word(step, "text")), said)
}

async fn until(holds: impl Fn() -> bool, what: &str) -> Outcome {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            sleep(POLL).await;
        }
    });
    waited.await.map_err(|_| format!("never came: {what}"))
}
