//! Programs of others that tests run, fetched once into a folder of `target`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::target;

/// Whether Python can make a venv for `what` it is needed. Where it cannot, that is said on standard error: the test is skipped.
///
/// # Panics
/// If it cannot, with `CI=true`.
pub(crate) fn has_venv(what: &str) -> bool {
    let found = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let message = format!("{what}: needs Python 3 with venv, run `infra/packages test`");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    crate::say_skipped(&message);
    false
}

/// The folder `target/NAME` with a folder `content` in it, fetched by these commands when it is not there as the fixture wants
/// it. They get the path of the content and that of the fixture.
///
/// # Panics
/// If it cannot be fetched, with what the commands said.
pub(crate) fn fetched(
    name: &str,
    content: &str,
    fixture: &str,
    commands: impl FnOnce(&Path, &Path) -> Vec<Command>,
) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).join(fixture);
    let home = target().join(name);
    fs::create_dir_all(&home).expect("a folder in target");
    // one fetches, others that start at the same time wait; the lock goes with the process, however it ends
    let lock = File::create(home.join("lock")).expect("a lock file in target");
    lock.lock().expect("a lock on a file in target");
    let wanted = fs::read(&fixture).expect("the fixture");
    let content = home.join(content);
    // written last: proves that all of it is there
    let proof = content.join(fixture.file_name().expect("a file"));
    if fs::read(&proof).is_ok_and(|found| found == wanted) {
        return home;
    }
    if content.exists() {
        fs::remove_dir_all(&content).expect("removal of what was fetched before");
    }
    for mut command in commands(&content, &fixture) {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(
            output.status.success(),
            "{name} cannot be fetched, see whether its repository can be reached:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::write(proof, wanted).expect("a file in target");
    home
}
