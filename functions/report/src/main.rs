//! The report function on Lambda.

use std::process::ExitCode;

use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve_scheduled(
        App::from_environment,
        async |app: &App, request, _| report::handle(app, request).await,
        async |app: &App, schedule, _| report::scheduled(app, &schedule).await,
    )
}
