//! An HTTP proxy that a test may tell what becomes of each request: so real programs meet the troubles of a network and of AWS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// A running proxy. It ends with the runtime that it runs on.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Mutex<String>,
    plan: Mutex<Plan>,
    under_way: AtomicUsize,
    client: reqwest::Client,
}

/// Decides what becomes of a request.
type Plan = Box<dyn FnMut(&mut Call) -> Fate + Send>;

/// A request that is to have its fate.
pub struct Call {
    /// The operation of an AWS API that names it in `x-amz-target`, such as `PutItem`; else empty.
    pub operation: String,
    /// The body, which may be changed.
    pub body: Vec<u8>,
}

/// What becomes of a request.
pub enum Fate {
    /// It arrives and is answered.
    Passed,
    /// It never arrives, and this is answered.
    Refused(u16, String),
    /// It never arrives, and the connection is cut.
    Lost,
    /// It arrives, and the connection is cut instead of the answer.
    AnswerLost,
    /// It arrives after a while.
    Late(Duration),
    /// It arrives; this header and body are answered long before it is done.
    AnsweredEarly((&'static str, &'static str), String),
    /// It arrives twice, the second time after the first was done.
    Twice,
    /// It arrives, and at the same time another body does, whose answer nobody waits for.
    Beside(Vec<u8>),
    /// It arrives, and this is made of the answer.
    Edited(Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send>),
    /// It arrives, then this is done, and the connection is cut.
    DoneThen(Box<dyn FnOnce() + Send>),
}

impl Proxy {
    /// A proxy on a free port of loopback, which passes everything.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start(runtime: &Handle, upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.to_owned()),
            plan: Mutex::new(Box::new(|_call| Fate::Passed)),
            under_way: AtomicUsize::new(0),
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router =
            Router::new().fallback(carry).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await.expect("a listener") });
        Self { address, shared }
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on requests go there.
    ///
    /// # Panics
    /// If a plan has panicked.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut self.shared.upstream.lock().unwrap());
    }

    /// From now on this decides what becomes of requests.
    ///
    /// # Panics
    /// If a plan has panicked.
    pub fn plan(&self, plan: impl FnMut(&mut Call) -> Fate + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// From now on everything is passed.
    pub fn pass(&self) {
        self.plan(|_call| Fate::Passed);
    }

    /// How many requests are under way to the other side.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::SeqCst)
    }
}

/// A request to be sent on, as often as its fate wants.
#[derive(Clone)]
struct Request {
    shared: Arc<Shared>,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    async fn send(self) -> Option<(StatusCode, HeaderMap, Bytes)> {
        self.shared.under_way.fetch_add(1, Ordering::SeqCst);
        let answer = async {
            let request = self.shared.client.request(self.method, self.url).headers(self.headers);
            let response = request.body(self.body).send().await.ok()?;
            let (status, headers) = (response.status(), response.headers().clone());
            Some((status, headers, response.bytes().await.ok()?))
        }
        .await;
        self.shared.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

async fn carry(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let operation = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok()?.split_once('.'))
        .map(|(_version, operation)| operation.to_owned());
    let mut call = Call { operation: operation.unwrap_or_default(), body: body.to_vec() };
    let fate = (shared.plan.lock().unwrap())(&mut call);
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let upstream = shared.upstream.lock().unwrap().clone();
    let url = format!("{upstream}{}", uri.path_and_query().map_or("/", |path| path.as_str()));
    let request = Request { shared, method, url, headers, body: call.body.into() };
    // In a task of its own it goes on when whoever asked hangs up.
    let task = tokio::spawn(async move {
        match fate {
            Fate::Passed => answer(request.send().await),
            Fate::Refused(status, body) => plain(status, None, body),
            Fate::Lost => cut(),
            Fate::AnswerLost => {
                request.send().await;
                cut()
            }
            Fate::Late(while_) => {
                tokio::time::sleep(while_).await;
                answer(request.send().await)
            }
            Fate::AnsweredEarly(header, body) => {
                tokio::spawn(request.send());
                plain(200, Some(header), body)
            }
            Fate::Twice => {
                request.clone().send().await;
                answer(request.send().await)
            }
            Fate::Beside(other) => {
                tokio::spawn(Request { body: other.into(), ..request.clone() }.send());
                answer(request.send().await)
            }
            Fate::Edited(edit) => answer(
                request
                    .send()
                    .await
                    .map(|(status, headers, body)| (status, headers, edit(body.to_vec()).into())),
            ),
            Fate::DoneThen(then) => {
                request.send().await;
                then();
                cut()
            }
        }
    });
    task.await.unwrap_or_else(|_panicked| cut())
}

fn answer(answer: Option<(StatusCode, HeaderMap, Bytes)>) -> Response<Body> {
    // A server that is not there, or dies, is a connection that is cut.
    let Some((status, headers, body)) = answer else { return cut() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kept = |name: &HeaderName| {
        name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING && name != "x-amz-crc32"
    };
    *response.headers_mut() = headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    let dropped: Vec<HeaderName> = response.headers().keys().filter(|name| !kept(name)).cloned().collect();
    for name in dropped {
        response.headers_mut().remove(name);
    }
    response
}

fn plain(status: u16, header: Option<(&'static str, &'static str)>, body: String) -> Response<Body> {
    let mut response =
        Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("a response")
}

/// Ends the connection in the middle of an answer.
fn cut() -> Response<Body> {
    let body = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut on purpose")) });
    Response::new(Body::from_stream(body))
}
