//! A stack of AWS on loopback, as operators' commands find it: ministack makes its resources, and keeps what is done to them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudformation::types::{Capability, Parameter, Stack};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::lambda::{ENVIRONMENT, Lambda};
use crate::process::binary;
use crate::until;

/// It bounds a hang on a busy machine, nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the SDK reaches what stands for AWS at an endpoint, as our programs do by [`ENVIRONMENT`].
#[must_use]
pub fn config_at(endpoint: &str) -> SdkConfig {
    let [(_, region), (_, key), (_, secret)] = ENVIRONMENT;
    let credentials = Credentials::new(key, secret, None, None, "this machine");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build()
}

/// A running AWS with one stack in it. It is gone when this goes out of scope.
pub struct Aws {
    lambda: Lambda,
    config: SdkConfig,
    runtime: Runtime,
    stack: String,
}

impl Aws {
    /// Starts it with a stack of this name, template and parameters; `None` where [`Lambda::start`] gives none.
    ///
    /// # Panics
    /// If the stack cannot be made.
    #[must_use]
    pub fn with_stack(name: &str, template: &Value, parameters: &[(&str, &str)]) -> Option<Self> {
        let lambda = Lambda::start()?;
        let config = config_at(&lambda.endpoint());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let aws = Self { lambda, config, runtime, stack: name.to_owned() };
        let parameters = parameters
            .iter()
            .map(|(name, value)| Parameter::builder().parameter_key(*name).parameter_value(*value).build());
        let creation = aws
            .cloudformation()
            .create_stack()
            .stack_name(name)
            .template_body(template.to_string())
            .set_parameters(Some(parameters.collect()))
            .capabilities(Capability::CapabilityIam);
        aws.wait_for(creation.send()).expect("a stack");
        until(PATIENCE, "the stack", || {
            let stack = aws.described();
            let status = stack.stack_status()?.as_str();
            assert!(!status.contains("ROLLBACK"), "{status}: {:?}", stack.stack_status_reason());
            (status == "CREATE_COMPLETE").then_some(())
        });
        Some(aws)
    }

    /// How its services are reached.
    #[must_use]
    pub const fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// What comes of a call of a client made with [`Self::config`].
    pub fn wait_for<F: IntoFuture>(&self, call: F) -> F::Output {
        let call = call.into_future();
        self.runtime.block_on(call)
    }

    /// The stack's parameters, as they are now.
    #[must_use]
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let parameters = self.described().parameters.unwrap_or_default().into_iter();
        parameters.filter_map(|it| Some((it.parameter_key?, it.parameter_value?))).collect()
    }

    /// Changes parameters of the stack, as somebody does who deploys it again.
    ///
    /// # Panics
    /// If that is refused or fails.
    pub fn set(&self, changes: &[(&str, &str)]) {
        let parameters = self.parameters().into_keys().map(|name| {
            let parameter = Parameter::builder().parameter_key(&name);
            match changes.iter().find(|(changed, _)| *changed == name) {
                Some((_, value)) => parameter.parameter_value(*value).build(),
                None => parameter.use_previous_value(true).build(),
            }
        });
        let update = self.cloudformation().update_stack().stack_name(&self.stack).use_previous_template(true);
        let update =
            update.set_parameters(Some(parameters.collect())).capabilities(Capability::CapabilityIam);
        self.wait_for(update.send()).expect("an update");
        until(PATIENCE, "the update", || {
            let now = self.parameters();
            let is_done = self.described().stack_status()?.as_str() == "UPDATE_COMPLETE";
            (is_done && changes.iter().all(|(name, value)| now[*name] == *value)).then_some(())
        });
    }

    /// What an output of the stack says.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        let outputs = self.described().outputs.unwrap_or_default().into_iter();
        let mut named = outputs.filter(|it| it.output_key() == Some(name)).filter_map(|it| it.output_value);
        named.next().unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    /// The physical id of a resource of the stack.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn resource(&self, logical: &str) -> String {
        let request = self.cloudformation().describe_stack_resource().stack_name(&self.stack);
        let told = self.wait_for(request.logical_resource_id(logical).send()).expect("a resource");
        let detail = told.stack_resource_detail.expect("its details");
        detail.physical_resource_id.expect("its id")
    }

    /// How often the stack was updated.
    ///
    /// # Panics
    /// If CloudFormation does not tell.
    #[must_use]
    pub fn updates(&self) -> usize {
        let request = self.cloudformation().describe_stack_events().stack_name(&self.stack);
        let told = self.wait_for(request.send()).expect("events");
        let events = told.stack_events.unwrap_or_default();
        let is_update = |status: &str| status == "UPDATE_COMPLETE";
        events
            .iter()
            .filter(|event| event.logical_resource_id() == Some(self.stack.as_str()))
            .filter(|event| event.resource_status().is_some_and(|status| is_update(status.as_str())))
            .count()
    }

    /// One of our programs, which finds the stack.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(binary(name));
        command.env_remove("RUST_LOG").env_remove("AWS_PROFILE").envs(ENVIRONMENT);
        command.env("AWS_ENDPOINT_URL", self.lambda.endpoint()).env("TZ", "UTC");
        command
    }

    fn described(&self) -> Stack {
        let request = self.cloudformation().describe_stacks().stack_name(&self.stack);
        let told = self.wait_for(request.send()).expect("the stack");
        told.stacks.unwrap_or_default().into_iter().next().expect("one stack")
    }

    fn cloudformation(&self) -> aws_sdk_cloudformation::Client {
        aws_sdk_cloudformation::Client::new(&self.config)
    }
}
