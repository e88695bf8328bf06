//! What `cargo xtask bench` makes of its measurements.
//!
//! The guest program (`guest/*.c`) prints one line per result ([`parse`]). A [`Collector`] gathers the results of all
//! rounds of both kernels; [`Comparison`] holds a row per benchmark with medians, spreads and the ratio, and is stored
//! as JSON, shown as a table ([`table`]) and drawn as a chart ([`chart`]). [`baseline`] finds what has become slower.
//!
//! A ratio is Keel's time over Linux's (for rates, Linux's rate over Keel's): below 1.0 Keel is ahead.

pub mod baseline;
pub mod chart;
mod collect;
mod parse;
pub mod table;

pub use collect::{Collector, Kernel};
pub use parse::{Line, parse};

use serde::{Deserialize, Serialize};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds for one operation; or instructions, where those were counted.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Megabytes (10⁶) a second.
    #[serde(rename = "MB/s")]
    Rate,
    /// 1,024 bytes.
    #[serde(rename = "KiB")]
    Kibibytes,
}

impl Unit {
    /// How much worse `keel` is than `linux`, as a factor.
    pub fn ratio(self, keel: f64, linux: f64) -> Option<f64> {
        let (over, under) = match self {
            Self::Rate => (linux, keel),
            Self::Nanoseconds | Self::Kibibytes => (keel, linux),
        };
        (over > 0.0 && under > 0.0).then(|| over / under)
    }
}

/// One kernel's results over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The median of the rounds.
    pub median: f64,
    /// The smallest of the rounds.
    pub low: f64,
    /// The largest of the rounds.
    pub high: f64,
}

impl Series {
    /// The series of these rounds' figures, if there are any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }

    /// Half of what lies between the extremes, relative to the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 {
            (self.high - self.low) / 2.0 / self.median
        } else {
            0.0
        }
    }
}

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its group.
    pub group: String,
    /// Its name within the group.
    pub name: String,
    /// What its figures count.
    pub unit: Unit,
    /// Linux's figures.
    pub linux: Option<Series>,
    /// Keel's figures.
    pub keel: Option<Series>,
    /// Keel's median over Linux's, or the other way round for rates.
    pub ratio: Option<f64>,
    /// Why figures are missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How the figures came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The image.
    pub image: String,
    /// Number of processors.
    pub cpus: u32,
    /// Memory as QEMU takes it.
    pub memory: String,
    /// QEMU's accelerator.
    pub accelerator: String,
    /// Rounds, each with both kernels.
    pub rounds: u32,
    /// Whether nanoseconds are executed instructions.
    pub instructions: bool,
    /// Which Linux.
    pub linux: String,
    /// Which Keel.
    pub keel: String,
}

/// A whole run of the benchmarks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How the figures came about.
    pub setting: Setting,
    /// The benchmarks in the order in which they were measured.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// The row of a benchmark.
    pub fn row(&self, group: &str, name: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.group == group && row.name == name)
    }

    /// The geometric mean of the ratios, and how many there are.
    pub fn mean_ratio(&self) -> (f64, usize) {
        let logs: Vec<f64> = self
            .rows
            .iter()
            .filter_map(|row| row.ratio)
            .map(f64::ln)
            .collect();
        let count = logs.len();
        (
            (logs.iter().sum::<f64>() / count.max(1) as f64).exp(),
            count,
        )
    }
}
