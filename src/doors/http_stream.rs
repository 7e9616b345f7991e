//! A TCP connection as the HTTP server has it, until a door takes the stream back.
//!
//! The server answers what its parser cannot read by itself, with a status and nothing else. On its
//! way out such an answer is given the body that every other refusal has.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::{HTTP_ADDRESS_BYTES_MAX, HTTP_BUFFER_BYTES_MAX, HTTP_HEADERS_MAX};
use crate::wire::problem;

/// See the module's front page.
#[derive(Debug)]
pub struct HttpStream {
    tcp: TcpStream,
    /// What is left to write in place of what the server wants written.
    instead: Option<Instead>,
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
}

impl HttpStream {
    /// A connection that has just been accepted.
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, instead: None }
    }

    /// The connection, to be spoken to otherwise.
    pub fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    fn poll_write_instead(
        &mut self,
        context: &mut Context<'_>,
        instead_of: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some(Instead { bytes, written }) = &mut self.instead {
            let rest = &bytes[*written..];
            let count = ready!(Pin::new(&mut self.tcp).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
            if *written == bytes.len() {
                self.instead = None;
            }
        }
        Poll::Ready(Ok(instead_of))
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = whole_answer(bytes).map(|bytes| Instead { bytes, written: 0 });
        }
        match self.instead {
            Some(_) => self.poll_write_instead(context, bytes.len()),
            None => Pin::new(&mut self.tcp).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers {
            [only] => self.poll_write(context, only),
            _ => Pin::new(&mut self.tcp).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

/// The parser's answers are no longer than this.
const BARE_BYTES_MAX: usize = 200;

/// What is to be written instead of an answer of the parser's: a head of status 400, 414 or 431 and
/// nothing behind it. No other answer is like that: ours have a body.
fn whole_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    if BARE_BYTES_MAX < bytes.len() {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?;
    let (status, title, code, detail) = match status {
        "400" => (
            400,
            "Bad Request",
            "BAD_REQUEST",
            "this is no HTTP/1.1 request that can be read".to_owned(),
        ),
        "414" => (
            414,
            "URI Too Long",
            "TOO_LARGE",
            format!("an address has at most {HTTP_ADDRESS_BYTES_MAX} bytes"),
        ),
        "431" => (
            431,
            "Request Header Fields Too Large",
            "TOO_LARGE",
            format!(
                "a request's head has at most {HTTP_BUFFER_BYTES_MAX} bytes and \
                 {HTTP_HEADERS_MAX} headers"
            ),
        ),
        _ => return None,
    };
    let mut lines = head.lines().skip(1);
    let is_known = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        match &*name.to_ascii_lowercase() {
            "content-length" => value.trim() == "0",
            "connection" | "date" => true,
            _ => false,
        }
    };
    if !lines.all(is_known) || head.contains("\r\n\r\n") {
        return None;
    }
    Some(bare_problem(status, title, code, &detail))
}

/// A whole answer that is a problem, from somebody who knows nothing of the request: its page may read
/// it, wherever it is from, for there is nothing in it. The connection ends with it.
fn bare_problem(status: u16, title: &str, code: &str, detail: &str) -> Vec<u8> {
    let body = problem::write(status, title, code, detail);
    let retry = match status {
        503 => "retry-after: 1\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {status} {title}\r\n\
         content-type: {}\r\n\
         content-length: {}\r\n\
         access-control-allow-origin: *\r\n\
         access-control-expose-headers: retry-after\r\n\
         cache-control: no-store\r\n\
         {retry}connection: close\r\n\r\n{body}",
        problem::CONTENT_TYPE,
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_replaced(answer: &str) -> bool {
        whole_answer(answer.as_bytes()).is_some()
    }

    #[test]
    fn only_what_the_parser_says_by_itself_is_replaced() {
        let date = "date: Mon, 30 Nov 2026 15:40:39 GMT\r\n";
        for status in ["400 Bad Request", "414 URI Too Long", "431 Too Large"] {
            let answer = |rest: &str| format!("HTTP/1.1 {status}\r\n{rest}\r\n");
            assert!(is_replaced(&answer(&format!(
                "content-length: 0\r\n{date}"
            ))));
            assert!(is_replaced(&answer(&format!(
                "connection: close\r\ncontent-length: 0\r\n{date}"
            ))));
            // Somebody else's, or with something behind it.
            assert!(!is_replaced(&answer("content-length: 10\r\n")));
            assert!(!is_replaced(&answer("content-type: text/plain\r\n")));
            assert!(!is_replaced(&answer(
                "content-length: 0\r\n\r\nHTTP/1.1 200\r\n"
            )));
        }
        assert!(!is_replaced("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!is_replaced("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!is_replaced("HTTP/1.1 400 Bad Request\r\n"));
        assert!(!is_replaced(""));
    }

    #[test]
    fn a_bare_problem_is_a_whole_answer() {
        let answer = bare_problem(503, "Service Unavailable", "DRAINING", "so \"it\" is");
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        for line in [&length, "retry-after: 1", "connection: close"] {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["detail"], "so \"it\" is");
    }
}
