//! The words for what became of a call, as the journal, usage and metrics have them.

use super::denial::Denial;

/// How calls end; a refund is listed among them.
const ENDS: [&str; 19] = [
    "result",
    "tool_error",
    "error",
    "timeout",
    "cancelled",
    "upstream_unavailable",
    "upstream_exited",
    "malformed_answer",
    "answer_too_large",
    "input_required",
    "task",
    "task_lost",
    "not_kept",
    "store_unavailable",
    "internal_error",
    "expire",
    "recover",
    "refund",
    "shadow",
];

/// Is this the word of an outcome or of a refusal's reason? Shadow mode records what would have been a reason.
pub fn is_outcome(word: &str) -> bool {
    let reason = word.strip_prefix("shadow:").unwrap_or(word);
    ENDS.contains(&word) || Denial::WORDS.contains(&reason)
}

/// All of them, for a message.
pub fn outcomes() -> String {
    let ends = ENDS.join(", ");
    format!("{ends}, {}; shadow: before one of the latter", Denial::WORDS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_ends_and_of_reasons() {
        for word in ["result", "shadow", "rate_limited", "shadow:rate_limited"] {
            assert!(is_outcome(word), "{word}");
        }
        for word in ["", "foo", "Result", "shadow:", "shadow:result", "rate_limited:"] {
            assert!(!is_outcome(word), "{word}");
        }
    }

    #[test]
    fn the_words_of_reasons_are_those_that_denials_have() {
        let source = include_str!("denial.rs");
        let (_, word) = source.split_once("fn word(&self)").unwrap();
        let (word, _) = word.split_once("\n    }\n").unwrap();
        let found: Vec<&str> = word.split('"').skip(1).step_by(2).collect();
        assert_eq!(found, Denial::WORDS);
    }
}
