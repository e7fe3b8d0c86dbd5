//! The redirect function on Lambda.

use std::process::ExitCode;

use redirect::Redirect;
use shared::app::{App, StartError};

fn main() -> ExitCode {
    shared::lambda::serve(
        async || {
            let redirect = Redirect::new(App::from_environment().await?);
            redirect.warm().await;
            Ok::<_, StartError>(redirect)
        },
        async |state: &Redirect, request, _| redirect::handle(state, request).await,
    )
}
