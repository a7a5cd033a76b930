//! The files of `deploy/`: that they parse, that what they name is there, and that the binary takes
//! their configuration. No container engine runs in the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use paygate::model::bounds;
use serde_json::Value;

use support::TempDir;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file, anchors and merge keys resolved.
fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// `paygate validate` of a text, with some of the environment.
fn validate(text: &str, variables: &[(&str, &str)]) {
    let dir = TempDir::new();
    let file = dir.path().join("paygate.json");
    fs::write(&file, text).unwrap();
    let mut validate = Command::new(env!("CARGO_BIN_EXE_paygate"));
    validate.arg("validate").arg("--config").arg(&file).envs(variables.iter().copied());
    validate.env("PAYGATE_ADMIN_KEY", "a-key-that-all-instances-have");
    let output = validate.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn seconds(text: &Value) -> u64 {
    text.as_str().and_then(|text| text.strip_suffix('s')).expect("seconds").parse().unwrap()
}

#[test]
fn compose_runs_three_instances_with_a_copy_each_on_one_redis() {
    let compose = &documents("deploy/compose.yaml")[0];
    let services = compose["services"].as_object().expect("services");
    let instances: Vec<_> =
        services.iter().filter(|(name, _)| name.starts_with("paygate-")).collect();
    assert_eq!(instances.len(), 3);
    let mut copies = BTreeSet::new();
    for (name, instance) in &instances {
        assert!(instance["environment"]["PAYGATE_ADMIN_KEY"].is_string(), "{name}");
        assert!(seconds(&instance["stop_grace_period"]) > bounds::DRAIN_WAIT.as_secs(), "{name}");
        let volumes = texts(&instance["volumes"]);
        let copy = volumes.iter().find(|volume| volume.ends_with(":/var/lib/paygate"));
        let (copy, _) = copy.expect("a copy").split_once(':').unwrap();
        assert!(compose["volumes"].as_object().unwrap().contains_key(copy), "{copy} is declared");
        assert!(copies.insert(copy), "{copy}: a file that nobody else has open");
    }
    let redis = texts(&services["redis"]["command"]);
    for setting in [["--appendonly", "yes"], ["--maxmemory-policy", "noeviction"]] {
        assert!(redis.windows(2).any(|two| two == setting), "{setting:?}: {redis:?}");
    }
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            if let Some(file) = from.strip_prefix("./") {
                read(&format!("deploy/{file}"));
            }
        }
        for network in texts(&service["networks"]) {
            let known = compose["networks"].as_object().unwrap();
            assert!(known.contains_key(network), "{name}: {network}");
        }
    }
    let subnet = compose["networks"]["inside"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let config = read("deploy/paygate.json");
    assert!(config.contains(subnet), "the balancer, in {subnet}, is believed");
    validate(&config, &[("REDIS_PASSWORD", "secret")]);
}

#[test]
fn the_balancer_knows_all_instances_and_keeps_a_customer_with_one() {
    let compose = &documents("deploy/compose.yaml")[0];
    let text = read("deploy/haproxy.cfg");
    for backend in ["backend instances", "backend unhealthy"] {
        let (_, part) = text.split_once(&format!("\n{backend}\n")).expect("the backend");
        let part = part.split("\nbackend ").next().unwrap();
        let lines = part.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let servers: BTreeSet<_> = lines
            .filter(|words| words.first() == Some(&"server"))
            .map(|words| (words[1].to_owned(), words[2].to_owned()))
            .collect();
        let services = compose["services"].as_object().unwrap().keys();
        let wanted: BTreeSet<_> = services
            .filter(|name| name.starts_with("paygate-"))
            .map(|name| (name.clone(), format!("{name}:3402")))
            .collect();
        assert_eq!(servers, wanted, "{backend}");
        assert!(part.contains("balance hash var(txn.who)"), "{backend}");
    }
    assert!(text.contains("option httpchk GET /health"));
    // What is sent again was not looked at: such a 503 is about /mcp alone.
    assert!(text.contains("\n    retry-on conn-failure 503\n"));
    assert!(text.contains("\n    http-request disable-l7-retry unless { path /mcp }\n"));
    // It has to be kept for that, and go to another.
    assert!(text.contains("\n    option http-buffer-request\n"));
    assert!(text.contains("\n    option redispatch 1\n"));
}

#[test]
fn kubernetes_probes_what_is_there_and_drains() {
    let documents = documents("deploy/kubernetes.yaml");
    let of_kind = |kind: &str| {
        documents
            .iter()
            .find(|document| document["kind"] == kind)
            .unwrap_or_else(|| panic!("{kind}"))
    };
    let set = of_kind("StatefulSet");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let api = read("docs/reference/api.md");
    for probe in ["startupProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert!(api.contains(&format!("| `GET {path}` |")), "{probe}: {path}");
    }
    // Whoever waits for Redis is not restarted for that.
    assert!(container["livenessProbe"]["tcpSocket"].is_object());
    let pause: u64 =
        texts(&container["lifecycle"]["preStop"]["exec"]["command"])[1].parse().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > pause + bounds::DRAIN_WAIT.as_secs(), "{grace}");

    let dockerfile = read("Dockerfile");
    let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(dockerfile.contains(&format!("\nUSER {user}:")));
    let port = container["ports"][0]["containerPort"].as_u64().unwrap();
    assert!(dockerfile.contains(&format!("\nEXPOSE {port}\n")));

    let mounts = container["volumeMounts"].as_array().unwrap();
    let volumes = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]);
    let claims = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
    let there: Vec<_> =
        volumes.chain(claims.iter().map(|claim| &claim["metadata"]["name"])).collect();
    for mount in mounts {
        assert!(there.contains(&&mount["name"]), "{mount}");
    }
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &set["spec"]["selector"]["matchLabels"],
        &of_kind("Service")["spec"]["selector"],
        &of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    assert_eq!(set["spec"]["serviceName"], of_kind("Service")["metadata"]["name"]);
    let secrets = of_kind("Secret")["stringData"].as_object().unwrap();
    assert!(secrets.contains_key("PAYGATE_ADMIN_KEY") && secrets.contains_key("REDIS_URL"));
    let config = of_kind("ConfigMap")["data"]["paygate.json"].as_str().unwrap();
    let config = config.replace("<your-mcp-server>", "server.example.com");
    validate(&config, &[("REDIS_URL", "rediss://paygate:secret@redis.example.com:6379/0")]);
}

/// Everything that the page says of what dies is shown by a test that is there.
#[test]
fn each_row_of_what_may_die_names_its_test() {
    fn collect(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("rs") => all.push_str(&fs::read_to_string(&path).unwrap()),
                None if path.is_dir() => collect(&path, all),
                _ => {}
            }
        }
    }
    let mut tests = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut tests);
    let page = read("docs/several-instances.md");
    let (_, table) = page.split_once("| what happens |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let names = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
            let is_folder = name.starts_with("tests/");
            let is_there = is_folder || tests.contains(&format!("fn {name}()"));
            assert!(is_there, "{name}: {row}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
