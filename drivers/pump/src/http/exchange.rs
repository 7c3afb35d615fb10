//! One request and its response on one connection, in the words of `ureq-proto`.

use std::fmt;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::http::{HttpError, HttpMethod, HttpRequest, HttpResponse};
use ureq_proto::BodyMode;
use ureq_proto::client::state::{Cleanup, RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult};
use ureq_proto::http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use ureq_proto::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};

use super::body::{self, BodyError, Decoded};
use super::connection::Connection;
use crate::retry_after::retry_after;
use crate::runtime::Runtime;

/// The largest head of a response.
const HEAD_BYTES: usize = 16 * 1024;

/// A request that is ready to be said, and how far its response has come.
pub(super) struct Exchange {
    head: Vec<u8>,
    body: Bytes,
    call: Call<RecvResponse>,
    body_limit: usize,
}

/// Why an exchange did not come to its end.
pub(super) enum Failure {
    /// The connection ended before a single byte of the response.
    Unanswered(String),
    Failed(HttpError),
}

impl Exchange {
    /// Fails if the request is none that HTTP could express.
    pub(super) fn new(request: &HttpRequest, uri: &Uri) -> Result<Self, HttpError> {
        let body = if request.method == HttpMethod::Post { request.body.clone() } else { Bytes::new() };
        let mut call = Call::new(http_request(request, uri, body.len())?).map_err(cannot_be_said)?.proceed();
        // Room for all lines, so that one call writes them. The URL is there up to three times: as
        // path, as host and as credentials.
        let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut head = vec![0; 256 + 3 * request.url.len() + headers];
        let len = call.write(&mut head).map_err(cannot_be_said)?;
        head.truncate(len);
        let call = match call.proceed().map_err(cannot_be_said)? {
            Some(SendRequestResult::RecvResponse(call)) => Some(call),
            Some(SendRequestResult::SendBody(mut call)) => {
                // The connection writes it while the response is awaited.
                call.consume_direct_write(body.len()).map_err(cannot_be_said)?;
                call.proceed()
            }
            Some(SendRequestResult::Await100(_)) | None => None,
        };
        let call = call.ok_or_else(|| cannot_be_said("its head is too large"))?;
        Ok(Self { head, body, call, body_limit: request.body_limit })
    }

    /// The response, and whether the connection may be used again.
    pub(super) async fn run<R: Runtime>(
        self,
        connection: &mut Connection<R::Io>,
        runtime: &R,
    ) -> Result<(HttpResponse, bool), Failure> {
        connection.send(&self.head);
        connection.send(&self.body);
        let mut call = self.call;
        let head = read_head(connection, &mut call).await?;
        let (body, call) = match call.proceed().ok_or_else(|| no_http("its head has no end"))? {
            RecvResponseResult::RecvBody(call) => read_body(connection, call, self.body_limit).await?,
            RecvResponseResult::Redirect(call) => (Vec::new(), Some(call.proceed())),
            RecvResponseResult::Cleanup(call) => (Vec::new(), Some(call)),
        };
        let reusable = connection.is_clean() && call.is_some_and(|call| !call.must_close_connection());
        let mut response = HttpResponse::new(head.status().as_u16(), body);
        response.retry_after = retry_after(head.headers(), runtime.unix_time());
        Ok((response, reusable))
    }
}

fn http_request(request: &HttpRequest, uri: &Uri, body: usize) -> Result<Request<()>, HttpError> {
    let mut http = Request::new(());
    *http.uri_mut() = uri.clone();
    for (name, value) in &request.headers {
        let bad = |what: &str| cannot_be_said(format!("the header `{}` has an illegal {what}", name.as_str()));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("name"))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| bad("value"))?;
        // How the body is framed is not the application's business.
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].contains(&name) {
            http.headers_mut().append(name, value);
        }
    }
    if request.method == HttpMethod::Post {
        *http.method_mut() = Method::POST;
        http.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body));
    }
    Ok(http)
}

async fn read_head<Io>(connection: &mut Connection<Io>, call: &mut Call<RecvResponse>) -> Result<Response<()>, Failure>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut answered = false;
    loop {
        match connection.fill().await {
            Ok(0) if answered => return Err(broken("the server hung up within its answer")),
            Ok(0) => return Err(Failure::Unanswered("the server hung up without an answer".into())),
            Err(error) if !answered => return Err(Failure::Unanswered(error.to_string())),
            Err(error) => return Err(broken(error)),
            Ok(_) => answered = true,
        }
        // More than one: there may be heads of information before that of the response.
        loop {
            let (used, response) = call.try_response(&connection.incoming, false).map_err(no_http)?;
            connection.consume(used);
            match response {
                Some(response) => return Ok(response),
                None if used == 0 => break,
                None => {}
            }
        }
        if connection.incoming.len() > HEAD_BYTES {
            return Err(no_http("its head has no end"));
        }
    }
}

/// The body, and the call if that came to its proper end.
async fn read_body<Io>(
    connection: &mut Connection<Io>,
    mut call: Call<RecvBody>,
    limit: usize,
) -> Result<(Vec<u8>, Option<Call<Cleanup>>), Failure>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let ends_with_the_stream = match call.body_mode() {
        BodyMode::LengthDelimited(len) if len > limit as u64 => return Err(too_large(limit)),
        mode => mode == BodyMode::CloseDelimited,
    };
    let decode = |input: &[u8], output: &mut [u8]| {
        let (consumed, written) = call.read(input, output)?;
        Ok(Decoded { consumed, written, ended: call.can_proceed() && !ends_with_the_stream })
    };
    match body::read(connection, limit, decode).await {
        Ok(body) => {
            let call = call.proceed().map(|end| match end {
                RecvBodyResult::Redirect(call) => call.proceed(),
                RecvBodyResult::Cleanup(call) => call,
            });
            Ok((body, call))
        }
        // Some servers hang up before the very last line of a chunked body.
        Err(BodyError::HungUp(body)) if ends_with_the_stream || call.is_ended_chunked() => Ok((body, None)),
        Err(BodyError::HungUp(_)) => Err(broken("the server hung up within its answer")),
        Err(BodyError::TooLarge) => Err(too_large(limit)),
        Err(BodyError::Malformed(what)) => Err(no_http(what)),
        Err(BodyError::Io(error)) => Err(broken(error)),
    }
}

impl From<Failure> for HttpError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unanswered(what) => Self::Broken(what),
            Failure::Failed(error) => error,
        }
    }
}

fn cannot_be_said(what: impl fmt::Display) -> HttpError {
    HttpError::Unreachable(format!("the request is no HTTP: {what}"))
}

fn no_http(what: impl fmt::Display) -> Failure {
    broken(format!("the server did not answer in HTTP: {what}"))
}

fn broken(what: impl fmt::Display) -> Failure {
    Failure::Failed(HttpError::Broken(what.to_string()))
}

const fn too_large(limit: usize) -> Failure {
    Failure::Failed(HttpError::TooLarge { limit })
}
