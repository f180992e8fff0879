//! What reads the template before AWS does: SAM's own translator, CloudFormation's linter, and a security scan. They come from PyPI, once,
//! into `target/template-checks` (about 300 MB), and ask nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use probegram::short_form;
use serde_json::{Value, json};

use crate::fetched::{fetched, has_venv};

/// Where a stack may be made: the linter knows which of them has what.
const REGIONS: [&str; 3] = ["eu-west-2", "us-east-1", "eu-central-1"];

/// The programs.
#[derive(Debug, Clone)]
pub struct Tools {
    programs: PathBuf,
}

/// Something that the linter or the scan does not like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The rule's id.
    pub rule: String,
    /// The place in the template, or the resource as `TYPE.NAME`.
    pub on: String,
    /// What it says.
    pub says: String,
}

/// A finding that is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    rule: String,
    on: String,
}

impl Tools {
    /// Fetches them if they are not there. Where Python's venv is missing it says so on standard error and gives None: the test is
    /// skipped.
    ///
    /// # Panics
    /// If they cannot be fetched; and with `CI=true` also where something is missing.
    #[must_use]
    pub fn fetch() -> Option<Self> {
        if !has_venv("checks of the template") {
            return None;
        }
        let home = fetched("template-checks", "venv", "requirements.txt", |venv, requirements| {
            let mut make = Command::new("python3");
            make.args(["-m", "venv"]).arg(venv);
            let mut fill = Command::new(venv.join("bin/pip"));
            // what is never run need not be compiled: half of the time
            fill.args(["install", "--quiet", "--disable-pip-version-check", "--no-compile", "--requirement"])
                .arg(requirements);
            vec![make, fill]
        });
        Some(Self { programs: home.join("venv/bin") })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        // credentials of whoever tests are nobody's business
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("SAM_CLI_TELEMETRY", "0").stdin(Stdio::null());
        command
    }

    /// What SAM makes of a template with each of these sets of parameters, by their names: the text of a CloudFormation template.
    ///
    /// # Panics
    /// If SAM takes it not.
    #[must_use]
    pub fn expand(
        &self,
        template: &Path,
        variants: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let wanted = folder.path().join("variants");
        fs::write(&wanted, json!(variants).to_string()).expect("a file in it");
        let mut expand = self.program("python");
        expand.arg(fixture("expand.py")).arg(template).arg(folder.path());
        let output = expand.stdin(fs::File::open(&wanted).expect("the file")).output().expect("Python");
        assert!(
            output.status.success(),
            "SAM does not expand it:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let read = |name: &String| {
            let text = fs::read_to_string(folder.path().join(format!("{name}.json")));
            (name.clone(), text.expect("an expansion"))
        };
        variants.keys().map(read).collect()
    }

    /// What the linter finds in these files, warnings too.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn lint(&self, files: &[PathBuf]) -> Vec<Finding> {
        let mut lint = self.program("cfn-lint");
        lint.args(["--format", "json", "--non-zero-exit-code", "none", "--regions"])
            .args(REGIONS)
            .arg("--")
            .args(files);
        let found = said(&mut lint);
        let findings = found.as_array().expect("a list").iter().map(|finding| {
            let place = finding["Location"]["Path"].as_array().into_iter().flatten();
            let place: Vec<String> =
                place.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect();
            Finding {
                file: name_of(finding["Filename"].as_str().expect("a file")),
                rule: finding["Rule"]["Id"].as_str().expect("a rule").to_owned(),
                on: place.join("/"),
                says: finding["Message"].as_str().expect("a message").to_owned(),
            }
        });
        findings.collect()
    }

    /// What the security scan finds in the templates of a folder.
    ///
    /// # Panics
    /// If it does not run, or cannot read one.
    #[must_use]
    pub fn scan(&self, folder: &Path) -> Vec<Finding> {
        let mut scan = self.program("checkov");
        // offline: what it would download is about packages
        scan.args([
            "--framework",
            "cloudformation",
            "--skip-download",
            "--soft-fail",
            "--compact",
            "--output",
            "json",
            "--directory",
        ]);
        let found = said(scan.arg(folder));
        assert_eq!(
            found["summary"]["parsing_errors"], 0,
            "the scan cannot read all: {}",
            found["results"]["parsing_errors"]
        );
        let failed = found["results"]["failed_checks"].as_array().expect("a list").iter().map(|finding| {
            let text = |name: &str| finding[name].as_str().expect("a text").to_owned();
            Finding {
                file: name_of(&text("file_path")),
                rule: text("check_id"),
                on: text("resource"),
                says: text("check_name"),
            }
        });
        failed.collect()
    }
}

