//! The payout function on Lambda.

use std::process::ExitCode;

use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve_scheduled(
        App::from_environment,
        async |app: &App, request, watch| payout::handle(app, request, watch).await,
        async |app: &App, schedule, watch| payout::scheduled(app, &schedule, watch).await,
    )
}
