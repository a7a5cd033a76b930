//! What costs customers differently after a move from paygate-mcp, one line each.
//!
//! Only what this configuration leaves to a default that differs, or says in words that meant
//! something else there. Fractional prices are no line here: they are errors, with the scaling that
//! would keep them.

use super::draft::Draft;

/// The lines for this configuration.
pub(super) fn lines(draft: &Draft) -> Vec<&'static str> {
    let lines = [
        (
            draft.refund_on_failure.is_none(),
            "[refundOnFailure] Calls that the server answers with an error are free now; \
             paygate-mcp charged them. Set it to false to charge.",
        ),
        (
            draft.default_credits == Some(0),
            "[defaultCreditsPerCall] 0 makes calls free; paygate-mcp took 0 for 1.",
        ),
        (
            draft.rate_limit_per_min == Some(0),
            "[globalRateLimitPerMin] 0 is unlimited; paygate-mcp took 0 for 60.",
        ),
        (
            draft.shadow_mode.as_ref().is_some_and(|shadow| shadow.value),
            "[shadowMode] Nothing is charged; paygate-mcp charged the calls that it would have let \
             through.",
        ),
        (
            draft.tools.values().any(|tool| tool.credits_per_call.is_none()),
            "[toolPricing] A tool with an entry that names no price has the default one; paygate-mcp \
             refused every call of it.",
        ),
        (
            !draft.import_keys.is_empty(),
            "[importKeys] A key keeps what it has spent; paygate-mcp gave it its credits again at \
             every start.",
        ),
        (
            draft.rate_limit_per_min != Some(0),
            "[globalRateLimitPerMin] Each call of a batch counts; paygate-mcp counted a batch once.",
        ),
    ];
    lines.into_iter().filter(|(holds, _)| *holds).map(|(_, line)| line).collect()
}

/// The lines as a section of a report; empty without any.
pub(super) fn section(lines: &[&str]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut section = "For customers who come from paygate-mcp:\n".to_owned();
    for line in lines {
        section.extend(["  NOTE   ", line, "\n"]);
    }
    section
}
