//! From a probe request to its message.
fn main() {}
