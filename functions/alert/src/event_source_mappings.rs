//! The event source mappings of functions, as AWS tells of them.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>
//!
//! They are asked for by the names of the functions and not by their own ids: a function whose environment names its own mapping, which
//! names the function, is a circle that CloudFormation does not make.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::EventSourceMappingConfiguration;
use domain::watchdog::Mapping;

/// A function has a mapping a topic; more pages than this are a mistake.
const MAX_PAGES: usize = 10;

/// The event source mappings of some functions.
#[derive(Debug, Clone)]
pub struct EventSourceMappings {
    client: Client,
    functions: Vec<String>,
}

impl EventSourceMappings {
    /// Those of these functions.
    #[must_use]
    pub const fn of(client: Client, functions: Vec<String>) -> Self {
        Self { client, functions }
    }

    /// How they are. `None`, and a line in the log, when AWS does not tell of all: then nothing is known of any.
    pub(crate) async fn look(&self) -> Option<Vec<Mapping>> {
        let mut all = Vec::new();
        for function in &self.functions {
            match self.of_function(function).await {
                Ok(of_function) => all.extend(of_function),
                Err(error) => {
                    let error = runtime::log::with_causes(&error);
                    tracing::warn!(error, function, "AWS does not tell how the event source mappings are");
                    return None;
                }
            }
        }
        Some(all)
    }

    async fn of_function(&self, function: &str) -> Result<Vec<Mapping>, aws_sdk_lambda::Error> {
        let mut all = Vec::new();
        let mut pages =
            self.client.list_event_source_mappings().function_name(function).into_paginator().send();
        for _page in 0..MAX_PAGES {
            let Some(page) = pages.try_next().await? else { break };
            all.extend(
                page.event_source_mappings.unwrap_or_default().into_iter().map(|it| told(function, it)),
            );
        }
        if all.is_empty() {
            let (state, last_result) = (String::new(), String::new());
            all.push(Mapping { function: function.to_owned(), topic: None, state, last_result });
        }
        Ok(all)
    }
}

fn told(function: &str, mapping: EventSourceMappingConfiguration) -> Mapping {
    Mapping {
        function: function.to_owned(),
        topic: Some(mapping.topics.unwrap_or_default().join(",")),
        state: mapping.state.unwrap_or_default(),
        last_result: mapping.last_processing_result.unwrap_or_default(),
    }
}
