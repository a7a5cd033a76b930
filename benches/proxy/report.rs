//! Numbers for people: medians with their spread, and tables in Markdown.

use std::fs;
use std::time::Duration;

/// A median and what it lies between.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first(), values.last());
        let (Some(&min), Some(&max)) = (first, last) else { panic!("nothing was measured") };
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self { median, min, max }
    }
}

/// Microseconds, or milliseconds from 10 ms on.
pub fn time(seconds: f64) -> String {
    if seconds.abs() < 0.01 {
        format!("{:.0} µs", seconds * 1e6)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Rows of cells, printed as a Markdown table with aligned columns.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn to_markdown(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let pad = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            cells.map(|(cell, width)| format!("{cell:<width$}")).collect()
        };
        let mut text = line(pad(&self.rows[0]));
        text += &line(widths.iter().map(|width| "-".repeat(*width)).collect());
        for row in &self.rows[1..] {
            text += &line(pad(row));
        }
        text
    }
}

/// Whether a goal was met: by the median, or only by the better end of the spread, which counts but
/// is said; more repeats make that end easier to reach.
pub fn goal(what: &str, by_median: bool, by_spread: bool, measured: &str) -> String {
    let verdict = match (by_median, by_spread) {
        (true, _) => "met",
        (false, true) => "met inside the spread only",
        (false, false) => "**missed**",
    };
    format!("- {what}: {measured}, {verdict}\n")
}

/// The machine and the day, without which no number means anything.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(':').nth(1)).map_or("unknown CPU", str::trim);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    format!("{day}, {model}, {cores} cores, Linux {}\n", kernel.trim())
}
