//! The owner: ranges of one file, from the page cache to the socket by the
//! kernel, a blocking thread a connection.
//!
//! A request is 16 bytes: offset and length, big endian. The reply is the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::fs::sendfile;
use rustix::net::sockopt::set_tcp_congestion;

use crate::failure::{Attempt, Outcome};
use crate::say;

/// Most bytes that one call of `sendfile` moves, as the kernel has it.
const MOST: u64 = 0x7fff_f000;

/// Serves the file until the process ends. The first line on standard output
/// is the address.
///
/// # Errors
/// The file can't be opened, or the address not be had, or the kernel does not
/// know the congestion control.
pub fn run(file: &Path, listen: SocketAddr, congestion: Option<&str>) -> Outcome<()> {
    let file = Arc::new(File::open(file).attempt(format!("`{}`", file.display()))?);
    let listener = TcpListener::bind(listen).attempt(format!("`{listen}`"))?;
    if let Some(name) = congestion {
        // Connections inherit it.
        set_tcp_congestion(&listener, name).attempt(format!("congestion control `{name}`"))?;
    }
    say::result(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        let file = Arc::clone(&file);
        thread::spawn(move || {
            if let Err(error) = answer(&stream, &file) {
                say::note(format_args!("a connection broke: {error}"));
            }
        });
    }
}

/// Answers request after request until the other side closes.
fn answer(mut stream: &TcpStream, file: &File) -> io::Result<()> {
    let mut request = [0; 16];
    loop {
        match stream.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let number = u128::from_be_bytes(request);
        let (offset, length) =
            ((number >> 64) & u128::from(u64::MAX), number & u128::from(u64::MAX));
        let number = |part| u64::try_from(part).map_err(io::Error::other);
        send(stream, file, number(offset)?, number(length)?)?;
    }
}

fn send(stream: &TcpStream, file: &File, mut offset: u64, length: u64) -> io::Result<()> {
    let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
    while offset < end {
        let count = usize::try_from((end - offset).min(MOST)).map_err(io::Error::other)?;
        if sendfile(stream, file, Some(&mut offset), count)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
