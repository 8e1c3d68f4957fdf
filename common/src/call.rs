//! The calling side of every conversation, once.

use std::fmt;
use std::io;

use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use crate::connection::{Connection, ConnectionError};
use crate::limits::{CONNECT_DEADLINE, HELLO_DEADLINE, MAX_REQUEST_FRAME};
use crate::party::Party;
use crate::protocol::greeting::{Greeting, Hello, Talk};
use crate::protocol::refusal::Refusal;

/// Why somebody could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection: nobody listens there, or the network does not get there.
    #[error("`{address}` can't be reached: {cause}")]
    Unreachable {
        /// Who was called.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// No connection within the time for it.
    #[error("`{address}` does not answer within {} s", CONNECT_DEADLINE.as_secs())]
    NoAnswer {
        /// Who was called.
        address: String,
    },
    /// It won't talk to us.
    #[error("`{address}` refuses to talk: {refusal}")]
    Refused {
        /// Who was called.
        address: String,
        /// Why it won't.
        refusal: Refusal,
    },
    /// The greeting went wrong: perhaps another program listens there, or as many
    /// are connected as can be.
    #[error("`{address}` does not greet {}", how(cause))]
    Greeting {
        /// Who was called.
        address: String,
        /// What went wrong.
        cause: ConnectionError,
    },
}

/// What is wrong with a greeting. Who says nothing may be busy: connections that one
/// has no room for wait in its kernel.
fn how(cause: &ConnectionError) -> String {
    match cause {
        ConnectionError::Silent(_) => format!("({cause}); perhaps it is full"),
        _ => format!("like a part of Shoal: {cause}"),
    }
}

/// Opens a connection for a conversation and greets. Returns it with the greeting
/// of the other side.
///
/// # Errors
/// See [`CallError`]. Takes at most [`CONNECT_DEADLINE`], within which a name is
/// resolved too, then [`HELLO_DEADLINE`] until the answer begins, and then
/// [`FRAME_DEADLINE`](crate::limits::FRAME_DEADLINE) until it is whole.
pub async fn call<A>(
    address: A,
    us: &Party,
    talk: Talk,
) -> Result<(Connection<TcpStream>, Hello), CallError>
where
    A: ToSocketAddrs + fmt::Display,
{
    call_with(address, us, talk, |_| Ok(())).await
}

/// As [`call`], with what `ahead` queues right behind the greeting: a round trip
/// less. It is sent to whoever listens there, so it is nothing that only the one
/// who is meant may know; and what comes is to be read only after this returned.
///
/// # Errors
/// As for [`call`]; an error of `ahead` counts as one of the greeting.
pub async fn call_with<A>(
    address: A,
    us: &Party,
    talk: Talk,
    ahead: impl FnOnce(&mut Connection<TcpStream>) -> Result<(), ConnectionError>,
) -> Result<(Connection<TcpStream>, Hello), CallError>
where
    A: ToSocketAddrs + fmt::Display,
{
    let called = || address.to_string();
    let stream = match timeout(CONNECT_DEADLINE, TcpStream::connect(&address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => {
            return Err(CallError::Unreachable { address: called(), cause });
        }
        Err(_) => return Err(CallError::NoAnswer { address: called() }),
    };
    // Small requests must not wait for each other (Nagle). If the system
    // refuses, they are merely slower.
    stream.set_nodelay(true).ok();
    let mut connection = Connection::new(stream);
    match greet(&mut connection, us, talk, ahead).await {
        Ok(Greeting::Hello(hello)) => match us.greets(talk).check(&hello) {
            Ok(()) => {
                us.clock.witness(hello.lamport);
                connection.keep_time(us.clock.clone());
                Ok((connection, hello))
            }
            Err(refusal) => Err(CallError::Refused { address: called(), refusal }),
        },
        Ok(Greeting::Refused { refusal }) => Err(CallError::Refused { address: called(), refusal }),
        Err(cause) => Err(CallError::Greeting { address: called(), cause }),
    }
}

async fn greet(
    connection: &mut Connection<TcpStream>,
    us: &Party,
    talk: Talk,
    ahead: impl FnOnce(&mut Connection<TcpStream>) -> Result<(), ConnectionError>,
) -> Result<Greeting, ConnectionError> {
    connection.queue(&Greeting::Hello(us.greets(talk)), MAX_REQUEST_FRAME)?;
    connection.tell_time(us.clock.clone());
    ahead(connection)?;
    connection.flush().await?;
    connection.receive(MAX_REQUEST_FRAME, HELLO_DEADLINE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_is_not_taken_for_another_program() {
        let address = "tracker:12345".to_owned();
        let silent = ConnectionError::Silent(HELLO_DEADLINE);
        assert_eq!(
            CallError::Greeting { address, cause: silent }.to_string(),
            "`tracker:12345` does not greet (nothing came for 5 s); perhaps it is full"
        );
    }
}
