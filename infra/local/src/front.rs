//! The HTTP front: requests from a socket, as the functions take them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use jiff::Timestamp;
use shared::http_types::{Problem, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::stack::Stack;

/// As Lambda: a larger body does not arrive.
const BODY_MOST: usize = 6 * 1024 * 1024;
/// Of a body that nobody looks at, so much is waited for, so long.
const PASSED_OVER_MOST: usize = 64 * 1024;
const PASSED_OVER_WITHIN: Duration = Duration::from_secs(1);
/// Whoever takes longer to send a body gives its place to another.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Whoever has half-sent a request when it is to end is waited for so long: less than what a
/// container is given to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

/// Serves until `stop` is done, and answers what came before that, within some seconds.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    stack: Arc<Stack>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(stack);
    let (tell, told) = oneshot::channel();
    let stop = async move {
        stop.await;
        tell.send(()).ok();
    };
    let too_late = async {
        // If nobody tells it, the front has ended.
        drop(told.await);
        tokio::time::sleep(ENDS_WITHIN).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future() => served,
        () = too_late => Ok(()),
    }
}

async fn answer(
    State(stack): State<Arc<Stack>>,
    request: axum::extract::Request,
) -> http::Response<Body> {
    write(taken(&stack, request).await.unwrap_or_else(Response::from))
}

/// Answered in its turn, or not taken.
async fn taken(stack: &Stack, request: axum::extract::Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Some(lane) = stack.lanes.of(parts.uri.path()) else {
        // Nobody looks at a body that comes with a visit.
        return Ok(stack.handle(read(parts, Bytes::new())).await);
    };
    let Ok(_place) = lane.places.try_acquire() else {
        // A body that is left unread would break the connection off, and the answer with it. Who
        // expects to be asked for it has not sent it.
        if !parts.headers.contains_key(header::EXPECT) {
            let passed_over = to_bytes(body, PASSED_OVER_MOST);
            drop(tokio::time::timeout(PASSED_OVER_WITHIN, passed_over).await);
        }
        return Err(stack.lanes.turn_away());
    };
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MOST))
        .await
        .map_err(|_| Problem::unavailable())?
        .map_err(|_| Problem::too_large())?;
    let turn = lane.turns.acquire().await;
    let _turn = turn.expect("nobody closes the lanes");
    Ok(stack.handle(read(parts, body)).await)
}

fn read(parts: Parts, body: Bytes) -> Request {
    let https = parts
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|value| value == "https");
    Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        https,
        country: None,
        headers: parts.headers,
        body,
        // The stack sets its own clock's.
        now: Timestamp::UNIX_EPOCH,
    }
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
