//! Nothing is left behind, whatever clients and servers do.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Session, initialize, rpc};
use crate::support::{Paygate, Setup, eventually};
use crate::{children, descendants, rich_key, start};

fn open_files(paygate: &Paygate) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", paygate.pid())).unwrap().count()
}

/// The pid of a sleeper that a session's server has put into a session of its own.
fn sleeper(session: &Session<'_>) -> String {
    session.tool("spawn_grandchild", &json!({}))
}

fn is_gone(pid: &str) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Opens a session and leaves it in one of many rude ways.
fn leave(paygate: &Paygate, key: &str, way: usize) {
    if way.is_multiple_of(8) {
        // Before the server has answered.
        drop(initialize(key, "2025-11-25").open(&paygate.address).unwrap());
        return;
    }
    let mut id = String::new();
    // Places come back when idle sessions end.
    eventually("there is a place", || {
        let opened = paygate.send(&initialize(key, "2025-11-25"));
        opened.header("Mcp-Session-Id").unwrap_or_default().clone_into(&mut id);
        assert!(!id.is_empty() || opened.error_reason() == "sessions_full", "{}", opened.text());
        !id.is_empty()
    });
    let session = Session { paygate, key: key.to_owned(), id, result: Value::Null };
    match way % 8 {
        1 => {
            // With something unread, so that the connection is reset.
            let mut stream = session.listening(None).open(&paygate.address).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        2 => {
            // In the middle of a call.
            let call =
                rpc(&json!(1), "tools/call", &json!({"name": "sleep", "arguments": {"ms": 500}}));
            drop(session.request(&call).open(&paygate.address).unwrap());
        }
        3 => {
            session.call("crash", &json!({}));
        }
        4 => drop(session.end()),
        5 => {
            // In the middle of an answer.
            let call = rpc(
                &json!(1),
                "tools/call",
                &json!({"name": "big", "arguments": {"bytes": 1_000_000}}),
            );
            let mut stream = session.request(&call).open(&paygate.address).unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
        }
        6 => {
            sleeper(&session);
            session.end();
        }
        _ => {}
    }
}

#[test]
fn a_thousand_sessions_that_are_left_rudely_leave_nothing_behind() {
    let config = json!({"sessionIdleSeconds": 1, "maxChildren": 64, "globalRateLimitPerMin": 0});
    let paygate = Setup::new().ephemeral().without_child_log().config(config).start();
    let keys = [(); 4].map(|()| paygate.create_key(&json!({"credits": 100_000})).0);
    eventually("it is ready", || children(&paygate).len() == 1);
    let before = open_files(&paygate);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| {
                loop {
                    let way = next.fetch_add(1, Ordering::Relaxed);
                    if way >= 1000 {
                        return;
                    }
                    leave(&paygate, key, way);
                    assert!(children(&paygate).len() <= 65 + 8, "more processes than places");
                }
            });
        }
    });
    eventually("every server has ended", || descendants(&paygate).len() == 1);
    eventually("every file is closed", || open_files(&paygate) <= before + 2);
    let session = Session::open(&paygate, &keys[0]);
    assert_eq!(session.tool("instant", &json!({"nonce": "n"})), "n");
}

#[test]
fn what_left_the_tree_of_a_sessions_server_ends_with_it() {
    let setup = Setup::new().ephemeral();
    let script = setup.dir().file("daemons.py");
    // A daemon as they make themselves: twice forked, in a session of its own, no pipe of its parent.
    let text = r#"
import json, os, sys, time
def daemon():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, b"%d" % os.getpid())
            for fd in (0, 1, 2, read, write):
                os.close(fd)
            time.sleep(1000)
        os._exit(0)
    os.wait()
    return int(os.read(read, 20))
for line in sys.stdin:
    message = json.loads(line)
    result = None
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "d", "version": "1"}}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": "daemon", "inputSchema": {"type": "object"}}]}
    elif message["method"] == "tools/call":
        result = {"content": [{"type": "text", "text": str(daemon())}]}
    if result is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;
    std::fs::write(&script, text).unwrap();
    let paygate = setup.server(format!("python3 {}", script.display())).start();
    let key = rich_key(&paygate);
    let sessions = [(); 4].map(|()| Session::open(&paygate, &key));
    let daemons = sessions.each_ref().map(|session| session.tool("daemon", &json!({})));
    assert!(!daemons.iter().any(|pid| is_gone(pid)));
    // The shared server and two of the sessions are older than the third; all of them live on.
    assert_eq!(sessions[2].end().status, 200);
    eventually("its daemon is gone", || is_gone(&daemons[2]));
    for index in [0, 1, 3] {
        assert!(!is_gone(&daemons[index]), "{index} belongs to another session");
    }
    paygate.stop().expect_success();
    assert!(daemons.iter().all(|pid| is_gone(pid)), "{daemons:?}");
}

#[test]
fn every_way_of_stopping_ends_all_servers() {
    for signals in [&[Signal::TERM][..], &[Signal::INT], &[Signal::TERM, Signal::TERM]] {
        let mut paygate = start(json!({}));
        let key = rich_key(&paygate);
        let sessions = [(); 5].map(|()| Session::open(&paygate, &key));
        let sleepers = sessions.each_ref().map(sleeper);
        let pids = children(&paygate);
        assert_eq!(pids.len(), 6);
        drop(sessions);
        for signal in signals {
            paygate.signal(*signal);
        }
        paygate.wait();
        let left: Vec<_> =
            pids.iter().map(i32::to_string).chain(sleepers).filter(|pid| !is_gone(pid)).collect();
        assert!(left.is_empty(), "{signals:?} left {left:?}");
    }
}

#[test]
fn a_paygate_that_is_killed_takes_the_servers_stdin_with_it() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    drop([(); 3].map(|()| Session::open(&paygate, &key)));
    let pids = children(&paygate);
    assert_eq!(pids.len(), 4);
    paygate.kill9();
    eventually("all have ended by themselves", || pids.iter().all(|pid| is_gone(&pid.to_string())));
}
