//! What botocore, AWS's own library for Python, signs: the measure of our signatures.

use std::process::Command;

use crate::fetched::{fetched, has_venv};

/// Makes the URL as `aws-msk-iam-sasl-signer-python` does before it appends its `User-Agent`, at a time that is given.
const PRESIGN: &str = r#"
import datetime, sys
import botocore.auth, botocore.awsrequest, botocore.compat, botocore.credentials

at, region, key, secret, token = sys.argv[1:]
now = datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc)

class Fixed(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return now.replace(tzinfo=None)

    @classmethod
    def now(cls, tz=None):
        return now

for name in ("get_current_datetime",):
    for module in (botocore.auth, botocore.compat):
        if hasattr(module, name):
            setattr(module, name, lambda remove_tzinfo=True: now.replace(tzinfo=None) if remove_tzinfo else now)
if hasattr(botocore.auth, "datetime"):
    botocore.auth.datetime = type("datetime", (), {"datetime": Fixed, "timezone": datetime.timezone})
credentials = botocore.credentials.Credentials(key, secret, token or None)
request = botocore.awsrequest.AWSRequest(
    method="GET", url=f"https://kafka.{region}.amazonaws.com/", params={"Action": "kafka-cluster:Connect"}
)
botocore.auth.SigV4QueryAuth(credentials, "kafka-cluster", region, expires=900).add_auth(request)
print(request.prepare().url, end="")
"#;

/// The presigned URL of `kafka-cluster:Connect` for these credentials (key id, secret key, session token or an empty text) at a time in
/// seconds since 1970. `None` where Python's venv is missing: the test is skipped.
///
/// # Panics
/// If botocore cannot be fetched or fails; and with `CI=true` when Python is missing.
#[must_use]
pub fn presigned_url(at: u64, region: &str, credentials: (&str, &str, &str)) -> Option<String> {
    if !has_venv("botocore") {
        return None;
    }
    let home = fetched("botocore", "venv", "requirements.txt", |venv, requirements| {
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(venv);
        let mut fill = Command::new(venv.join("bin/pip"));
        fill.args(["install", "--quiet", "--requirement"]).arg(requirements);
        vec![make, fill]
    });
    let (key, secret, token) = credentials;
    let output = Command::new(home.join("venv/bin/python"))
        .args(["-c", PRESIGN, &at.to_string(), region, key, secret, token])
        .output()
        .expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("a URL"))
}
