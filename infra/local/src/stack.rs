//! A deployed stack, as CloudFormation tells of it: what it is called by is all that an operator has to know.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Operations.html>

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_sdk_cloudformation::primitives::DateTime;
use aws_sdk_cloudformation::types::{Capability, Parameter, StackEvent, TemplateStage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::account;

/// How often CloudFormation is asked how far it is, and how often that is said without a terminal.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// After this time an update is no longer waited for. It goes on all the same.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// A page has 100 resources, and a stack 500 at most; of events the newest are enough.
const MAX_PAGES: usize = 10;
/// Failures that follow from another resource's.
const CONSEQUENCE: &str = "cancelled";
/// What CloudFormation says in the place of a parameter's value that nobody may see.
const NO_ECHO: &str = "****";

/// A deployed stack, as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct Stack {
    config: SdkConfig,
    client: Client,
    name: String,
    status: String,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    resources: BTreeMap<String, String>,
    types: BTreeMap<String, String>,
}

/// What `DescribeStacks` tells.
struct Description {
    status: String,
    reason: Option<String>,
    updated_at: Option<DateTime>,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

impl Description {
    /// Whether the last thing that was done to it went well.
    fn is_well(&self) -> bool {
        self.status.ends_with("_COMPLETE") && !self.status.contains("ROLLBACK")
    }
}

impl Stack {
    /// The stack of this name, in the region and the account that the environment describes, as for the AWS CLI.
    ///
    /// # Errors
    /// When no region is set, there are no credentials, or the region has no such stack; and when CloudFormation does not answer.
    pub async fn find(name: &str) -> anyhow::Result<Self> {
        let config = account::config().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            bail!(
                "it is not known in which region the stack {name} is: set AWS_REGION, or AWS_PROFILE to a profile with a region"
            );
        };
        let client = Client::new(&config);
        let described = match describe(&client, name).await {
            Ok(Some(described)) => described,
            Ok(None) => bail!(
                "there is no stack {name} in {region}: set AWS_REGION to its region, or name it with --stack as `sam deploy` did"
            ),
            Err(error) => return Err(explain(error, &config, name, &region).await),
        };
        let (resources, types) = match resources(&client, name).await {
            Ok(resources) => resources,
            Err(error) => return Err(explain(error, &config, name, &region).await),
        };
        let Description { status, outputs, parameters, .. } = described;
        Ok(Self { config, client, name: name.to_owned(), status, outputs, parameters, resources, types })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was doing, in CloudFormation's words: `UPDATE_COMPLETE`.
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// With what other services of the same region and account are reached.
    #[must_use]
    pub const fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// What the template's output of this name says.
    ///
    /// # Errors
    /// When the stack has no such output.
    pub fn output(&self, name: &str) -> anyhow::Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| {
            format!(
                "the stack {} has no output {name}: is it one of Probegram, deployed whole? It is {}",
                self.name, self.status
            )
        })
    }

    /// The value of a parameter, `None` where the stack has no such one. Of one that nobody may see it is `****`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Its parameters by their names.
    #[must_use]
    pub const fn parameters(&self) -> &BTreeMap<String, String> {
        &self.parameters
    }

    /// The physical id of a resource: what its own service calls it.
    ///
    /// # Errors
    /// When the stack has no such resource.
    pub fn resource(&self, logical: &str) -> anyhow::Result<&str> {
        let id = self.resources.get(logical).map(String::as_str);
        id.with_context(|| format!("the stack {} has no resource {logical}", self.name))
    }

    /// The physical ids of its resources, by their logical ones.
    #[must_use]
    pub const fn resources(&self) -> &BTreeMap<String, String> {
        &self.resources
    }

    /// The physical ids of its resources of a type such as `AWS::Lambda::Function`, with their logical ones.
    pub fn resources_of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.resources
            .iter()
            .filter(move |(logical, _)| self.types.get(*logical).is_some_and(|it| it == kind))
            .map(|(logical, physical)| (logical.as_str(), physical.as_str()))
    }

    /// The template that it was last deployed by, with the transforms of SAM done.
    ///
    /// # Errors
    /// When CloudFormation does not give it.
    pub async fn template(&self) -> anyhow::Result<String> {
        let request = self.client.get_template().stack_name(&self.name);
        let answer = request.template_stage(TemplateStage::Processed).send().await;
        let answer =
            answer.with_context(|| format!("CloudFormation does not give the template of {}", self.name))?;
        answer.template_body.with_context(|| format!("the stack {} has no template", self.name))
    }

    /// Changes these parameters, leaves all else as it is, and waits until that is done. An update that somebody else has begun is
    /// waited for first. Nothing is done where they have these values. What this tells of the parameters stays as it was.
    ///
    /// # Errors
    /// When there is no such parameter; when the update is refused, or fails: then CloudFormation goes back to what was before; and
    /// when it takes longer than an hour.
    pub async fn update(&self, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut shown = Shown::new(&self.name);
        // somebody else's update may have brought parameters, or taken them away
        let before = self.settled(&mut shown, |_| true).await?;
        for (name, _) in changes {
            ensure!(
                before.parameters.contains_key(*name),
                "the stack {} has no parameter {name}: it is older than this program. Deploy it again (sam build, sam deploy)",
                self.name
            );
        }
        let parameters = before.parameters.keys().map(|name| {
            let parameter = Parameter::builder().parameter_key(name);
            match changes.iter().find(|(changed, _)| changed == name) {
                Some((_, value)) => parameter.parameter_value(*value).build(),
                None => parameter.use_previous_value(true).build(),
            }
        });
        let request = self
            .client
            .update_stack()
            .stack_name(&self.name)
            .use_previous_template(true)
            .set_parameters(Some(parameters.collect()))
            .capabilities(Capability::CapabilityIam)
            .capabilities(Capability::CapabilityNamedIam)
            .capabilities(Capability::CapabilityAutoExpand);
        match request.send().await {
            Ok(_begun) => {}
            Err(error) if says(&error, "No updates are to be performed") => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "CloudFormation does not take the update of {}, which is {}",
                        self.name, before.status
                    )
                });
            }
        }
        // The first look may still find the stack as it was before.
        let has_begun = |now: &Description| {
            let has = |name: &str, value: &str| {
                now.parameters.get(name).is_some_and(|it| it == value || it == NO_ECHO)
            };
            if now.is_well() {
                changes.iter().all(|(name, value)| has(name, value))
            } else {
                (now.updated_at, &now.status) != (before.updated_at, &before.status)
            }
        };
        let description = self.settled(&mut shown, has_begun).await?;
        if description.status == "UPDATE_COMPLETE" {
            return Ok(());
        }
        let why = self.first_failure().await?.or(description.reason).unwrap_or_default();
        bail!("the stack {} could not be updated and is {}: {why}", self.name, description.status)
    }

    /// How it is when nothing happens to it any more, and that is not what was `before`.
    async fn settled(
        &self,
        shown: &mut Shown,
        is_new: impl Fn(&Description) -> bool,
    ) -> anyhow::Result<Description> {
        let began = Instant::now();
        // a look that finds no answer says nothing of the update
        let mut lost = 0;
        while began.elapsed() < PATIENCE {
            match describe(&self.client, &self.name).await {
                Ok(Some(description)) => {
                    lost = 0;
                    let is_over = !description.status.ends_with("_IN_PROGRESS");
                    if is_over && is_new(&description) {
                        shown.end();
                        return Ok(description);
                    }
                    shown.show(&description.status);
                }
                Ok(None) => bail!("the stack {} is gone", self.name),
                Err(error) if lost >= 5 => {
                    return Err(error).with_context(|| {
                        format!(
                            "CloudFormation tells no longer how the stack {} is: its update goes on",
                            self.name
                        )
                    });
                }
                Err(_) => lost += 1,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(
            "the stack {} is still not ready after an hour: see its events in the console of CloudFormation",
            self.name
        )
    }

    /// The resource that failed first in the last update, and why.
    async fn first_failure(&self) -> anyhow::Result<Option<String>> {
        let mut pages = self.client.describe_stack_events().stack_name(&self.name).into_paginator().send();
        let mut newest_first: Vec<StackEvent> = Vec::new();
        for _page in 0..MAX_PAGES {
            let Some(page) = pages.try_next().await? else { break };
            newest_first.extend(page.stack_events.unwrap_or_default());
        }
        Ok(first_failure(&newest_first, &self.name))
    }
}

/// The first failure since the update began, of events from the newest to the oldest.
fn first_failure(newest_first: &[StackEvent], stack: &str) -> Option<String> {
    let status = |event: &StackEvent| event.resource_status().map_or("", |status| status.as_str()).to_owned();
    let began = |event: &&StackEvent| {
        event.logical_resource_id() == Some(stack) && status(event) == "UPDATE_IN_PROGRESS"
    };
    let of_update = newest_first.iter().take_while(|event| !began(event));
    let failed = of_update.filter(|event| status(event).ends_with("_FAILED"));
    let reason =
        |event: &StackEvent| event.resource_status_reason().unwrap_or("no reason is given").to_owned();
    let failed = failed.filter(|event| !reason(event).contains(CONSEQUENCE)).last()?;
    Some(format!("{}: {}", failed.logical_resource_id().unwrap_or("a resource"), reason(failed)))
}

async fn describe(client: &Client, name: &str) -> Result<Option<Description>, aws_sdk_cloudformation::Error> {
    let answer = match client.describe_stacks().stack_name(name).send().await {
        Ok(answer) => answer,
        // "Stack with id NAME does not exist" is a ValidationError, and so is much else
        Err(error) if says(&error, "does not exist") => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(stack) = answer.stacks.unwrap_or_default().into_iter().next() else { return Ok(None) };
    let outputs = stack.outputs.unwrap_or_default().into_iter();
    let parameters = stack.parameters.unwrap_or_default().into_iter();
    Ok(Some(Description {
        status: stack.stack_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        reason: stack.stack_status_reason,
        updated_at: stack.last_updated_time,
        outputs: outputs.filter_map(|it| Some((it.output_key?, it.output_value?))).collect(),
        parameters: parameters.filter_map(|it| Some((it.parameter_key?, it.parameter_value?))).collect(),
    }))
}

/// The physical ids and the types of its resources, by their logical ids.
async fn resources(
    client: &Client,
    name: &str,
) -> Result<(BTreeMap<String, String>, BTreeMap<String, String>), aws_sdk_cloudformation::Error> {
    let (mut ids, mut types) = (BTreeMap::new(), BTreeMap::new());
    let mut pages = client.list_stack_resources().stack_name(name).into_paginator().send();
    for _page in 0..MAX_PAGES {
        let Some(page) = pages.try_next().await? else { break };
        for resource in page.stack_resource_summaries.unwrap_or_default() {
            let is_deleted = resource.resource_status().is_some_and(|it| it.as_str() == "DELETE_COMPLETE");
            let Some(logical) = resource.logical_resource_id else { continue };
            if let (Some(physical), false) = (resource.physical_resource_id, is_deleted) {
                types.insert(logical.clone(), resource.resource_type.unwrap_or_default());
                ids.insert(logical, physical);
            }
        }
    }
    Ok((ids, types))
}

fn says(error: &impl ProvideErrorMetadata, what: &str) -> bool {
    error.message().is_some_and(|message| message.contains(what))
}

/// Why CloudFormation could not be asked.
async fn explain(
    error: aws_sdk_cloudformation::Error,
    config: &SdkConfig,
    name: &str,
    region: &str,
) -> anyhow::Error {
    let has_credentials = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await.is_ok(),
        None => false,
    };
    if !has_credentials {
        return anyhow!(
            "there are no credentials for AWS: see that `aws sts get-caller-identity` works; AWS_PROFILE names a profile"
        );
    }
    // what was answered has a code
    if error.code().is_none() {
        return anyhow::Error::new(error).context(format!(
            "AWS is not reached in {region}: see whether the network, a proxy, or an AWS_ENDPOINT_URL is in the way"
        ));
    }
    anyhow::Error::new(error)
        .context(format!("CloudFormation in {region} does not tell of the stack {name}: may you ask it?"))
}

/// How far an update is, as a spinner on a terminal and in plain lines elsewhere.
struct Shown {
    stack: String,
    spinner: Option<ProgressBar>,
    said: Option<Instant>,
}

impl Shown {
    fn new(stack: &str) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner
        });
        Self { stack: stack.to_owned(), spinner, said: None }
    }

    fn show(&mut self, status: &str) {
        let text = format!("stack {}: {status}, which goes on without this program too", self.stack);
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text);
            spinner.enable_steady_tick(Duration::from_millis(250));
        } else if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            // whoever has closed standard error does not want to know
            drop(writeln!(std::io::stderr(), "{text}"));
        }
    }

    fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::ResourceStatus;

    use super::*;

    fn event(logical: &str, status: ResourceStatus, reason: Option<&str>) -> StackEvent {
        let event = StackEvent::builder().stack_id("id").event_id("id").stack_name("probegram");
        let event = event.logical_resource_id(logical).resource_status(status);
        event.set_resource_status_reason(reason.map(str::to_owned)).build()
    }

    #[test]
    fn the_first_failure_of_the_last_update_is_told() {
        let events = [
            event("probegram", ResourceStatus::UpdateRollbackComplete, None),
            event("BotFunction", ResourceStatus::UpdateFailed, Some("Resource update cancelled")),
            event("AlertRole", ResourceStatus::UpdateFailed, Some("later")),
            event(
                "BotRole",
                ResourceStatus::UpdateFailed,
                Some("not authorized to perform iam:PutRolePolicy"),
            ),
            event("StateTable", ResourceStatus::UpdateInProgress, None),
            event("probegram", ResourceStatus::UpdateInProgress, Some("User Initiated")),
            event("HttpApi", ResourceStatus::CreateFailed, Some("long ago")),
        ];
        let told = first_failure(&events, "probegram").unwrap();
        assert_eq!(told, "BotRole: not authorized to perform iam:PutRolePolicy");
        assert_eq!(first_failure(&events[4..], "probegram"), None);
    }
}
