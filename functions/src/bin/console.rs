//! `GET /console` and `GET /console/{file}`: the keys page. It calls nothing, and its role allows only logging.

use keygate::api::console::Console;
use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::logging;
use keygate_core::environment::Environment;
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    logging::init(module_path!(), logging::level(&environment)?);
    // As a text, because Rust would print the error's fields instead of its sentence.
    let console = Console::from_environment(&environment).map_err(|error| error.to_string())?;
    management::serve(&environment, async |request: ManagementRequest| console.respond(&request)).await
}
