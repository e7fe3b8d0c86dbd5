//! The HTTP front: requests from a socket, as the functions take them.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use http::header;
use jiff::Timestamp;
use shared::http_types::{Problem, Request, Response};
use tokio::net::TcpListener;

use crate::stack::Stack;

/// As Lambda: a larger body does not arrive.
const BODY_MOST: usize = 6 * 1024 * 1024;

/// Serves until `stop` is done.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    stack: Arc<Stack>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(stack);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

async fn answer(
    State(stack): State<Arc<Stack>>,
    request: axum::extract::Request,
) -> http::Response<Body> {
    let response = match read(request).await {
        Ok(request) => stack.handle(request).await,
        Err(problem) => problem.into(),
    };
    write(response)
}

async fn read(request: axum::extract::Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MOST)
        .await
        .map_err(|_| Problem::too_large())?;
    let https = parts
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|value| value == "https");
    Ok(Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        https,
        country: None,
        headers: parts.headers,
        body,
        // The stack sets its own clock's.
        now: Timestamp::UNIX_EPOCH,
    })
}

fn write(response: Response) -> http::Response<Body> {
    let mut answer = http::Response::new(Body::from(response.body));
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    answer.headers_mut().insert(
        header::SERVER,
        header::HeaderValue::from_static("clickledger"),
    );
    answer
}
