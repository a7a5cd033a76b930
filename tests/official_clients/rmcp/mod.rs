//! The official Rust client, which follows a plan inside this process.
//!
//! It brings HTTP only with a large library of its own or for Unix sockets; so it gets a Unix socket, and
//! what it writes there is carried to the port of Paygate as it is.
#![expect(
    deprecated,
    reason = "what the newest version does without is still served to all others"
)]

mod steps;

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::rmcp::model::{
    ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ErrorData, Implementation, ListRootsResult,
    LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken, ProtocolVersion,
    ResourceUpdatedNotificationParam,
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
use tokio::time::timeout;

use crate::clients::{Era, Reached, StepResult, name_of};
use crate::support::{TASKS, TempDir};
use steps::{Outcome, Steps};

const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Follows the plan over one connection.
pub fn run(paygate: &Reached, era: Era, steps: &[Value]) -> Vec<StepResult> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let files = TempDir::new();
        let client = match connect(paygate, era, &files).await {
            Ok(client) => Steps(client),
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
        client.0.cancel().await.expect("the connection ends");
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
    /// Under which token, and how far.
    progress: Mutex<Vec<(ProgressToken, f64)>>,
    updated: Mutex<Vec<String>>,
    logged: AtomicUsize,
    changed: AtomicUsize,
}

/// A value of one of the client's types, most of which cannot be written down.
fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the client's own type")
}

impl ClientHandler for Told {
    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities = typed(
            json!({"sampling": {}, "elicitation": {}, "roots": {}, "extensions": {TASKS: {}}}),
        );
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
        self.progress.lock().unwrap().push((progress.progress_token, progress.progress));
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
        self.logged.fetch_add(1, Ordering::Relaxed);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.fetch_add(1, Ordering::Relaxed);
    }
}
