//! A conversation as it is written down, and how it is held.

use crate::normal::{asked_id, normal};

/// Where a client's end of a conversation is.
pub trait Wire {
    fn send(&mut self, message: &str);

    /// The next message of the server; `None` if none comes.
    fn receive(&mut self) -> Option<String>;
}

enum Line {
    Send(String),
    /// Wait for so many messages.
    InOrder(usize),
    InAnyOrder(usize),
}

/// What every request since 2026-07-28 has in its `_meta`.
const MODERN: &str = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientCapabilities\":{\"elicitation\":{}}";

pub struct Conversation(Vec<Line>);

impl Conversation {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let count = |text: &str| text.trim().parse().expect("a number of messages");
        Self(
            lines
                .map(|line| match line.split_at(1) {
                    (">", message) => Line::Send(message.trim_start().replace("$MODERN", MODERN)),
                    ("<", number) => Line::InOrder(count(number)),
                    ("~", number) => Line::InAnyOrder(count(number)),
                    _ => panic!("not a line of a conversation: {line}"),
                })
                .collect(),
        )
    }

    /// Holds it, and gives what each wait saw. After a message that does not come, the rest of that
    /// wait is left out.
    pub fn play(&self, wire: &mut dyn Wire) -> Vec<Vec<String>> {
        let mut asked = String::from("null");
        let mut seen = Vec::new();
        for line in &self.0 {
            let (count, is_ordered) = match line {
                Line::Send(message) => {
                    wire.send(&message.replace("$ASKED", &asked));
                    continue;
                }
                Line::InOrder(count) => (*count, true),
                Line::InAnyOrder(count) => (*count, false),
            };
            let mut messages: Vec<String> =
                std::iter::from_fn(|| wire.receive()).take(count).collect();
            if let Some(id) = messages.iter().rev().find_map(|message| asked_id(message)) {
                asked = id;
            }
            messages = messages.iter().map(|message| normal(message)).collect();
            if !is_ordered {
                messages.sort();
            }
            seen.push(messages);
        }
        seen
    }
}
