//! The suites of the stock clients, against the server of this very build:
//!
//!     npm ci --prefix tests/stock
//!     cargo test --workspace --test stock_clients -- --ignored --nocapture

use std::process::Command;

#[test]
#[ignore = "needs node, and what `npm ci` installs"]
fn stock_clients_are_served_as_by_phoenix() {
    let mut suites = Command::new("npm");
    suites.arg("test").current_dir(env!("CARGO_MANIFEST_DIR")).env("STOCK_SERVER", env!("CARGO_BIN_EXE_stock-server"));
    assert!(suites.status().expect("npm can be run").success());
}
