//! A connection's byte stream: a TCP socket that can move between workers, or any other stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Any stream of bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream on its way to a worker, with what was already read of it.
pub struct RawSocket {
    /// The stream.
    pub stream: RawStream,
    /// What a quick client sent behind its request: the first bytes to be read.
    pub read_ahead: Bytes,
}

/// A stream that belongs to no runtime yet.
pub enum RawStream {
    /// Leaves one runtime for another.
    Tcp(std::net::TcpStream),
    /// Driven by the runtime it was made in (TLS in front of us, a pipe in a test).
    Other(Box<dyn Stream>),
}

/// A stream within a worker.
pub enum Socket {
    /// Registered with this worker's runtime.
    Tcp(TcpStream),
    /// See [`RawStream::Other`].
    Other(Box<dyn Stream>),
}

impl Socket {
    /// Registers the stream with the runtime of this thread.
    pub fn adopt(stream: RawStream) -> io::Result<Self> {
        Ok(match stream {
            RawStream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Self::Tcp(TcpStream::from_std(stream)?)
            }
            RawStream::Other(stream) => Self::Other(stream),
        })
    }

    /// Takes the stream out of this thread's runtime.
    pub fn release(self) -> io::Result<RawStream> {
        Ok(match self {
            Self::Tcp(stream) => RawStream::Tcp(stream.into_std()?),
            Self::Other(stream) => RawStream::Other(stream),
        })
    }

    /// Reads what is there; zero is the end.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Self::Other(stream) => Pin::new(stream).poll_read(context, &mut buffer),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes what it takes. When it takes nothing, the context's task is woken once it does.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Says that nothing more will be written.
    pub fn shut_down(&mut self, context: &mut Context<'_>) {
        // What cannot be shut down is closed by whoever drops it soon after.
        let _ = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(context),
        };
    }
}
