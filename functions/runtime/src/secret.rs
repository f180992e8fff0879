//! Secrets: from AWS Secrets Manager, or from a file on one's own machine. Read when first needed, never printed.

use std::path::PathBuf;

use aws_config::SdkConfig;
use secrecy::SecretString;
use tokio::sync::OnceCell;

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The name or ARN of a secret in AWS Secrets Manager, whose string it is.
    SecretsManager(String),
    /// A file that holds the secret alone.
    File(PathBuf),
}

/// Why a secret could not be read. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("the secret's file {path} cannot be read")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Secrets Manager did not give it.
    #[error(
        "secret {name} cannot be read from Secrets Manager: does it exist, and may the function read it?"
    )]
    SecretsManager {
        /// Which secret.
        name: String,
        /// What the SDK says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is nothing in it.
    #[error("the secret at {0} is empty")]
    Empty(String),
}

/// A secret that is read once, when it is first needed.
#[derive(Debug)]
pub struct Secret {
    place: Place,
    aws: Option<SdkConfig>,
    value: OnceCell<SecretString>,
}

impl Secret {
    /// The secret at a place. `aws` is the configuration for Secrets Manager; without it the environment's is loaded.
    #[must_use]
    pub fn at(place: Place, aws: Option<SdkConfig>) -> Self {
        Self { place, aws, value: OnceCell::new() }
    }

    /// The secret, without white space around it.
    ///
    /// # Errors
    /// [`SecretError`]; the next call tries again.
    pub async fn read(&self) -> Result<&SecretString, SecretError> {
        self.value.get_or_try_init(|| self.fetch()).await
    }

    async fn fetch(&self) -> Result<SecretString, SecretError> {
        let (text, from) = match &self.place {
            Place::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| SecretError::File { path: path.clone(), source })?;
                (text, path.display().to_string())
            }
            Place::SecretsManager(name) => {
                let config = match &self.aws {
                    Some(config) => config.clone(),
                    None => crate::aws::config("SECRETS_MANAGER"),
                };
                let answer = aws_sdk_secretsmanager::Client::new(&config)
                    .get_secret_value()
                    .secret_id(name)
                    .send()
                    .await
                    .map_err(|source| SecretError::SecretsManager {
                        name: name.clone(),
                        source: Box::new(source),
                    })?;
                (answer.secret_string.unwrap_or_default(), name.clone())
            }
        };
        match text.trim() {
            "" => Err(SecretError::Empty(from)),
            secret => Ok(SecretString::from(secret)),
        }
    }
}
