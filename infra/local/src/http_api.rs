//! The HTTP API on this machine: each request becomes the one that API Gateway hands to the function `bot`.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Router, http};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use crate::function::Bot;
use crate::shutdown::Shutdown;

/// Listens on an address of this machine alone: the answers are about people's devices, and nobody is asked who they are.
///
/// # Errors
/// When the address is another's, or taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    ensure!(
        address.ip().is_loopback(),
        "--http listens on this machine alone, such as 127.0.0.1:8080: {address} could be reached by others, who would not be \
         asked who they are"
    );
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}: is it taken?"))
}

/// Serves until the program ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, bot: Bot, shutdown: Shutdown) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(bot);
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.wait().await }).await
}

async fn answer(
    State(bot): State<Bot>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    if !is_for_this_machine(&headers) {
        let why = r#"{"error":"this server answers to 127.0.0.1 and localhost alone"}"#;
        return (StatusCode::MISDIRECTED_REQUEST, [(header::CONTENT_TYPE, "application/json")], why)
            .into_response();
    }
    if percent_decode_str(uri.path()).decode_utf8().is_err() {
        let why = r#"{"error":"the path is not UTF-8: ask for an SSID of other bytes by /v1/ssids?hex="}"#;
        return (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], why).into_response();
    }
    let response = match bot.handle(request(method, &uri, headers, &body)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(error = runtime::log::with_causes(&error), "a request has no answer");
            let why = r#"{"error":"the function gave no answer; try again"}"#;
            return (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "application/json")], why)
                .into_response();
        }
    };
    let status =
        u16::try_from(response.status_code).ok().and_then(|status| StatusCode::from_u16(status).ok());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), response.headers.clone(), text(response))
        .into_response()
}

/// A page in somebody's browser can make a name of its own point to 127.0.0.1 (DNS rebinding); it cannot change this header.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // an address cannot be made to point elsewhere
    address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
}

/// A request as API Gateway writes it, payload format 2.0.
#[must_use]
pub fn request(method: Method, uri: &Uri, headers: HeaderMap, body: &[u8]) -> ApiGatewayV2httpRequest {
    let mut request = ApiGatewayV2httpRequest::default();
    // HTTP APIs decode it; what is no UTF-8 then is told apart by nobody
    request.raw_path = Some(percent_decode_str(uri.path()).decode_utf8_lossy().into_owned());
    request.raw_query_string = uri.query().map(str::to_owned);
    request.query_string_parameters = uri.query().unwrap_or_default().parse().unwrap_or_default();
    request.headers = headers;
    request.request_context.http.method = method;
    request.request_context.http.path = Some(uri.path().to_owned());
    request.body = Some(base64_simd::STANDARD.encode_to_string(body)).filter(|body| !body.is_empty());
    request.is_base64_encoded = true;
    request
}

/// The text of a response's body.
#[must_use]
pub fn text(response: ApiGatewayV2httpResponse) -> String {
    match response.body {
        Some(Body::Text(text)) => text,
        _ => String::new(),
    }
}
