//! A table at a DynamoDB endpoint that somebody else runs: AWS, or a stand-in.

use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters as _;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
};
use serde::Deserialize;
use state::Table;

use crate::account;
use crate::stack::Stack;
use crate::template::Template;

/// The table's request as the template has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    attribute_definitions: Vec<Attribute>,
    key_schema: Vec<Element>,
    global_secondary_indexes: Vec<Index>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Element {
    attribute_name: String,
    key_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index_name: String,
    key_schema: Vec<Element>,
}

/// The table of this name at an endpoint, made if it is not there.
///
/// # Errors
/// When the endpoint does not answer, or refuses to make the table.
pub async fn open(endpoint: &str, name: &str, template: &Template) -> anyhow::Result<Table> {
    let client = client(endpoint).await;
    if !is_there(&client, endpoint, name).await? {
        make(&client, name, template).await?;
    }
    Ok(Table::new(client, name))
}

/// The table of this name at an endpoint.
///
/// # Errors
/// When the endpoint does not answer, or has no such table.
pub async fn open_existing(endpoint: &str, name: &str) -> anyhow::Result<Table> {
    let client = client(endpoint).await;
    ensure!(
        is_there(&client, endpoint, name).await?,
        "there is no table {name} at {endpoint}: name it with --table, or see whether the region is the right one"
    );
    Ok(Table::new(client, name))
}

/// The table of a deployed stack.
///
/// # Errors
/// When the stack has none.
pub fn of_stack(stack: &Stack) -> anyhow::Result<Table> {
    Ok(Table::new(Client::new(stack.config()), stack.output("TableName")?))
}

async fn client(endpoint: &str) -> Client {
    Client::new(&account::config().await.into_builder().endpoint_url(endpoint).build())
}

async fn is_there(client: &Client, endpoint: &str, name: &str) -> anyhow::Result<bool> {
    match client.describe_table().table_name(name).send().await {
        Ok(_there) => Ok(true),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(false),
        Err(error) => Err(error).with_context(|| {
            format!("no DynamoDB answers at {endpoint}: does it run, and are region and credentials set?")
        }),
    }
}

async fn make(client: &Client, name: &str, template: &Template) -> anyhow::Result<()> {
    let (request, ttl) = template.table(name)?;
    let request: Request = serde_json::from_value(request)?;
    let mut creation = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(elements(&request.key_schema)?));
    for attribute in &request.attribute_definitions {
        let definition = AttributeDefinition::builder()
            .attribute_name(&attribute.attribute_name)
            .attribute_type(ScalarAttributeType::from(attribute.attribute_type.as_str()))
            .build()?;
        creation = creation.attribute_definitions(definition);
    }
    for index in &request.global_secondary_indexes {
        let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(elements(&index.key_schema)?))
            .projection(keys_only)
            .build()?;
        creation = creation.global_secondary_indexes(index);
    }
    creation.send().await.with_context(|| format!("the table {name} could not be made"))?;
    client
        .wait_until_table_exists()
        .table_name(name)
        .wait(std::time::Duration::from_secs(60))
        .await
        .with_context(|| format!("the table {name} does not become ready"))?;
    let ttl = TimeToLiveSpecification::builder().attribute_name(ttl).enabled(true).build()?;
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(ttl)
        .send()
        .await
        .with_context(|| format!("the table {name} could not be told what expires"))?;
    Ok(())
}

fn elements(elements: &[Element]) -> anyhow::Result<Vec<KeySchemaElement>> {
    elements
        .iter()
        .map(|element| {
            let key_type = KeyType::from(element.key_type.as_str());
            Ok(KeySchemaElement::builder()
                .attribute_name(&element.attribute_name)
                .key_type(key_type)
                .build()?)
        })
        .collect()
}