/// The waivers of `lint` or `scan`.
///
/// # Panics
/// If they cannot be read, or one has no reason.
#[must_use]
pub fn waivers() -> Vec<Waiver> {
    let text = fs::read_to_string(fixture("waivers.yaml")).expect("the waivers");
    let all = short_form::read(&text).expect("YAML");
    let list = all.as_array().expect("a list of waivers");
    let text = |waiver: &Value, name: &str| {
        let text = waiver[name].as_str().filter(|text| !text.is_empty());
        text.unwrap_or_else(|| panic!("a waiver has no {name}: {waiver}")).to_owned()
    };
    let read = |waiver: &Value| {
        assert!(text(waiver, "why").len() > 20, "a waiver without a reason: {waiver}");
        Waiver { rule: text(waiver, "rule"), on: text(waiver, "on") }
    };
    list.iter().map(read).collect()
}

/// What is not waived, and waivers that nothing needs, a line each.
#[must_use]
pub fn complaints(findings: &[Finding], waivers: &[Waiver]) -> Vec<String> {
    let is_of = |waiver: &Waiver, finding: &Finding| {
        finding.rule == waiver.rule && finding.on.starts_with(&waiver.on)
    };
    let open = findings.iter().filter(|finding| !waivers.iter().any(|waiver| is_of(waiver, finding)));
    let open = open.map(|Finding { file, rule, on, says }| format!("{file}: {rule} on {on}: {says}"));
    let idle = waivers.iter().filter(|waiver| !findings.iter().any(|finding| is_of(waiver, finding)));
    let idle = idle.map(|Waiver { rule, on }| format!("the waiver of {rule} on {on} is needed by nothing"));
    open.chain(idle).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/template-checks").join(name)
}

/// The last two parts of a path, which tell the templates apart.
fn name_of(path: &str) -> String {
    let parts: Vec<&str> = path.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn said(command: &mut Command) -> Value {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        panic!("{command:?} says no JSON ({error}):\n{out}\n{err}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_waived_and_waivers_that_nothing_needs_are_told() {
        let finding = |rule: &str, on: &str| Finding {
            file: "a.json".to_owned(),
            rule: rule.to_owned(),
            on: on.to_owned(),
            says: "no".to_owned(),
        };
        let waiver = |rule: &str, on: &str| Waiver { rule: rule.to_owned(), on: on.to_owned() };
        let findings = [
            finding("R1", "AWS::SNS::Topic.A"),
            finding("R1", "AWS::S3::Bucket.B"),
            finding("R2", "AWS::SNS::Topic.A"),
        ];
        let waivers = [waiver("R1", "AWS::SNS::Topic"), waiver("R3", "AWS::SNS::Topic")];
        assert_eq!(
            complaints(&findings, &waivers),
            [
                "a.json: R1 on AWS::S3::Bucket.B: no",
                "a.json: R2 on AWS::SNS::Topic.A: no",
                "the waiver of R3 on AWS::SNS::Topic is needed by nothing"
            ]
        );
    }

    #[test]
    fn every_waiver_has_its_reason() {
        assert!(waivers().len() > 1);
    }
}
