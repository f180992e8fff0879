//! Many random schedules on all cores: `PROBEGRAM_SCHEDULES` says how many, `PROBEGRAM_SEED` runs a single one again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many wrong ones are told; then it is enough.
const ENOUGH: usize = 5;

/// Runs schedules by their numbers, `usually` so many, and gives what each came to.
///
/// # Panics
/// If one is wrong, with the numbers of those that are.
pub fn run<T: Send>(usually: u64, schedule: impl Fn(u64) -> Result<T, String> + Sync) -> Vec<T> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("PROBEGRAM_SEED") {
        return vec![schedule(seed).unwrap_or_else(|why| panic!("schedule {seed}: {why}"))];
    }
    let schedules = number("PROBEGRAM_SCHEDULES").unwrap_or(usually);
    let next = AtomicU64::new(0);
    let (right, wrong) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= schedules || wrong.lock().unwrap().len() >= ENOUGH {
                        return;
                    }
                    match schedule(seed) {
                        Ok(outcome) => right.lock().unwrap().push(outcome),
                        Err(why) => wrong.lock().unwrap().push(format!("schedule {seed}: {why}")),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "run one again with PROBEGRAM_SEED=…\n{}", wrong.join("\n"));
    eprintln!("{schedules} schedules, 0 wrong");
    right.into_inner().unwrap()
}
