# A Kafka cluster of Confluent Cloud for Probegram: its topics, who may do what, and their API keys. README.md says how to use it.

terraform {
  required_version = ">= 1.5"
  required_providers {
    confluent = {
      source  = "confluentinc/confluent"
      version = "~> 2.87"
    }
  }
}

# The login is in CONFLUENT_CLOUD_API_KEY and CONFLUENT_CLOUD_API_SECRET.
provider "confluent" {}

variable "region" {
  description = "The AWS region of the functions: `confluent kafka region list --cloud aws` prints all."
  type        = string
  default     = "eu-west-2"
}

variable "stack" {
  description = "The name of the functions' stack. Their consumer groups begin with it."
  type        = string
  default     = "probegram"
}

locals {
  # what each setting is for: `probegram topics`
  topics = jsondecode(file("${path.module}/topics.json"))

  # Each may do so much and no more. Whoever may READ or WRITE may DESCRIBE, which Lambda asks for too, and whoever may WRITE to a
  # topic may do it idempotently.
  # https://docs.aws.amazon.com/lambda/latest/dg/kafka-cluster-auth.html
  sensor_acls = {
    for topic in ["pcap", "sensors"] :
    "WRITE ${topic}" => { type = "TOPIC", name = topic, pattern = "LITERAL", operation = "WRITE" }
  }
  functions_acls = merge(
    {
      for topic in keys(local.topics) :
      "READ ${topic}" => { type = "TOPIC", name = topic, pattern = "LITERAL", operation = "READ" }
    },
    {
      # how long records are kept and the like, for `probegram topics`
      for topic in keys(local.topics) :
      "DESCRIBE_CONFIGS ${topic}" => { type = "TOPIC", name = topic, pattern = "LITERAL", operation = "DESCRIBE_CONFIGS" }
    },
    {
      "READ groups" = { type = "GROUP", name = "${var.stack}-", pattern = "PREFIXED", operation = "READ" }
    }
  )
}

resource "confluent_environment" "probegram" {
  display_name = "probegram"

  lifecycle { prevent_destroy = true }
}

resource "confluent_kafka_cluster" "probegram" {
  display_name = "probegram"
  availability = "SINGLE_ZONE"
  cloud        = "AWS"
  region       = var.region

  # the first eCKU costs nothing, and one is enough for millions of probes a day
  basic { max_ecku = 1 }

  environment { id = confluent_environment.probegram.id }

  lifecycle { prevent_destroy = true }
}

# Whoever makes topics and ACLs. Roles for single topics are not to be had on a Basic cluster, so what the others may do is ACLs.
resource "confluent_service_account" "admin" {
  display_name = "probegram-admin"
  description  = "Makes topics and ACLs"
}

resource "confluent_service_account" "sensor" {
  display_name = "probegram-sensor"
  description  = "Writes what sensors hear and how they are"
}

resource "confluent_service_account" "functions" {
  display_name = "probegram-functions"
  description  = "Reads the topics for the functions on AWS"
}

resource "confluent_role_binding" "admin" {
  principal   = "User:${confluent_service_account.admin.id}"
  role_name   = "CloudClusterAdmin"
  crn_pattern = confluent_kafka_cluster.probegram.rbac_crn
}

resource "confluent_api_key" "admin" {
  display_name = "probegram-admin"
  owner {
    id          = confluent_service_account.admin.id
    api_version = confluent_service_account.admin.api_version
    kind        = confluent_service_account.admin.kind
  }
  managed_resource {
    id          = confluent_kafka_cluster.probegram.id
    api_version = confluent_kafka_cluster.probegram.api_version
    kind        = confluent_kafka_cluster.probegram.kind
    environment { id = confluent_environment.probegram.id }
  }
  depends_on = [confluent_role_binding.admin]
}

resource "confluent_api_key" "sensor" {
  display_name = "probegram-sensor"
  owner {
    id          = confluent_service_account.sensor.id
    api_version = confluent_service_account.sensor.api_version
    kind        = confluent_service_account.sensor.kind
  }
  managed_resource {
    id          = confluent_kafka_cluster.probegram.id
    api_version = confluent_kafka_cluster.probegram.api_version
    kind        = confluent_kafka_cluster.probegram.kind
    environment { id = confluent_environment.probegram.id }
  }
}

