//! Logins at Amazon MSK by IAM: the token of SASL's mechanism OAUTHBEARER is a request to connect, signed with AWS credentials.
//!
//! The token is the URL of `kafka-cluster:Connect`, presigned by Signature Version 4 for 15 minutes, in base64url without padding. AWS
//! publishes no text about its form but signers for several languages, such as <https://github.com/aws/aws-msk-iam-sasl-signer-python>;
//! the broker takes what they make. Signature Version 4:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;

/// The name by which the Java client's settings ask for this: `sasl.mechanism=AWS_MSK_IAM`.
pub const MECHANISM: &str = "AWS_MSK_IAM";

/// How long a token is good for: what AWS's own signers ask, and the broker allows.
const LIFETIME: Duration = Duration::from_secs(900);
/// How long the search for credentials may take in all. The instance's metadata are asked several times, of a second each.
const SEARCH: Duration = Duration::from_secs(15);
/// Stands in the place of a name; who it is stands in the signature.
const PRINCIPAL: &str = "msk-iam";
/// Said in the place of a token that is not ours to make; nobody is to see it.
const NOT_OURS: &str = "librdkafka makes its tokens itself";

/// Why there is no token. Nothing in it is a secret.
#[derive(Debug, thiserror::Error)]
pub enum MskIamError {
    /// Nobody says in which region the cluster is.
    #[error(
        "in which region is this MSK cluster? Its brokers' names do not say: set AWS_REGION, or sasl.oauthbearer.config=region=… in --kafka-config"
    )]
    NoRegion,
    /// No runtime for the search can be made.
    #[error("AWS credentials cannot be looked for: {0}")]
    NoRuntime(std::io::Error),
    /// Nowhere are credentials.
    #[error(
        "no AWS credentials were found in AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws, AWS_WEB_IDENTITY_TOKEN_FILE, and the metadata of a container or instance: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
    )]
    NoCredentials,
    /// There are some, but they cannot be had.
    #[error("AWS credentials cannot be had ({0}): check AWS_PROFILE and ~/.aws, or the role of this machine")]
    Unavailable(&'static str),
    /// They are of the past.
    #[error("the AWS credentials have expired: renew them, and check the clock of this machine")]
    Expired,
    /// They cannot sign.
    #[error("the AWS credentials cannot sign: are they whole?")]
    Unsigned,
}

/// Makes the tokens for one cluster.
#[derive(Debug)]
pub struct MskIam {
    region: String,
    /// Taken at the end.
    runtime: Option<tokio::runtime::Runtime>,
}

/// A runtime that is dropped within another waits, which tokio forbids.
impl Drop for MskIam {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl MskIam {
    /// For the cluster of these settings.
    ///
    /// # Errors
    /// [`MskIamError::NoRegion`], and when there can be no runtime.
    fn new(config: &ClientConfig) -> Result<Self, MskIamError> {
        let given = config.get("sasl.oauthbearer.config").and_then(region_of_setting);
        let of_host = || region_of_hosts(config.get("bootstrap.servers").unwrap_or_default());
        let of_environment =
            || ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| std::env::var(name).ok());
        let region = given.or_else(of_host).map(str::to_owned).or_else(of_environment);
        let region = region.filter(|region| is_region(region)).ok_or(MskIamError::NoRegion)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(MskIamError::NoRuntime)?;
        Ok(Self { region, runtime: Some(runtime) })
    }

    /// A token, signed now. Blocks until there are credentials, at most 15 seconds.
    ///
    /// # Errors
    /// [`MskIamError`].
    fn token(&self) -> Result<OAuthToken, MskIamError> {
        let runtime = self.runtime.as_ref().ok_or(MskIamError::Unavailable("at the end"))?;
        let credentials = runtime.block_on(self.credentials())?;
        token(&credentials, &self.region, SystemTime::now())
    }

    /// Asked anew for each token: a profile or a role may have changed since.
    async fn credentials(&self) -> Result<Credentials, MskIamError> {
        let search = async {
            let config = aws_config::defaults(BehaviorVersion::latest())
                .region(Region::new(self.region.clone()))
                .load()
                .await;
            let provider = config.credentials_provider().ok_or(MskIamError::NoCredentials)?;
            provider.provide_credentials().await.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => MskIamError::NoCredentials,
                CredentialsError::ProviderTimedOut(_) => MskIamError::Unavailable("no answer in time"),
                CredentialsError::InvalidConfiguration(_) => {
                    MskIamError::Unavailable("a setting of them is not valid")
                }
                _ => MskIamError::Unavailable("refused"),
            })
        };
        tokio::time::timeout(SEARCH, search)
            .await
            .unwrap_or(Err(MskIamError::Unavailable("no answer in time")))
    }
}

