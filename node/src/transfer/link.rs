//! How the connection to a guest is set up, for what is sent on it.
//!
//! The system's congestion control may be one that is made for long ways with
//! loss (bbr, which paces what it sends by what it believes the link to carry).
//! Within a machine or a room there is nothing to pace for: there it costs up to
//! a third of the rate, and processor time (measured over loopback with
//! `sendfile`: 2,366 MB/s with bbr and 2,841 with reno; the owner's processor
//! 0.09 s and 0.06 s for 394 MB). So who is near is sent to with reno, which
//! every system has and allows; for everyone else the system knows better.
//!
//! A connection that has had bbr once is paced for ever, whatever it has later.
//! So all begin with reno, and those who turn out to be far get the usual one.
//!
//! And the system takes megabytes that it can't send yet. On a link of 100
//! Mbit/s, 0.8 to 1.3 MB were measured: whatever is told of new chunks waits
//! behind them for a tenth of a second. So it takes no more than [`UNSENT`].

use std::time::Duration;

use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

/// Who answers within this is near. Two machines in a room need 0.1 to 0.5 ms,
/// and a busy machine a while to answer at all; two cities are 5 ms apart, and
/// over 2 ms reno has its rate again some hundredths of a second after a loss.
const NEAR: Duration = Duration::from_millis(2);

/// What is used for who is near.
const CONTROL: &str = "reno";

/// Bytes that the system takes beyond what it can send at once: 10 ms on a link
/// of 100 Mbit/s. Over loopback neither rate nor processor time showed a
/// difference between this and no bound.
const UNSENT: u32 = 128 * 1024;

/// How the system controls congestion, if we could have it do otherwise.
#[derive(Debug, Clone)]
pub(super) struct Usual(Option<String>);

/// From now on who connects is sent to as one who is near.
pub(super) fn prepare(listener: &TcpListener) -> Usual {
    let usual = tcp_congestion(listener);
    let usual = usual.and_then(|usual| set_tcp_congestion(listener, CONTROL).map(|()| usual));
    Usual(usual.inspect_err(|error| debug!("no other congestion control: {error}")).ok())
}

/// Sets the connection up, when a peer has taken `answered` to answer. If the
/// system refuses, it is merely slower.
pub(super) fn adapt(stream: &TcpStream, answered: Duration, usual: &Usual) {
    if let Err(error) = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        debug!("no bound on what is not sent yet: {error}");
    }
    let Usual(Some(usual)) = usual else { return };
    if answered <= NEAR || is_here(stream) {
        return;
    }
    match set_tcp_congestion(stream, usual) {
        Ok(()) => debug!("answered within {answered:?}: {usual}"),
        Err(error) => debug!("no other congestion control: {error}"),
    }
}

/// Whether the other end is on this machine.
fn is_here(stream: &TcpStream) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    peer.ip().to_canonical() == local.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    /// The congestion control of the system, and that of a connection from there.
    async fn control(from: &str, answered: Duration) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let before = tcp_congestion(&listener).unwrap();
        let usual = prepare(&listener);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let call = socket.connect(listener.local_addr().unwrap());
        let (_calls, accepted) = tokio::join!(call, listener.accept());
        let (stream, _) = accepted.unwrap();
        assert_eq!(tcp_congestion(&stream).unwrap(), CONTROL, "from the beginning");
        adapt(&stream, answered, &usual);
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), UNSENT);
        (before, tcp_congestion(&stream).unwrap())
    }

    #[tokio::test]
    async fn who_is_near_is_sent_to_without_pacing_and_nobody_else() {
        assert_eq!(control("127.0.0.2:0", NEAR / 2).await.1, CONTROL);
        // Busy, but on this machine.
        assert_eq!(control("127.0.0.1:0", NEAR * 99).await.1, CONTROL);
        let (system, far) = control("127.0.0.2:0", NEAR * 2).await;
        assert_eq!(far, system);
    }
}