resource "confluent_api_key" "functions" {
  display_name = "probegram-functions"
  owner {
    id          = confluent_service_account.functions.id
    api_version = confluent_service_account.functions.api_version
    kind        = confluent_service_account.functions.kind
  }
  managed_resource {
    id          = confluent_kafka_cluster.probegram.id
    api_version = confluent_kafka_cluster.probegram.api_version
    kind        = confluent_kafka_cluster.probegram.kind
    environment { id = confluent_environment.probegram.id }
  }
}

resource "confluent_kafka_topic" "probegram" {
  for_each = local.topics

  topic_name       = each.key
  partitions_count = each.value.partitions
  config           = each.value.config
  rest_endpoint    = confluent_kafka_cluster.probegram.rest_endpoint
  kafka_cluster { id = confluent_kafka_cluster.probegram.id }
  credentials {
    key    = confluent_api_key.admin.id
    secret = confluent_api_key.admin.secret
  }

  # a topic that is made anew begins at offset 0, and its records are gone
  lifecycle { prevent_destroy = true }
}

resource "confluent_kafka_acl" "sensor" {
  for_each = local.sensor_acls

  resource_type = each.value.type
  resource_name = each.value.name
  pattern_type  = each.value.pattern
  operation     = each.value.operation
  principal     = "User:${confluent_service_account.sensor.id}"
  permission    = "ALLOW"
  host          = "*"
  rest_endpoint = confluent_kafka_cluster.probegram.rest_endpoint
  kafka_cluster { id = confluent_kafka_cluster.probegram.id }
  credentials {
    key    = confluent_api_key.admin.id
    secret = confluent_api_key.admin.secret
  }
}

resource "confluent_kafka_acl" "functions" {
  for_each = local.functions_acls

  resource_type = each.value.type
  resource_name = each.value.name
  pattern_type  = each.value.pattern
  operation     = each.value.operation
  principal     = "User:${confluent_service_account.functions.id}"
  permission    = "ALLOW"
  host          = "*"
  rest_endpoint = confluent_kafka_cluster.probegram.rest_endpoint
  kafka_cluster { id = confluent_kafka_cluster.probegram.id }
  credentials {
    key    = confluent_api_key.admin.id
    secret = confluent_api_key.admin.secret
  }
}

output "bootstrap_servers" {
  description = "BootstrapServers of the functions' stack, and the sensor's --bootstrap-servers"
  value       = trimprefix(confluent_kafka_cluster.probegram.bootstrap_endpoint, "SASL_SSL://")
}

# `terraform output -raw parameters >> parameters.yaml`
output "parameters" {
  description = "The lines of parameters.yaml for `sam deploy`"
  sensitive   = true
  value       = <<-EOT
    KafkaProvider: confluent
    BootstrapServers: ${trimprefix(confluent_kafka_cluster.probegram.bootstrap_endpoint, "SASL_SSL://")}
    KafkaApiKey: ${confluent_api_key.functions.id}
    KafkaApiSecret: ${confluent_api_key.functions.secret}
  EOT
}

# `terraform output -raw admin > admin.properties`
output "admin" {
  description = "The login that may do everything in the cluster, as a file"
  sensitive   = true
  value       = <<-EOT
    security.protocol=SASL_SSL
    sasl.mechanisms=PLAIN
    sasl.username=${confluent_api_key.admin.id}
    sasl.password=${confluent_api_key.admin.secret}
  EOT
}

# `terraform output -raw sensor > kafka.properties`
output "sensor" {
  description = "The sensor's file kafka.properties"
  sensitive   = true
  value       = <<-EOT
    security.protocol=SASL_SSL
    sasl.mechanisms=PLAIN
    sasl.username=${confluent_api_key.sensor.id}
    sasl.password=${confluent_api_key.sensor.secret}
  EOT
}
