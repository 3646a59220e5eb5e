//! Reads the float of a gauge.
use std::time::Duration;

pub const SAMPLE_HZ: u32 = 4;
const STUCK_AFTER: Duration = Duration::from_secs(180);
static DEVICE: &str = "/dev/ttyS3";

#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    Level(f32),
    Missed,
    Stuck { since: u64 },
}

pub trait Filter {
    fn push(&mut self, level: f32) -> Option<f32>;
}

pub struct Median<const N: usize> {
    window: [f32; N],
    filled: usize,
}

impl<const N: usize> Filter for Median<N> {
    fn push(&mut self, level: f32) -> Option<f32> {
        self.window[self.filled % N] = level;
        self.filled += 1;
        (self.filled >= N).then(|| median_of(&self.window))
    }
}

pub(crate) fn median_of(window: &[f32]) -> f32 {
    let mut sorted = window.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / 2]
}

macro_rules! centimetres {
    ($m:expr) => {
        ($m * 100.0) as i32
    };
}
