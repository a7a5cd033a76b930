//! The text form of Prometheus.

use std::fmt::Write;

/// A page of metrics that grows at its end.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a metric.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One value of it; labels in the order of their names.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{end} {value}"));
    }

    /// A metric with one value.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.value(name, &[], value);
    }

    /// A counter by labels; left out while there is nothing to count.
    pub fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, u64)>,
    ) {
        let mut values = values.into_iter().filter(|(_, value)| *value > 0).peekable();
        if values.peek().is_none() {
            return;
        }
        self.family(name, "counter", help);
        for (labels, value) in values {
            self.value(name, &labels, value);
        }
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a text cannot fail.
        if self.0.write_fmt(text).is_ok() {
            self.0.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_counters_left_out() {
        let mut page = Page::default();
        page.gauge("up", "Is it up", 1);
        page.counter("none", "Nothing", [(vec![("tool", "a")], 0)]);
        page.counter("calls", "Calls", [(vec![("status", "ok"), ("tool", "a\"\\\nb")], 2)]);
        assert_eq!(
            page.into_text(),
            "# HELP up Is it up\n# TYPE up gauge\nup 1\n# HELP calls Calls\n# TYPE calls counter\n\
             calls{status=\"ok\",tool=\"a\\\"\\\\\\nb\"} 2\n"
        );
    }
}
