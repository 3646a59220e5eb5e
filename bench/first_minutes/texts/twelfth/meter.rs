//! Reads an electricity meter over its optical port.

pub const BAUD: u32 = 9600;
pub const IDLE_TIMEOUT_MS: u64 = 2_500;
const DEVICE: &str = "/dev/ttyUSB2";

pub struct Reading {
    pub kwh: f64,
    pub tariff: u8,
}

/// The meter sends its telegram twice and flips one bit in between, which is why the first copy is thrown away.
pub fn read_telegram(port: &mut Port) -> Result<Reading, MeterError> {
    port.skip_frame()?;
    parse(port.next_frame()?)
}

fn parse(frame: Frame) -> Result<Reading, MeterError> {
    unimplemented!()
}
