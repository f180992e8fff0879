//! The functions as a host calls them: in this process, or deployed and reached by Lambda's Invoke API.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerIamDescription, ApiGatewayV2httpRequest,
    ApiGatewayV2httpResponse,
};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::primitives::Blob;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::account;

/// No function runs longer than this: a limit of Lambda.
const LONGEST_INVOCATION: Duration = Duration::from_secs(15 * 60);

/// Why an invocation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The function `aggregate` in this process failed.
    #[error(transparent)]
    Aggregate(#[from] aggregate::Error),
    /// The function `materialize` in this process failed.
    #[error(transparent)]
    Materialize(#[from] materialize::Error),
    /// The function `alert` in this process failed.
    #[error(transparent)]
    Alert(#[from] alert::Error),
    /// Lambda did not carry the invocation out.
    #[error("function {name} could not be invoked: does it exist there, and does Lambda answer?")]
    NotInvoked {
        /// The function's name.
        name: String,
        /// What the SDK says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The deployed function failed, was killed or ran out of time.
    #[error("function {name} failed: {message}")]
    Failed {
        /// The function's name.
        name: String,
        /// What Lambda says about it.
        message: String,
    },
}

/// A deployed function.
#[derive(Debug, Clone)]
pub struct Deployed {
    client: Client,
    name: String,
}

/// Lambda's payload for a function that failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error_message: String,
}

impl Deployed {
    /// Functions by their names, at a Lambda endpoint or at that of the environment, which also tells region and credentials.
    pub async fn at(endpoint: Option<&str>) -> impl Fn(&str) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_timeout(LONGEST_INVOCATION)
            .build();
        let mut config = account::config().await.into_builder();
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        let config = config
            .timeout_config(timeouts)
            // whoever invokes has pauses of its own
            .retry_config(RetryConfig::disabled())
            .build();
        let client = Client::new(&config);
        move |name| Self { client: client.clone(), name: name.to_owned() }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is such a function.
    ///
    /// # Errors
    /// When Lambda does not answer.
    pub async fn exists(&self) -> Result<bool, InvocationError> {
        match self.client.get_function_configuration().function_name(&self.name).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(answer)) if answer.err().is_resource_not_found_exception() => {
                Ok(false)
            }
            Err(source) => Err(self.not_invoked(source)),
        }
    }

    /// Invokes the function and waits for its answer.
    ///
    /// # Errors
    /// When it could not be invoked, or failed.
    pub async fn invoke(&self, event: &str) -> Result<Vec<u8>, InvocationError> {
        let answer = self
            .client
            .invoke()
            .function_name(&self.name)
            .payload(Blob::new(event))
            .send()
            .await
            .map_err(|source| self.not_invoked(source))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if answer.function_error.is_none() {
            return Ok(payload);
        }
        let message = match serde_json::from_slice(&payload) {
            Ok(Failure { error_message }) => error_message,
            Err(_other) => String::from_utf8_lossy(&payload).into_owned(),
        };
        Err(InvocationError::Failed { name: self.name.clone(), message })
    }

    fn not_invoked(&self, source: impl std::error::Error + Send + Sync + 'static) -> InvocationError {
        InvocationError::NotInvoked { name: self.name.clone(), source: Box::new(source) }
    }
}

/// A function that is fed by a log.
#[derive(Debug, Clone)]
pub enum Function {
    /// `aggregate`, in this process.
    Aggregate(aggregate::Context),
    /// `materialize`, in this process.
    Materialize(materialize::Context),
    /// `alert`, in this process.
    Alert(alert::Context),
    /// Any of them, on Lambda or what stands for it.
    Deployed(Deployed),
}

impl Function {
    /// Hands an event to the function.
    ///
    /// # Errors
    /// When the event has to be delivered again.
    pub async fn handle(&self, event: &RawValue) -> Result<(), InvocationError> {
        match self {
            Self::Aggregate(context) => aggregate::handle(event, context).await.map(drop)?,
            Self::Materialize(context) => materialize::handle(event, context).await.map(drop)?,
            Self::Alert(context) => alert::handle(event, context).await.map(drop)?,
            Self::Deployed(function) => function.invoke(event.get()).await.map(drop)?,
        }
        Ok(())
    }
}

/// The function `bot`.
#[derive(Debug, Clone)]
pub enum Bot {
    /// In this process.
    Here(Arc<bot::Context>),
    /// On Lambda, or what stands for it.
    Deployed(Deployed),
}

impl Bot {
    /// Hands a request of the HTTP API to the function.
    ///
    /// # Errors
    /// When the deployed function gave no answer.
    pub async fn handle(
        &self,
        mut request: ApiGatewayV2httpRequest,
    ) -> Result<ApiGatewayV2httpResponse, InvocationError> {
        match self {
            Self::Here(context) => Ok(bot::handle(&request, context).await),
            Self::Deployed(function) => {
                // API Gateway lets only signed requests through to it, and says so. Here it is this machine that may ask.
                let mut authorizer = ApiGatewayRequestAuthorizer::default();
                authorizer.iam = Some(ApiGatewayRequestAuthorizerIamDescription::default());
                request.request_context.authorizer = Some(authorizer);
                let event = serde_json::to_string(&request).map_err(|source| function.not_invoked(source))?;
                let answer = function.invoke(&event).await?;
                serde_json::from_slice(&answer).map_err(|source| function.not_invoked(source))
            }
        }
    }
}
