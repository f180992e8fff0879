//! What the project is built of, by `Cargo.lock`: from one place, committed, without the TLS and HTTP of which faults are known, and with
//! its licences listed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's, and that of the fuzz targets, which are a workspace of their own.
const LOCK_FILES: [&str; 2] = ["Cargo.lock", "tests/fuzz/Cargo.lock"];

/// The HTTP and TLS of before, which `aws-sdk-*` has behind its default features and which gets no mending any more: of its
/// rustls-webpki are known <https://rustsec.org/advisories/RUSTSEC-2026-0098>, -0099 and -0104.
const OF_BEFORE: [(&str, &str); 4] =
    [("hyper", "0.14."), ("rustls", "0.21."), ("rustls-webpki", "0.101."), ("h2", "0.3.")];

/// A `[[package]]` of a lock file. <https://doc.rust-lang.org/cargo/guide/cargo-toml-vs-cargo-lock.html>
#[derive(Debug, Default)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn packages(lock_file: &str) -> Vec<Package> {
    let text = read(lock_file);
    let blocks = text.split("[[package]]").skip(1);
    let packages: Vec<Package> = blocks
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")))?;
                Some(line.trim_matches('"').to_owned())
            };
            Package {
                name: field("name").unwrap(),
                version: field("version").unwrap(),
                source: field("source"),
                checksum: field("checksum"),
            }
        })
        .collect();
    assert!(packages.len() > 50, "{lock_file} has {} packages only", packages.len());
    packages
}

#[test]
fn no_stack_is_there_of_which_faults_are_known() {
    for lock_file in LOCK_FILES {
        for Package { name, version, .. } in packages(lock_file) {
            let is_of_before =
                OF_BEFORE.iter().any(|(old, versions)| *old == name && version.starts_with(versions));
            assert!(
                !is_of_before,
                "{lock_file}: {name} {version}; `cargo tree -i {name}@{version}` tells who wants it"
            );
        }
    }
}

#[test]
fn every_crate_comes_from_the_one_registry() {
    let allowed = read("deny.toml");
    let allowed = allowed.lines().find_map(|line| line.strip_prefix("allow-registry = [\"")).unwrap();
    let allowed = format!("registry+{}", allowed.trim_end_matches("\"]"));
    let ours = [
        "probegram",
        "capture-agent",
        "domain",
        "state",
        "runtime",
        "telegram",
        "delivery",
        "aggregate",
        "materialize",
    ];
    let ours = [&ours[..], &["alert", "bot", "probegram-tests", "fuzz"]].concat();
    for lock_file in LOCK_FILES {
        for Package { name, version, source, checksum } in packages(lock_file) {
            match source {
                Some(source) => {
                    assert_eq!(source, allowed, "{lock_file}: {name} {version}");
                    assert!(checksum.is_some(), "{lock_file}: {name} {version} has no checksum");
                }
                // a folder of this project
                None => assert!(
                    ours.contains(&&*name),
                    "{lock_file}: {name} {version} is from a folder elsewhere"
                ),
            }
        }
    }
}

#[test]
fn the_lock_files_are_committed() {
    if !root().join(".git").exists() {
        return; // an archive has what was committed
    }
    for lock_file in LOCK_FILES {
        let listed = Command::new("git")
            .args(["ls-files", "--error-unmatch", lock_file])
            .current_dir(root())
            .output()
            .expect("git");
        assert!(listed.status.success(), "{lock_file} is not committed");
    }
}

#[test]
fn the_list_of_licences_is_up_to_date() {
    let listed = Command::new(root().join("infra/audit")).arg("licences").output().expect("infra/audit");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let is_same = String::from_utf8(listed.stdout).unwrap() == read("LICENCES.md");
    assert!(is_same, "LICENCES.md is old, type: infra/audit licences > LICENCES.md");
}
