//! A function's configuration: the only place that reads the environment, and it names everything that is wrong at once.

use std::fmt::Display;
use std::str::FromStr;

/// The environment variables of a function, and what was wrong with those that were asked for.
#[derive(Debug, Default)]
pub struct Environment {
    problems: Vec<String>,
}

/// What is missing or unreadable in the environment. Values are not repeated: they may be secret.
#[derive(Debug, thiserror::Error)]
#[error("the function's environment is not complete: {0}")]
pub struct Incomplete(String);

impl Environment {
    /// The environment of a Lambda function, where Lambda sets `AWS_REGION`. Without one the SDK would ask the metadata of a
    /// machine that has none, for seconds.
    #[must_use]
    pub fn of_a_function() -> Self {
        let mut environment = Self::default();
        environment.required("AWS_REGION");
        environment
    }

    /// The value of a variable that must be there. What stands in for a missing one does no harm: [`Self::check`] fails then.
    pub fn required(&mut self, name: &str) -> String {
        self.lookup(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is missing"));
            String::new()
        })
    }

    /// The value of a variable that may be there. An empty one is not.
    pub fn optional<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.lookup(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(format!("{name} cannot be read ({why})"));
                None
            }
        }
    }

    /// The values of a variable that is a list with commas, none when it is missing.
    pub fn list<T>(&mut self, name: &str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.lookup(name).unwrap_or_default();
        let mut values = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.parse() {
                Ok(value) => values.push(value),
                Err(why) => self.problems.push(format!("{name} holds something that cannot be read ({why})")),
            }
        }
        values
    }

    /// # Errors
    /// [`Incomplete`] names every variable that was missing or unreadable.
    pub fn check(self) -> Result<(), Incomplete> {
        if self.problems.is_empty() { Ok(()) } else { Err(Incomplete(self.problems.join("; "))) }
    }

    #[expect(clippy::unused_self, reason = "the environment is read through this value alone")]
    fn lookup(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let mut environment = Environment::default();
        environment.required("PROBEGRAM_TEST_MISSING_1");
        environment.required("PROBEGRAM_TEST_MISSING_2");
        assert_eq!(environment.optional::<u32>("PROBEGRAM_TEST_MISSING_3"), None);
        assert_eq!(environment.optional::<u32>("PATH"), None);
        let why = environment.check().unwrap_err().to_string();
        assert!(
            why.contains("PROBEGRAM_TEST_MISSING_1") && why.contains("PROBEGRAM_TEST_MISSING_2"),
            "{why}"
        );
        assert!(
            why.contains("PATH cannot be read") && !why.contains("MISSING_3") && !why.contains("/bin"),
            "{why}"
        );
    }
}
