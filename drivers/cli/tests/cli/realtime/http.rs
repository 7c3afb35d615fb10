//! As much of HTTP as clients need who are not here for a socket.

use std::io;
use std::net::TcpStream;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rejoin_core::Text;
use rejoin_core::phoenix::LongPollResponse;
use rejoin_sim::supabase::HttpAnswer;
use smol::Async;

/// Whether what comes is an upgrade, which is left where it is. Clients write a request at once.
pub(super) async fn is_upgrade(tcp: &Async<TcpStream>) -> bool {
    let mut first = [0; 64];
    let seen = tcp.peek(&mut first).await.unwrap_or_default();
    let first = String::from_utf8_lossy(&first[..seen]);
    first.starts_with("GET ") && !first.contains(LONG_POLL)
}

const LONG_POLL: &str = "/longpoll?";

pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(Text, Text)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The next one of a connection. `None` when there is no more.
    pub(super) async fn read(tcp: &mut Async<TcpStream>) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).await.ok()?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).ok()?;
        let (first, rest) = head.split_once("\r\n")?;
        let [method, target, _] = first.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (method, target) = (method.to_owned(), target.to_owned());
        let headers = rest.lines().filter_map(|line| line.split_once(':'));
        let headers: Vec<(Text, Text)> = headers.map(|(name, value)| (name.into(), value.trim().into())).collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.map_or(Ok(0), |(_, length)| length.parse()).ok()?];
        tcp.read_exact(&mut body).await.ok()?;
        Some(Self { method, target, headers, body })
    }

    pub(super) fn is_poll(&self) -> bool {
        self.target.contains(LONG_POLL)
    }
}

pub(super) struct Response {
    status: u16,
    headers: Vec<(Text, Text)>,
    body: Vec<u8>,
}

impl Response {
    pub(super) async fn write(self, tcp: &mut Async<TcpStream>) -> io::Result<()> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (status, length) = (self.status, self.body.len());
        let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {length}\r\n\r\n");
        tcp.write_all(&[head.as_bytes(), &self.body].concat()).await?;
        tcp.flush().await
    }
}

impl From<HttpAnswer> for Response {
    fn from(answer: HttpAnswer) -> Self {
        let mut headers = vec![("content-type".into(), answer.content_type.into())];
        headers.extend(answer.retry_after.map(|secs| ("retry-after".into(), secs.to_string().into())));
        Self { status: answer.status, headers, body: answer.body.into() }
    }
}

impl From<LongPollResponse> for Response {
    fn from(LongPollResponse { status, headers, body, .. }: LongPollResponse) -> Self {
        Self { status, headers, body: body.to_vec() }
    }
}

/// Reads until the client hangs up, and says nothing.
pub(super) async fn ignore(mut tcp: Async<TcpStream>) {
    let mut ignored = [0; 1024];
    while tcp.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
