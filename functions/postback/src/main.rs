//! The postback function on Lambda.

use std::process::ExitCode;

use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve(App::from_environment, async |app: &App, request, watch| {
        postback::handle_until(app, request, watch).await
    })
}
