//! Secrets come from Secrets Manager or from a file, and are told by neither errors nor `Debug`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's way to fail

use probegram_tests::aws::config_at;
use runtime::secret::{Place, Secret};
use secrecy::ExposeSecret as _;
use serde_json::json;
use wiremock::matchers::{body_partial_json, header, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

#[tokio::test]
async fn a_token_is_read_once_from_secrets_manager() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(header("x-amz-target", "secretsmanager.GetSecretValue"))
        .and(body_partial_json(json!({"SecretId": "probegram/token"})))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"SecretString": format!("{TOKEN}\n")})))
        .expect(1)
        .mount(&server)
        .await;
    let secret =
        Secret::at(Place::SecretsManager("probegram/token".to_owned()), Some(config_at(&server.uri())));
    assert_eq!(secret.read().await.unwrap().expose_secret(), TOKEN);
    assert_eq!(secret.read().await.unwrap().expose_secret(), TOKEN);
    assert!(!format!("{secret:?}").contains("AAHdq"));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named_with_what_to_do() {
    let server = MockServer::start().await;
    let refusal = json!({"__type": "ResourceNotFoundException", "Message": "no such secret"});
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .mount(&server)
        .await;
    let secret =
        Secret::at(Place::SecretsManager("probegram/token".to_owned()), Some(config_at(&server.uri())));
    let why = secret.read().await.unwrap_err().to_string();
    assert!(why.contains("probegram/token") && why.contains("does it exist"), "{why}");

    let missing = Secret::at(Place::File("no/such/file".into()), None).read().await.unwrap_err().to_string();
    assert!(missing.contains("no/such/file"), "{missing}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let empty = Secret::at(Place::File(file.path().to_owned()), None).read().await.unwrap_err().to_string();
    assert!(empty.contains("is empty"), "{empty}");
    std::fs::write(file.path(), format!(" {TOKEN}\n")).unwrap();
    let read = Secret::at(Place::File(file.path().to_owned()), None);
    assert_eq!(read.read().await.unwrap().expose_secret(), TOKEN);
}
