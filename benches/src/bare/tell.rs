//! Who tells thousands of others as much as a tracker does, and does nothing else:
//! what the kernel alone takes for it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_congestion;
use shoal_common::limits::PUSH_GROUPS;

use crate::failure::{Attempt, Outcome};
use crate::say;

/// Sends `bytes` bytes every `pause` on each connection, until the process ends; by
/// groups, as a tracker does. The first line on standard output is the address.
///
/// # Errors
/// The address can't be had, or a connection not be accepted.
pub fn run(listen: SocketAddr, bytes: usize, pause: Duration) -> Outcome<()> {
    let listener = TcpListener::bind(listen).attempt(format!("`{listen}`"))?;
    listener.set_nonblocking(true)?;
    // Connections inherit it; a tracker has the same.
    set_tcp_congestion(&listener, "reno").attempt("congestion control `reno`")?;
    say::result(listener.local_addr()?);
    let message = vec![0; bytes];
    let mut guests: Vec<TcpStream> = Vec::new();
    let mut due = Instant::now();
    for group in (0..PUSH_GROUPS).cycle() {
        take_in(&listener, &mut guests)?;
        for guest in guests.iter().skip(group).step_by(PUSH_GROUPS) {
            // Who has gone, or is slow, is not told.
            rustix::io::write(guest, &message).ok();
        }
        due += pause / u32::try_from(PUSH_GROUPS)?;
        // The pace is what is compared.
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Accepts all that wait.
fn take_in(listener: &TcpListener, guests: &mut Vec<TcpStream>) -> Outcome<()> {
    loop {
        match listener.accept() {
            Ok((guest, _)) => {
                guest.set_nonblocking(true)?;
                guest.set_nodelay(true)?;
                guests.push(guest);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
