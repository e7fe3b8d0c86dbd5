//! The postback function: a merchant's server tells us of a result, or takes one back.

mod batch;
mod claim;
mod convert;
mod evidence;
mod reverse;
mod sender;
mod trail;

use http::{Method, StatusCode};
use serde_json::Value;
use shared::app::App;
use shared::http_types::{Fields, Problem, Request, Response};
use shared::lambda::Watch;

use sender::Sender;

/// What is asked for, and of which merchant, if the path says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Convert(Option<&'a str>),
    Reverse(Option<&'a str>),
    Batch(Option<&'a str>),
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/postback")?;
        let parts: Vec<&str> = rest.split('/').collect();
        match parts.as_slice() {
            [""] => Some(Self::Convert(None)),
            ["", "reversal"] => Some(Self::Reverse(None)),
            ["", "batch"] => Some(Self::Batch(None)),
            ["", merchant] if !merchant.is_empty() => Some(Self::Convert(Some(merchant))),
            ["", merchant, "reversal"] => Some(Self::Reverse(Some(merchant))),
            ["", merchant, "batch"] => Some(Self::Batch(Some(merchant))),
            _ => None,
        }
    }

    fn merchant(self) -> Option<&'a str> {
        match self {
            Self::Convert(merchant) | Self::Reverse(merchant) | Self::Batch(merchant) => merchant,
        }
    }
}

/// Answers one request, however long it takes.
pub async fn handle(app: &App, request: Request) -> Response {
    handle_until(app, request, Watch::without_deadline()).await
}

/// Answers one request. Those lines of a list that the watch leaves no time for are a 503 each, and
/// done when the list is sent again.
pub async fn handle_until(app: &App, request: Request, watch: Watch<'_>) -> Response {
    app.keys.refresh().await;
    answer(app, &request, watch).await.into()
}

async fn answer(app: &App, request: &Request, watch: Watch<'_>) -> Result<Response, Problem> {
    let route = Route::of(&request.path).ok_or_else(Problem::not_found)?;
    let is_batch = matches!(route, Route::Batch(_));
    match request.method {
        Method::POST => {}
        Method::GET if !is_batch => {}
        _ if is_batch => return Err(Problem::method_not_allowed("POST")),
        _ => return Err(Problem::method_not_allowed("GET, POST")),
    }

    let has_body = !is_batch && request.method == Method::POST;
    let fields = if has_body {
        request.fields()
    } else {
        request.query_fields().map_err(Problem::from)
    };
    let token = match &fields {
        Ok(fields) => fields.clone().text("token").ok().flatten(),
        Err(problem) if problem.field.as_deref() == Some("token") => None,
        // Who sends is known though the rest cannot be read, unless a body of JSON holds the token.
        Err(_) => request.once("token", has_body),
    };
    let sender = sender::authenticate(app, request, route.merchant(), token.as_deref()).await?;
    if is_batch {
        return batch::answer(app, &sender, request, watch).await;
    }

    let mut fields = fields?.refusing_macros();
    fields.text("token")?;
    let body = match route {
        Route::Reverse(_) => reverse::reverse(app, &sender, fields, request.now).await?,
        _ => convert::convert(app, &sender, fields, request.now).await?,
    };
    Ok(Response::json(StatusCode::OK, &body))
}

/// One line of a batch, answered as a request of its own would be.
async fn line(
    app: &App,
    sender: &Sender,
    mut fields: Fields,
    now: jiff::Timestamp,
) -> Result<Value, Problem> {
    match fields.required("type")?.as_str() {
        "conversion" => convert::convert(app, sender, fields, now).await,
        "reversal" => reverse::reverse(app, sender, fields, now).await,
        _ => Err(Problem::invalid("word_unknown", "type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_and_of_whom() {
        for (path, route) in [
            ("/postback", Some(Route::Convert(None))),
            ("/postback/reversal", Some(Route::Reverse(None))),
            ("/postback/batch", Some(Route::Batch(None))),
            ("/postback/shop", Some(Route::Convert(Some("shop")))),
            (
                "/postback/shop/reversal",
                Some(Route::Reverse(Some("shop"))),
            ),
            ("/postback/shop/batch", Some(Route::Batch(Some("shop")))),
            ("/postback/", None),
            ("/postback/shop/other", None),
            ("/postbacks", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
