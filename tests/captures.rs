//! What the agent prints of real, synthetic and damaged captures agrees with tshark.
//!
//! The captures are of other people's devices and stay outside of the project, in `../shared/captures`, with tshark's answers and
//! the program that compares.
#![allow(clippy::unwrap_used)] // a test's way to fail

use std::process::Command;

use probegram_tests::process::binary;
use probegram_tests::shared;

#[test]
fn the_agent_agrees_with_tshark_on_every_regular_probe_request() {
    let Some(captures) = shared("captures") else { return };
    // the shell that runs it must not see a space in the path, nor must an FCS count that was not computed anew
    let agent = binary("capture-agent");
    let command = format!("'{}' --fcs ignore --output - --read {{}}", agent.display());
    let output = Command::new("python3")
        .arg(captures.join("compare.py"))
        .arg(&captures)
        .args(["--ssid", "record", "--cmd", &command])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("tier 1: "),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
