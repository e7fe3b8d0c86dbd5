//! Many results in one request: a line each, an answer each.

use shared::app::App;
use shared::http_types::{Fields, Problem, Request, Response};
use shared::lambda::Watch;

use super::sender::Sender;

const LINES_MOST: usize = 1_000;
const BYTES_MOST: usize = 1_024 * 1_024;

pub async fn answer(
    app: &App,
    sender: &Sender,
    request: &Request,
    watch: Watch<'_>,
) -> Result<Response, Problem> {
    let mut query = request.query_fields()?;
    query.text("token")?;
    query.finish()?;
    if request.body.len() > BYTES_MOST {
        return Err(Problem::too_large());
    }
    let lines: Vec<&[u8]> = lines(&request.body);
    if lines.len() > LINES_MOST {
        return Err(Problem::too_large());
    }

    let mut answers = Vec::with_capacity(lines.len());
    for line in lines {
        if watch.is_nearly_over() {
            answers.push(Err(Problem::unavailable()));
            continue;
        }
        answers.push(match Fields::from_json(line) {
            Ok(fields) => super::line(app, sender, fields.refusing_macros(), request.now).await,
            Err(invalid) => Err(invalid.into()),
        });
    }
    Ok(Response::lines(answers))
}

/// Lines as NDJSON has them; an empty last one is the end of the one before.
fn lines(body: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = body
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines
}
