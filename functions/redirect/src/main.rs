//! The redirect function on Lambda.

use std::process::ExitCode;

use redirect::Redirect;
use shared::app::App;

fn main() -> ExitCode {
    shared::lambda::serve(
        async || App::from_environment().await.map(Redirect::new),
        async |state: &Redirect, request, _| redirect::handle(state, request).await,
    )
}
