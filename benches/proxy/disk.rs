//! What one sync of this disk costs: the unit in which a durable answer is slower.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use crate::contestants::disk_dir;
use crate::report::{seconds, time};
use crate::support::TempDir;

/// Samples that are taken before anything else is measured.
pub const FIRST_SAMPLES: usize = 300;

const BLOCK: [u8; 4096] = [0x5a; 4096];

/// Appends a block and syncs it, again and again.
pub struct Disk {
    file: File,
    _dir: TempDir,
    samples: Vec<f64>,
}

impl Disk {
    pub fn open() -> Self {
        let dir = TempDir::within(&disk_dir());
        let file = File::create(dir.file("sync")).expect("a file can be made");
        Self { file, _dir: dir, samples: Vec::new() }
    }

    /// Takes so many samples. `sync_data` is fdatasync.
    pub fn sample(&mut self, count: usize) {
        for _ in 0..count {
            let began = Instant::now();
            self.file.write_all(&BLOCK).expect("a block can be written");
            self.file.sync_data().expect("a block can be synced");
            self.samples.push(seconds(began.elapsed()));
        }
    }

    /// The lower of two medians: the first samples, taken before any contestant runs, and all of
    /// them. A disk that others keep busy would otherwise make the goals easier.
    pub fn strict_median(&self) -> f64 {
        let first = &self.samples[..self.samples.len().min(FIRST_SAMPLES)];
        quantile(first, 50).min(quantile(&self.samples, 50))
    }

    pub fn to_markdown(&self) -> String {
        format!(
            "Append 4 KiB and fdatasync: median {}, p99 {} ({} samples)\n",
            time(quantile(&self.samples, 50)),
            time(quantile(&self.samples, 99)),
            self.samples.len()
        )
    }
}

/// The quantile of these, in seconds.
fn quantile(samples: &[f64], of_hundred: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * of_hundred / 100).min(sorted.len() - 1)]
}
