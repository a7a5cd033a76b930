//! The official Rust client, which follows a plan inside this process.
//!
//! It brings HTTP only with a large library of its own or for Unix sockets; so it gets a Unix socket, and
//! what it writes there is carried to the port of Paygate as it is.
#![expect(
    deprecated,
    reason = "what the newest version does without is still served to all others"
)]

use std::collections::HashMap;
use std::future::Future;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use ::rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequestParams, ElicitResult, ErrorData, Implementation,
    ListRootsResult, LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
    ResourceUpdatedNotificationParam, ServerNotification, SubscriptionFilter,
};
use ::rmcp::service::{NotificationContext, RequestContext, RunningService};
use ::rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use ::rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use ::rmcp::{ClientHandler, ClientLifecycleMode, RoleClient, serve_client_with_lifecycle};
use hyper::header::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::copy;
use tokio::net::{TcpStream, UnixListener};
use tokio::time::{sleep, timeout};

use crate::clients::{Era, Reached, StepResult, name_of};
use crate::support::TempDir;

const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

type Outcome = Result<(), String>;

/// Follows the plan over one connection.
pub fn run(paygate: &Reached, era: Era, steps: &[Value]) -> Vec<StepResult> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let files = TempDir::new();
        let client = match connect(paygate, era, &files).await {
            Ok(client) => Steps { client },
            Err(why) => {
                let why = format!("no connection: {why}");
                return steps.iter().map(|step| result(step, Err(why.clone()))).collect();
            }
        };
        let mut results = Vec::new();
        for step in steps {
            let outcome = timeout(STEP_TIMEOUT, client.follow(step)).await;
            results.push(result(step, outcome.unwrap_or_else(|_| Err("timed out".to_owned()))));
        }
        client.client.cancel().await.expect("the connection ends");
        results
    })
}

fn result(step: &Value, outcome: Outcome) -> StepResult {
    let passed = outcome.is_ok();
    StepResult { step: name_of(step).to_owned(), passed, why: outcome.err().unwrap_or_default() }
}

type Connection = RunningService<RoleClient, Told>;

async fn connect(paygate: &Reached, era: Era, files: &TempDir) -> Result<Connection, String> {
    let lifecycle = match era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Auto => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::LATEST],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    };
    let told = Told::default();
    let connection = match paygate {
        Reached::Url { url, key } => {
            let socket = files.file("paygate.sock");
            let address = url.split('/').nth(2).expect("a URL has an address").to_owned();
            tokio::spawn(carry(UnixListener::bind(&socket).expect("a socket"), address));
            let key = HeaderValue::from_str(key).expect("a plain key");
            let headers = HashMap::from([(HeaderName::from_static("x-api-key"), key)]);
            let config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
            let config = config.custom_headers(headers);
            let socket = socket.to_str().expect("a plain path");
            let transport =
                StreamableHttpClientTransport::from_unix_socket_with_config(socket, config);
            serve_client_with_lifecycle(told, transport, lifecycle).await
        }
        Reached::Command { command, env, .. } => {
            let mut process = tokio::process::Command::new(&command[0]);
            process.args(&command[1..]);
            let env = env.as_object().expect("names and values").iter();
            process.envs(env.map(|(name, value)| (name, value.as_str().expect("a text"))));
            let transport = TokioChildProcess::builder(process).stderr(Stdio::null()).spawn();
            let (transport, _) = transport.expect("Paygate starts");
            serve_client_with_lifecycle(told, transport, lifecycle).await
        }
    };
    connection.map_err(|error| error.to_string())
}

/// Carries every connection of the socket to this address until one of its sides ends it.
async fn carry(socket: UnixListener, address: String) {
    while let Ok((mut near, _)) = socket.accept().await {
        let mut far = TcpStream::connect(&address).await.expect("Paygate listens");
        tokio::spawn(async move {
            let (mut from_client, mut to_client) = near.split();
            let (mut from_paygate, mut to_paygate) = far.split();
            tokio::select! {
                ended = copy(&mut from_client, &mut to_paygate) => ended,
                ended = copy(&mut from_paygate, &mut to_client) => ended,
            }
        });
    }
}

/// What the client was told beside its answers.
#[derive(Default)]
struct Told {
    progress: Mutex<Vec<f64>>,
    updated: Mutex<Vec<String>>,
    logged: Mutex<usize>,
}

/// A value of one of the client's types, most of which cannot be written down.
fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the client's own type")
}

impl ClientHandler for Told {
    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities =
            typed(json!({"sampling": {}, "elicitation": {}, "roots": {}}));
        ClientConfig::new(capabilities, Implementation::new("rmcp", "1.0.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let content = json!({"type": "text", "text": "sampled answer"});
        Ok(typed(json!({"role": "assistant", "content": content, "model": "test-model"})))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(typed(json!({"action": "accept", "content": {"name": "elicited answer"}})))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        Ok(typed(json!({"roots": [{"uri": "file:///rooted/answer", "name": "rooted"}]})))
    }

    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().unwrap().push(progress.progress);
    }

    async fn on_resource_updated(
        &self,
        update: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.updated.lock().unwrap().push(update.uri);
    }

    async fn on_logging_message(
        &self,
        _: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        *self.logged.lock().unwrap() += 1;
    }
}

/// One connection and the kinds of steps.
struct Steps {
    client: Connection,
}

