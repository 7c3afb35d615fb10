//! Decode, route and event out, beside floors.
fn main() {}
