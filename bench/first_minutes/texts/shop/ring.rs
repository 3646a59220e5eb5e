//! A ring of the last prices, for the little chart beside each article.

pub const CAPACITY: usize = 288;

#[derive(Debug)]
pub enum RingError {
    Empty,
    OutOfOrder { last: u64, got: u64 },
}

pub struct PriceRing {
    times: Vec<u64>,
    prices: Vec<f64>,
    head: usize,
}

impl PriceRing {
    pub fn new() -> Self {
        PriceRing { times: Vec::with_capacity(CAPACITY), prices: Vec::with_capacity(CAPACITY), head: 0 }
    }

    /// Adds a price; the oldest one is overwritten when the ring is full.
    pub fn push(&mut self, time: u64, price: f64) -> Result<(), RingError> {
        if let Some(&last) = self.times.get(self.head.wrapping_sub(1)) {
            if time < last {
                return Err(RingError::OutOfOrder { last, got: time });
            }
        }
        if self.times.len() < CAPACITY {
            self.times.push(time);
            self.prices.push(price);
        } else {
            self.times[self.head] = time;
            self.prices[self.head] = price;
        }
        self.head = (self.head + 1) % CAPACITY;
        Ok(())
    }

    pub fn median(&self) -> Result<f64, RingError> {
        if self.prices.is_empty() {
            return Err(RingError::Empty);
        }
        let mut sorted = self.prices.clone();
        sorted.sort_by(|a, b| a.total_cmp(b));
        Ok(sorted[sorted.len() / 2])
    }
}