impl Steps {
    async fn follow(&self, step: &Value) -> Outcome {
        match step["do"].as_str().expect("a step says what to do") {
            "version" => check(self.version() == step["is"], self.version()),
            "list" => self.list(step).await,
            "call" => self.call(step).await,
            "progress" => self.progress(step).await,
            "cancel" => self.cancel(step).await,
            "watch" => self.watch(step).await,
            "log" => self.log(step).await,
            "read" => {
                let params = typed(json!({"uri": step["uri"]}));
                has(step, said(self.client.read_resource(params)).await?)
            }
            "prompt" => {
                let params = typed(json!({"name": step["name"], "arguments": step["arguments"]}));
                has(step, said(self.client.get_prompt(params)).await?)
            }
            unknown => panic!("a client cannot {unknown}"),
        }
    }

    fn version(&self) -> String {
        let server = self.client.peer().peer_info().expect("they know each other");
        server.protocol_version.to_string()
    }

    fn is_modern(&self) -> bool {
        self.version().as_str() >= ProtocolVersion::LATEST.as_str()
    }

    fn told(&self) -> &Told {
        self.client.service()
    }

    async fn list(&self, step: &Value) -> Outcome {
        let tools = self.client.list_tools(None).await.map_err(|error| error.to_string())?.tools;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        let wanted = step["has"].as_str().expect("a name");
        check(names.contains(&wanted), format!("no {wanted} in {names:?}"))
    }

    /// What the tool of this step says.
    async fn say(&self, step: &Value) -> Result<String, String> {
        said(self.client.call_tool(parameters(step))).await
    }

    async fn call(&self, step: &Value) -> Outcome {
        has(step, self.say(step).await?)
    }

    async fn progress(&self, step: &Value) -> Outcome {
        self.told().progress.lock().unwrap().clear();
        let text = self.say(step).await?;
        let wanted: Vec<f64> = typed(step["seen"].clone());
        // The client hands on what it is told beside the answer.
        let seen = || self.told().progress.lock().unwrap().clone();
        until(|| seen().len() >= wanted.len(), "all the progress").await?;
        check(seen() == wanted, format!("progress {:?}", seen()))?;
        has(step, text)
    }

    async fn cancel(&self, step: &Value) -> Outcome {
        self.told().progress.lock().unwrap().clear();
        // A call that is given up tells the server so.
        tokio::select! {
            answer = self.say(step) => return Err(format!("answered: {answer:?}")),
            begun = until(|| !self.told().progress.lock().unwrap().is_empty(), "the first progress") => begun?,
        }
        // The word travels beside the next request, so it may arrive after it.
        let then = &step["then"];
        loop {
            let text = self.say(then).await?;
            if has(then, text).is_ok() {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    async fn watch(&self, step: &Value) -> Outcome {
        let uri = step["uri"].as_str().expect("a URI");
        let failed = |error: ::rmcp::ServiceError| error.to_string();
        if !self.is_modern() {
            self.client.subscribe(typed(json!({"uri": uri}))).await.map_err(failed)?;
            self.say(step).await?;
            let is_updated = || self.told().updated.lock().unwrap().iter().any(|one| one == uri);
            until(is_updated, "an update").await?;
            return self.client.unsubscribe(typed(json!({"uri": uri}))).await.map_err(failed);
        }
        let filter = SubscriptionFilter::builder().resource_subscription(uri).build();
        let mut stream = self.client.listen(filter).await.map_err(failed)?;
        self.say(step).await?;
        loop {
            match stream.next().await.map_err(failed)? {
                Some(ServerNotification::ResourceUpdatedNotification(update))
                    if update.params.uri == uri =>
                {
                    return stream.cancel().await.map_err(failed);
                }
                Some(_) => {}
                None => return Err("the stream of updates ended".to_owned()),
            }
        }
    }

    async fn log(&self, step: &Value) -> Outcome {
        let mut params: CallToolRequestParams = parameters(step);
        if self.is_modern() {
            let meta = json!({"io.modelcontextprotocol/logLevel": "debug"});
            params.meta = typed(meta);
        } else {
            let debug = typed(json!({"level": "debug"}));
            self.client.set_level(debug).await.map_err(|error| error.to_string())?;
        }
        said(self.client.call_tool(params)).await?;
        until(|| *self.told().logged.lock().unwrap() > 0, "a line of the log").await
    }
}

fn parameters(step: &Value) -> CallToolRequestParams {
    typed(json!({"name": step["tool"], "arguments": step["arguments"]}))
}

/// An answer as JSON.
async fn said<T: serde::Serialize>(
    answer: impl Future<Output = Result<T, ::rmcp::ServiceError>>,
) -> Result<String, String> {
    let answer = answer.await.map_err(|error| error.to_string())?;
    serde_json::to_string(&answer).map_err(|error| error.to_string())
}

fn check(holds: bool, why: String) -> Outcome {
    if holds { Ok(()) } else { Err(why) }
}

fn has(step: &Value, said: String) -> Outcome {
    check(said.contains(step["text"].as_str().expect("something to see")), said)
}

async fn until(holds: impl Fn() -> bool, what: &str) -> Outcome {
    let waited = timeout(STEP_TIMEOUT / 2, async {
        while !holds() {
            sleep(POLL).await;
        }
    });
    waited.await.map_err(|_| format!("never came: {what}"))
}
