//! Writes `docs/reference/config.md` from the registry. A test compares it with what is committed.

use std::fmt::Write as _;

use super::environment::{
    ADMIN_KEY_FILE_VARIABLE, ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, CA_VARIABLE, LOG_VARIABLE,
    URL_VARIABLE,
};
use super::key::{Key, Read};
use super::keys::TOP_LEVEL;
use super::keys_alerts::ALERT_RULES;
use super::keys_inside::{GLOBAL_QUOTA, METHOD_PRICING, RETENTION, TLS, TOOL_PRICING};
use super::keys_redis::INSIDE as REDIS;
use super::keys_servers::SERVERS;
use super::settings::LOG_DEFAULT;

const INTRODUCTION: &str = "\
# The configuration file

<!-- Generated from src/config/keys.rs. To renew it: UPDATE_REFERENCE=1 cargo test --test config -->

`paygate wrap --config FILE` reads one JSON object; comments and a comma after the last member are
allowed. A flag wins over the file, the file over the environment. Every mistake is reported at
once, with its line and column, and Paygate does not start: an unknown key, a key given twice, a
value out of range, a fraction of a credit. Zero means zero.

`${NAME}` in any text is that environment variable, `${file:PATH}` the content of that file without the
end of its last line, and `$${` stands for `${`. A variable that a secret of Paygate names (`redisUrl`,
`redis.sentinelPassword`, `adminKey`, `metricsToken`, `webhookUrl`, `webhookSecret`, `remoteUrl`, `upstreamHeaders`)
is not passed on to a guarded server, unless `childEnv` gives it one of that name. `paygate validate --config FILE` checks a file and
starts nothing; [`config.schema.json`](config.schema.json), which `paygate config schema` prints, tells
editors what may stand where.

SIGHUP or `POST /config/reload` reads all of it again while calls go on. A file with a mistake changes
nothing. A good one holds whole for every call that comes after it; what needs a new start (where it
listens, the books, the server, the admin key, `maxRequestTimeoutMs`, sizes, `isolation`, `retention`)
is named in the answer and in the log, and keeps its value.

[`paygate.example.json`](../../paygate.example.json) shows most keys in use.
";

const SEVERAL: &str = "
Clients see one server that has the tools, prompts and resources of all. A tool or prompt is called
`prefix`, `toolSeparator`, own name: so it is called in `toolPricing`, in lists of allowed and denied
tools, in usage and in limits, too. URIs of resources stay as they are: one belongs to the first
server, in the order of this list, that lists it or has a template for it; what nobody lists is tried
with each server in turn. A server that does not start or ends is started again while the others
work; until it is there, its tools are not. Paygate refuses to start only if no server starts.
Clients of the era without handshakes are served if all servers speak it; otherwise they are told to
begin with a handshake, in which they find all of them.
";

const CERTIFICATE: &str = "
Both are needed; the port then speaks HTTPS alone, with TLS 1.2 and 1.3. Files that cannot be used keep
Paygate from starting, and a certificate that has expired is warned about. A reload reads the files again:
new connections are shown the new certificate, and one that cannot be used leaves all as it was. To begin
or to cease with TLS takes a new start.
";

const METHODS: &str = "
`initialize`, `ping`, `server/discover`, `subscriptions/listen`, notifications and `tasks/*` cannot
have a price, and calls of tools have theirs in `toolPricing`. A method is no tool: `allowedTools`
and `deniedTools` say nothing about it, and a tool of the same name is counted and priced apart. Its
usage is listed under the method's name.
";

const ALERTS: &str = "
[api.md](api.md#alerts) says when each fires. With this key the rules are those of the file, at the start and
after each reload; `POST /alerts` is refused. Without it they are those of the last `POST /alerts`.
";

/// The text of the reference page.
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "Keys", TOP_LEVEL);
    section(&mut page, "`servers`: an entry", SERVERS);
    page.push_str(SEVERAL);
    section(&mut page, "`toolPricing`: an entry", TOOL_PRICING);
    section(&mut page, "`methodPricing`: an entry", METHOD_PRICING);
    page.push_str(METHODS);
    section(&mut page, "`globalQuota`", GLOBAL_QUOTA);
    page.push_str("\nDays and months are UTC. ");
    page.push_str("The names in brackets are accepted too.\n");
    section(&mut page, "`retention`", RETENTION);
    section(&mut page, "`tls`", TLS);
    page.push_str(CERTIFICATE);
    section(&mut page, "`redis`", REDIS);
    section(&mut page, "`alertRules`: an entry", ALERT_RULES);
    page.push_str(ALERTS);
    let environment = format!(
        "\n## Environment\n\n\
         | variable | what |\n|---|---|\n\
         | `{ADMIN_KEY_VARIABLE}` | Key of the admin API, if neither flag nor file gives one. |\n\
         | `{ADMIN_KEY_FILE_VARIABLE}` | File that holds that key. |\n\
         | `{API_KEY_VARIABLE}` | Key of the client on stdin and stdout (`--stdio`), if `--api-key` gives none. |\n\
         | `{URL_VARIABLE}` | Where a running Paygate is, for the commands that speak to one. |\n\
         | `{CA_VARIABLE}` | File of certificates in PEM form that these commands trust beside the system's. |\n\
         | `{LOG_VARIABLE}` | Which lines of the log go to stderr: `error`, `warn`, `info`, `debug` or \
         `trace`, or a filter such as `info,upstream=debug`. `{LOG_DEFAULT}` if it is not set. |\n\n\
         Any other variable that begins with `PAYGATE_` is warned about.\n"
    );
    page.push_str(&environment);
    page.push_str("\n## Known, and refused by this version\n\n");
    for key in TOP_LEVEL {
        if matches!(key.read, Read::NotBuilt) {
            line(&mut page, format_args!("- `{}`: {}", key.name, key.about));
        }
    }
    page
}

fn section<T>(page: &mut String, heading: &str, keys: &[Key<T>]) {
    line(page, format_args!("\n## {heading}\n"));
    page.push_str("| key | value | default | flag | what |\n|---|---|---|---|---|\n");
    for key in keys {
        if matches!(key.read, Read::NotBuilt) {
            continue;
        }
        let alias = match key.alias {
            "" => String::new(),
            alias => format!(" (`{alias}`)"),
        };
        let flag = match key.flag {
            "" => String::new(),
            flag => format!("`{flag}`"),
        };
        let (name, kind, fallback, about) = (key.name, key.kind, key.fallback, key.about);
        line(page, format_args!("| `{name}`{alias} | {kind} | {fallback} | {flag} | {about} |"));
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if writeln!(page, "{text}").is_err() {
        page.push('\n');
    }
}