/// A token that is signed at a time. It ends with the credentials, or after 15 minutes.
fn token(credentials: &Credentials, region: &str, at: SystemTime) -> Result<OAuthToken, MskIamError> {
    let expiry = credentials.expiry().map_or(at + LIFETIME, |expiry| expiry.min(at + LIFETIME));
    if expiry <= at {
        return Err(MskIamError::Expired);
    }
    let url = presigned(credentials, region, at)?;
    let lifetime_ms = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(OAuthToken {
        token: base64_simd::URL_SAFE_NO_PAD.encode_to_string(url),
        principal_name: PRINCIPAL.to_owned(),
        lifetime_ms: i64::try_from(lifetime_ms).unwrap_or(i64::MAX),
    })
}

/// The URL that says to a cluster's brokers who connects: good for 15 minutes from this time.
///
/// # Errors
/// [`MskIamError::Unsigned`].
pub fn presigned(credentials: &Credentials, region: &str, at: SystemTime) -> Result<String, MskIamError> {
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let signed = presign(&url, credentials, (region, "kafka-cluster"), at, LIFETIME)?;
    // as AWS's signers do: after the signature, which does not cover it
    Ok(format!("{signed}&User-Agent=aws-msk-iam-sasl-signer-probegram%2F{}", env!("CARGO_PKG_VERSION")))
}

/// Signs a GET of this URL by its query, which must have one or end in `?`. `scope`: region and service.
fn presign(
    url: &str,
    credentials: &Credentials,
    scope: (&str, &str),
    at: SystemTime,
    expires_in: Duration,
) -> Result<String, MskIamError> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires_in);
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.0)
        .name(scope.1)
        .time(at)
        .settings(settings)
        .build()
        .map_err(|_incomplete| MskIamError::Unsigned)?
        .into();
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|_not_signable| MskIamError::Unsigned)?;
    let (instructions, _signature) =
        sign(request, &parameters).map_err(|_not_signed| MskIamError::Unsigned)?.into_parts();
    let mut signed = url.to_owned();
    let (signature, others): (Vec<_>, Vec<_>) =
        instructions.params().iter().partition(|(name, _value)| *name == "X-Amz-Signature");
    // the order of botocore, whose URLs are compared with these byte for byte; the broker does not mind
    for (name, value) in others.into_iter().chain(signature) {
        if !signed.ends_with('?') {
            signed.push('&');
        }
        signed.push_str(name);
        signed.push('=');
        signed.extend(percent_encoding::utf8_percent_encode(value, EXCEPT_UNRESERVED));
    }
    Ok(signed)
}

/// RFC 3986, section 2.3, as Signature Version 4 wants it.
const EXCEPT_UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The `region=…` of the setting that librdkafka has for whoever makes tokens.
fn region_of_setting(setting: &str) -> Option<&str> {
    setting.split([' ', ',']).find_map(|part| part.strip_prefix("region="))
}

/// Of `b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com:9098` and `boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com:9098`, also in China.
fn region_of_hosts(bootstrap_servers: &str) -> Option<&str> {
    bootstrap_servers.split(',').find_map(|server| {
        let host = server.trim().rsplit_once(':').map_or(server.trim(), |(host, _port)| host);
        let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
        let (before, region) = name.rsplit_once('.')?;
        let service = before.rsplit_once('.').map_or(before, |(_cluster, service)| service);
        ["kafka", "kafka-serverless"].contains(&service).then_some(region)
    })
}

/// It becomes part of a host name.
fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Who makes the tokens of a client of Kafka, if it needs any: a context passes librdkafka's wish for one on to this.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Option<Arc<MskIam>>);

impl Tokens {
    /// Looks whether these settings ask for logins by IAM, and if so replaces that by what librdkafka knows.
    ///
    /// # Errors
    /// [`MskIamError`].
    pub fn of(config: &mut ClientConfig) -> Result<Self, MskIamError> {
        let asks = ["sasl.mechanisms", "sasl.mechanism"]
            .into_iter()
            .any(|name| config.get(name).is_some_and(|value| value == MECHANISM));
        if !asks {
            return Ok(Self(None));
        }
        config.remove("sasl.mechanism");
        config.set("sasl.mechanisms", "OAUTHBEARER");
        config.set("security.protocol", "SASL_SSL");
        Ok(Self(Some(Arc::new(MskIam::new(config)?))))
    }

