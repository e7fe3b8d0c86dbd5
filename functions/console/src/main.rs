//! The console function on Lambda.

use std::process::ExitCode;

use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve(App::from_environment, async |app: &App, request| {
        console::handle(app, request).await
    })
}
