//! The payout function on Lambda.

use std::process::ExitCode;

use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve_scheduled(
        App::from_environment,
        async |app: &App, request| payout::handle(app, request).await,
        async |app: &App, schedule| payout::scheduled(app, &schedule).await,
    )
}
