//! `paygate wrap --dry-run`: starts the server, shows what it would sell at which price, and ends.
//!
//! Nothing listens and no books are opened, so that it can be run beside a Paygate that serves.

use std::fmt::Write as _;

use super::output;
use crate::app;
use crate::config::{Config, Environment};

/// Width of the columns with names and with prices, as in paygate-mcp.
const NAME_WIDTH: usize = 30;
const PRICE_WIDTH: usize = 15;
const RULE_WIDTH: usize = 60;

/// Discovers the tools; that they could not be discovered is the error.
pub(super) async fn run(config: &Config) -> Result<(), String> {
    output::print(&format!("  ── DRY RUN {}", "─".repeat(RULE_WIDTH - 11)));
    output::print("  Discovering tools from backend…");
    let found = app::discover(config, Environment::inherited()).await;
    let ended = "  Dry run complete — shutting down.";
    match found {
        Ok(tools) => {
            output::print(&format!("{}{ended}", table(config, &tools)));
            Ok(())
        }
        Err(why) => {
            output::print(&format!("  Could not discover tools: {why}\n{ended}"));
            Err(format!("paygate: {why}"))
        }
    }
}

fn table(config: &Config, tools: &[String]) -> String {
    if tools.is_empty() {
        return "  No tools discovered.\n".to_owned();
    }
    let rule = "─".repeat(RULE_WIDTH);
    let mut text = format!("  Discovered {} tool(s):\n  {rule}\n", tools.len());
    let mut row = |name: &str, price: &str, rate: &str| {
        writeln!(text, "  {name:<NAME_WIDTH$}{price:<PRICE_WIDTH$}{rate}").ok();
    };
    row("Tool", "Credits/Call", "Rate Limit");
    let (default_credits, key_rate) = (config.pricing.default_credits, config.rate_limit_per_min);
    for tool in tools {
        let own = config.pricing.tools.get(tool);
        let price = own.map_or(default_credits, |own| own.credits_per_call);
        let tool_rate = own.map(|own| own.rate_limit_per_min).filter(|limit| *limit > 0);
        // The server decides what its tools are called, and this goes to a terminal.
        let name: String = tool.chars().filter(|character| !character.is_control()).collect();
        row(&name, &price.to_string(), &rate(tool_rate.unwrap_or(key_rate)));
    }
    let key_rate = rate(key_rate);
    format!(
        "{text}  {rule}\n  Default price: {default_credits} credit(s) per call\n  Global rate limit: {key_rate}\n"
    )
}

fn rate(limit: i64) -> String {
    if limit == 0 { "unlimited".to_owned() } else { format!("{limit}/min") }
}
