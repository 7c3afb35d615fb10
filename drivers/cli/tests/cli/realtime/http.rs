//! As much of HTTP as clients need who are not here for a socket.

use std::io;
use std::net::TcpStream;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rejoin_core::Text;
use rejoin_sim::supabase::HttpAnswer;
use smol::Async;

/// Whether what comes is no upgrade.
pub(super) async fn is_post(tcp: &Async<TcpStream>) -> bool {
    let mut first = [0];
    matches!(tcp.peek(&mut first).await, Ok(1)) && first == *b"P"
}

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
}

pub(super) async fn write(tcp: &mut Async<TcpStream>, answer: &HttpAnswer) -> io::Result<()> {
    let reason = if answer.status == 202 { "Accepted" } else { "Whatever" };
    let retry_after = answer.retry_after.map(|secs| format!("retry-after: {secs}\r\n")).unwrap_or_default();
    let HttpAnswer { status, content_type, body, .. } = answer;
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{retry_after}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(text.as_bytes()).await?;
    tcp.flush().await
}

/// Reads until the client hangs up, and says nothing.
pub(super) async fn ignore(mut tcp: Async<TcpStream>) {
    let mut ignored = [0; 1024];
    while tcp.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
