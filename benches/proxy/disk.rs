//! What one sync of this disk costs: the unit in which a durable answer is slower.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use crate::contestants::disk_dir;
use crate::report::{seconds, time};
use crate::support::TempDir;

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

    /// The quantile of all samples so far, in seconds.
    pub fn quantile(&self, of_hundred: usize) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * of_hundred / 100).min(sorted.len() - 1)]
    }

    pub fn to_markdown(&self) -> String {
        format!(
            "Append 4 KiB and fdatasync: median {}, p99 {} ({} samples)\n",
            time(self.quantile(50)),
            time(self.quantile(99)),
            self.samples.len()
        )
    }
}
