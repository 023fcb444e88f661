//! The management API over `lambda_http`: the caller out of the authorizer's context, answers and problems (RFC 9457).

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use keygate_core::environment::Environment;
use keygate_core::error::{Error, InvalidField, Place};
use lambda_http::http::Method;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Body, Request, Response, service_fn};
use serde_json::value::RawValue;

use crate::api::cors::Cors;
use crate::api::invocation::{Format, Invocation, Reply, Unreadable};
use crate::api::problem::problem_of;
use crate::api::request::request_id;

/// How long an answer may take: less than the function may, so that the client hears that it should try again.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(9);

/// Takes requests until Lambda ends the function, and lets pages of the allowed origin read the answers. What is no request of
/// an API, or none that can be read, is refused with a problem.
///
/// # Errors
///
/// `CORS_ALLOW_ORIGIN` is no origin, or the Runtime API cannot be reached.
pub async fn serve<Respond, Answer>(
    environment: &Environment,
    respond: Respond,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
{
    let respond = |request| {
        let answer = respond(request);
        async { (answer.await, ()) }
    };
    serve_and_leave(environment, respond, as_problem, |_| std::future::ready(())).await
}

/// Does as [`serve`], and says in the words of `refuse` what is wrong with a request that `respond` has not seen, or not to its
/// end. Once for each invocation, before its answer is sent, `leave` gets what `respond` has left beside the answer, if it came to
/// that.
pub(crate) async fn serve_and_leave<Respond, Answer, Rest, Leave, Left>(
    environment: &Environment,
    respond: Respond,
    refuse: Refuse,
    leave: Leave,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = (Response<Body>, Rest)> + Send,
    Leave: Fn(Option<Rest>) -> Left + Sync,
    Left: Future<Output = ()> + Send,
{
    let cors = &Cors::from_environment(environment)?;
    let (respond, leave) = (&respond, &leave);
    run(move |call| async move {
        let rest = Cell::new(None);
        let respond = |request| {
            let (answer, rest) = (respond(request), &rest);
            async move {
                let (answer, left) = answer.await;
                rest.set(Some(left));
                answer
            }
        };
        let reply = match call {
            Invocation::Request(format, request) => {
                self::respond(cors, format, request, &respond, refuse).await
            }
            Invocation::Unreadable(format, unreadable) => self::refuse(cors, format, unreadable, refuse),
            Invocation::Direct(request) => self::refuse(cors, Format::V1, unexpected(&request), refuse),
        };
        leave(rest.take()).await;
        reply
    })
    .await
}

/// Does as [`serve`], and hands direct invocations, which IAM has authorised, to `direct` as the body of a request. The body of
/// the response is what the invocation is answered.
///
/// # Errors
///
/// As [`serve`] says.
pub async fn serve_with_direct<Respond, Answer, Direct, DirectAnswer>(
    environment: &Environment,
    respond: Respond,
    direct: Direct,
) -> Result<(), lambda_http::Error>
where
    Respond: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
    Direct: Fn(Request) -> DirectAnswer + Sync,
    DirectAnswer: Future<Output = Response<Body>> + Send,
{
    let cors = &Cors::from_environment(environment)?;
    let (respond, direct) = (&respond, &direct);
    run(move |call| async move {
        match call {
            Invocation::Request(format, request) => {
                self::respond(cors, format, request, respond, as_problem).await
            }
            Invocation::Unreadable(format, unreadable) => self::refuse(cors, format, unreadable, as_problem),
            Invocation::Direct(request) => {
                Reply::direct(in_time(Format::V1, request, direct, as_problem).await)
            }
        }
    })
    .await
}

/// Takes direct invocations alone, as [`serve_with_direct`] does, until Lambda ends the function. No API has the function, so
/// every event of one is refused.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn serve_direct<Direct, Answer>(direct: Direct) -> Result<(), lambda_http::Error>
where
    Direct: Fn(Request) -> Answer + Sync,
    Answer: Future<Output = Response<Body>> + Send,
{
    let direct = &direct;
    run(move |call| async move {
        match call {
            Invocation::Direct(request) => {
                Reply::direct(in_time(Format::V1, request, direct, as_problem).await)
            }
            Invocation::Request(format, request) => {
                self::refuse(&Cors::default(), format, unexpected(&request), as_problem)
            }
            Invocation::Unreadable(format, unreadable) => {
                self::refuse(&Cors::default(), format, unreadable, as_problem)
            }
        }
    })
    .await
}

async fn run<Handle, Handled>(handle: Handle) -> Result<(), lambda_http::Error>
where
    Handle: Fn(Invocation) -> Handled,
    Handled: Future<Output = Reply>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        // In a box, because the compiler gives up on the layout of what is nested any deeper.
        Ok::<_, Infallible>(Box::pin(handle(Invocation::read(event))).await)
    }))
    .await
}

/// An event that a function does not take.
fn unexpected(request: &Request) -> Unreadable {
    Unreadable { header: None, request_id: request_id(request) }
}

/// How an error is told to a client of an API of that format, with what the client quotes when it asks about it.
pub(crate) type Refuse = fn(Format, Error, Option<String>) -> Response<Body>;

#[expect(clippy::needless_pass_by_value, reason = "the signature that `Refuse` says")]
fn as_problem(_: Format, error: Error, request_id: Option<String>) -> Response<Body> {
    problem_of(&error, request_id)
}

/// The response of `respond`, or what is said in its place once it takes too long.
async fn in_time<Respond, Answer>(
    format: Format,
    request: Request,
    respond: &Respond,
    refuse: Refuse,
) -> Response<Body>
where
    Respond: Fn(Request) -> Answer,
    Answer: Future<Output = Response<Body>>,
{
    let request_id = request_id(&request);
    match tokio::time::timeout(HANDLER_TIMEOUT, respond(request)).await {
        Ok(answer) => answer,
        Err(_) => refuse(format, Error::Timeout(HANDLER_TIMEOUT), request_id),
    }
}

async fn respond<Respond, Answer>(
    cors: &Cors,
    format: Format,
    request: Request,
    respond: &Respond,
    refuse: Refuse,
) -> Reply
where
    Respond: Fn(Request) -> Answer,
    Answer: Future<Output = Response<Body>>,
{
    let answer = match *request.method() {
        Method::OPTIONS => cors.preflight(&request),
        _ => in_time(format, request, respond, refuse).await,
    };
    Reply::of_api(format, cors.allow(answer))
}

fn refuse(cors: &Cors, format: Format, unreadable: Unreadable, refuse: Refuse) -> Reply {
    let Unreadable { header, request_id } = unreadable;
    let (place, detail) = match header {
        Some(header) => (Place::Header(header), "must have no control characters"),
        None => (Place::Pointer(String::new()), "cannot be read"),
    };
    let error = Error::invalid(InvalidField { place, detail: detail.to_owned() });
    Reply::of_api(format, cors.allow(refuse(format, error, request_id)))
}