    /// Whether they are made here.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        self.0.is_some()
    }

    /// For `ClientContext::generate_oauth_token`. A context must ask for the event at compile time, so this is also called where
    /// librdkafka renews an unsecured token by itself: then by an error that [`Self::is_said`] passes over.
    ///
    /// # Errors
    /// [`MskIamError`].
    pub fn generate(&self) -> Result<OAuthToken, Box<dyn Error>> {
        match &self.0 {
            Some(msk_iam) => Ok(msk_iam.token()?),
            None => Err(NOT_OURS.into()),
        }
    }

    /// Whether librdkafka's text for an error is of interest.
    #[must_use]
    pub fn is_said(reason: &str) -> bool {
        !reason.ends_with(NOT_OURS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(id: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials::new(id, secret, token.map(str::to_owned), None, "test")
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// "get-vanilla", "get-vanilla-query-order-key-case" and "get-vanilla-with-session-token" of the AWS Signature Version 4 test suite, by
    /// query. Origin: what AWS publishes with its signing libraries (github.com/awslabs/aws-c-auth, tests/aws-signing-test-suite/v4, files
    /// `context.json`, `request.txt` and `query-signature.txt`).
    #[test]
    fn aws_s_own_test_vectors_for_presigned_urls_are_met() {
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        for (query, token, signature) in [
            ("", None, "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
            (
                "Param2=value2&Param1=value1",
                None,
                "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
            ),
            ("", Some(token), "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"),
        ] {
            let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
            let credentials = credentials("AKIDEXAMPLE", secret, token);
            let (url, hour) = (format!("https://example.amazonaws.com/?{query}"), Duration::from_secs(3600));
            let signed =
                presign(&url, &credentials, ("us-east-1", "service"), at(1_440_938_160), hour).unwrap();
            assert!(signed.starts_with(&url) && signed.contains("&X-Amz-Date=20150830T123600Z&"), "{signed}");
            assert!(signed.ends_with(&format!("&X-Amz-Signature={signature}")), "{signed}");
        }
    }

    #[test]
    fn the_region_is_the_one_of_the_brokers_names() {
        for (servers, region) in [
            ("b-1.demo.abc123.c2.kafka.eu-west-1.amazonaws.com:9098", Some("eu-west-1")),
            ("boot-abc.c1.kafka-serverless.us-gov-east-1.amazonaws.com:9098", Some("us-gov-east-1")),
            ("localhost:1, b-2-public.d.x.c3.kafka.cn-north-1.amazonaws.com.cn:9198", Some("cn-north-1")),
            ("ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:9092", None),
            ("kafka.example:9092", None),
            ("", None),
        ] {
            assert_eq!(region_of_hosts(servers), region, "{servers}");
        }
        assert_eq!(region_of_setting("a=b region=eu-west-3"), Some("eu-west-3"));
        assert!(is_region("ap-southeast-2") && !is_region("evil.example/") && !is_region(""));
    }

    #[test]
    fn a_region_that_is_given_goes_before_that_of_the_names_and_the_settings_become_librdkafka_s() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "b-1.demo.abc123.c2.kafka.eu-west-1.amazonaws.com:9098");
        config.set("sasl.mechanism", MECHANISM);
        config.set("sasl.oauthbearer.config", "region=eu-north-1");
        let tokens = Tokens::of(&mut config).unwrap();
        assert_eq!(tokens.0.as_ref().unwrap().region, "eu-north-1");
        assert_eq!(config.get("sasl.mechanisms"), Some("OAUTHBEARER"));
        assert_eq!(config.get("sasl.mechanism"), None);
        assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));

        let mut other = ClientConfig::new();
        other.set("sasl.mechanisms", "PLAIN");
        assert!(!Tokens::of(&mut other).unwrap().are_ours());
        assert_eq!(other.get("security.protocol"), None);
    }

    #[test]
    fn a_token_is_good_for_15_minutes_or_as_long_as_the_credentials() {
        let now = at(1_750_000_000);
        let until = |expiry: Option<u64>| {
            let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, expiry.map(at), "test");
            token(&credentials, "eu-west-1", now)
        };
        assert_eq!(until(None).unwrap().lifetime_ms, 1_750_000_900_000);
        assert_eq!(until(Some(1_750_003_600)).unwrap().lifetime_ms, 1_750_000_900_000);
        assert_eq!(until(Some(1_750_000_060)).unwrap().lifetime_ms, 1_750_000_060_000);
        assert!(matches!(until(Some(1_750_000_000)), Err(MskIamError::Expired)));
        let url = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(until(None).unwrap().token).unwrap();
        assert!(
            url.starts_with(b"https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-")
        );
    }

    #[test]
    fn the_session_token_of_a_role_is_part_of_the_url_and_the_signature_covers_it() {
        let role = credentials("AKIDEXAMPLE", "secret", Some("a token/+="));
        let user = credentials("AKIDEXAMPLE", "secret", None);
        let url = |credentials| presigned(credentials, "eu-west-1", at(1_750_000_000)).unwrap();
        let signature = |url: &str| url.split_once("&X-Amz-Signature=").map(|(_url, rest)| rest.to_owned());
        let (of_role, of_user) = (url(&role), url(&user));
        assert!(of_role.contains("&X-Amz-Security-Token=a%20token%2F%2B%3D&"), "{of_role}");
        assert_ne!(signature(&of_role), signature(&of_user));
        assert!(!of_user.contains("secret"), "{of_user}");
    }
}
