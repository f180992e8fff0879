//! One request of the HTTP API: `POST /telegram` for people, `GET /v1/…` for programs.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /telegram` | an update of Telegram's webhook |
//! | `GET /v1/devices/{mac}` | what a device looked for |
//! | `GET /v1/devices?name=…` | which devices have that in their name or address |
//! | `GET /v1/ssids/{ssid}`, `GET /v1/ssids?hex=…` | who looked for a network; `&after=` the last page's `next` |
//! | `GET /v1/status` | how far the table is behind the log, and how the sensors are |

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use domain::{Mac, Ssid};
use http::{HeaderMap, HeaderValue, Method, header};
use telegram::message::WebhookReply;

use crate::api::{self, Answer, Question};
use crate::context::Context;
use crate::webhook::{self, Outcome};

/// Answers a request. Every request has an answer; what goes wrong inside is in the log.
pub async fn handle(request: &ApiGatewayV2httpRequest, context: &Context) -> ApiGatewayV2httpResponse {
    let path = request.raw_path.as_deref().unwrap_or("/");
    let method = &request.request_context.http.method;
    let answer = match (method, path) {
        (&Method::POST, "/telegram") => {
            let token = request.headers.get(webhook::SECRET_HEADER).map(HeaderValue::as_bytes);
            if webhook::is_from_telegram(token, context) {
                match body(request) {
                    Some(update) => match webhook::answer(&update, context).await {
                        Outcome::Silence => Answer(200, String::new()),
                        Outcome::Said(reply) => Answer(200, json(&reply)),
                        Outcome::Again => return again(),
                    },
                    None => Answer(200, String::new()),
                }
            } else {
                Answer::error(401, "the secret token is missing or wrong")
            }
        }
        (&Method::GET, _) => match question(path, request) {
            _ if !may_ask(request, context) => {
                Answer::error(401, "sign the request with AWS credentials (IAM)")
            }
            Ok(question) => api::answer(question, context).await,
            Err(answer) => answer,
        },
        _ => Answer::error(404, "there is no such thing here; try GET /v1/status"),
    };
    response(answer)
}

/// On AWS the API's authorizer lets only signed requests through; should it ever be taken away, this still holds.
fn may_ask(request: &ApiGatewayV2httpRequest, context: &Context) -> bool {
    let signed =
        request.request_context.authorizer.as_ref().is_some_and(|authorizer| authorizer.iam.is_some());
    context.open_to_this_machine || signed
}

/// What is asked for. API Gateway hands the path on percent-decoded in `rawPath` (of an HTTP API), so a name that is no UTF-8,
/// or has a question mark in it, can only be asked for by `?hex=`.
fn question(path: &str, request: &ApiGatewayV2httpRequest) -> Result<Question, Answer> {
    let parameter = |name| request.query_string_parameters.first(name).map(str::to_owned);
    let bad = |why: String| Answer::error(400, &why);
    if path == "/v1/status" {
        return Ok(Question::Status);
    }
    if let Some(mac) = path.strip_prefix("/v1/devices/") {
        return mac.parse::<Mac>().map(Question::Device).map_err(|why| bad(why.to_string()));
    }
    if path == "/v1/devices" {
        let name = parameter("name").filter(|name| !name.is_empty());
        return name
            .map(Question::Devices)
            .ok_or_else(|| bad("name a device: /v1/devices/MAC or /v1/devices?name=PART".to_owned()));
    }
    let ssid = match (path.strip_prefix("/v1/ssids/"), path == "/v1/ssids", parameter("hex")) {
        (Some(name), _, _) => Ssid::new(name.as_bytes()),
        (None, true, Some(hex)) => Ssid::from_hex(&hex),
        (None, true, None) => {
            return Err(bad("name an SSID: /v1/ssids/NAME or /v1/ssids?hex=524e4d30".to_owned()));
        }
        (None, false, _) => {
            return Err(Answer::error(404, "there is no such thing here; try GET /v1/status"));
        }
    };
    ssid.map(|ssid| Question::Ssid { ssid, after: parameter("after").filter(|after| !after.is_empty()) })
        .map_err(|why| bad(why.to_string()))
}

/// The request's body, which API Gateway may have turned into Base64.
fn body(request: &ApiGatewayV2httpRequest) -> Option<Vec<u8>> {
    let body = request.body.as_ref()?.as_bytes();
    if !request.is_base64_encoded {
        return Some(body.to_vec());
    }
    base64_simd::STANDARD.decode_to_vec(body).ok()
}

fn json(reply: &WebhookReply) -> String {
    serde_json::to_string(reply).unwrap_or_default()
}

/// The update has to come again, soon: Telegram heeds how soon.
fn again() -> ApiGatewayV2httpResponse {
    let mut response = response(Answer(503, String::new()));
    response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn response(Answer(status, body): Answer) -> ApiGatewayV2httpResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.into();
    response.headers = headers;
    response.body = Some(Body::Text(body));
    response
}
