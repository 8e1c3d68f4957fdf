//! One that hands on what is said to many, and counts the bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal_common::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::Span;

use crate::failure::Outcome;

/// Listens at one port of all addresses of the loopback: the address that is called
/// says for whom it is.
pub(super) struct Relay {
    port: u16,
    /// Bytes that were handed back to those who called.
    pub(super) back: Arc<AtomicU64>,
}

impl Relay {
    /// Hands on to these, as long as the tasks run.
    ///
    /// # Errors
    /// The machine's.
    pub(super) async fn start(to: Vec<SocketAddr>, tasks: &Tasks) -> Outcome<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let (port, back) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
        let (counts, group) = (Arc::clone(&back), tasks.clone());
        tasks.spawn(Span::none(), async move {
            while let Ok((caller, _)) = listener.accept().await {
                let called = caller.local_addr().ok().and_then(number);
                let Some(to) = called.and_then(|number| to.get(number).copied()) else { continue };
                group.spawn(Span::none(), hand_on(caller, to, Arc::clone(&counts)));
            }
        });
        Ok(Self { port, back })
    }

    /// Where the one of this number is reached.
    pub(super) fn of(&self, number: u16) -> SocketAddr {
        let [high, low] = number.to_be_bytes();
        (Ipv4Addr::new(127, 1, high, low), self.port).into()
    }
}

fn number(at: SocketAddr) -> Option<usize> {
    match at.ip() {
        IpAddr::V4(ip) => {
            let [_, _, high, low] = ip.octets();
            Some(usize::from(u16::from_be_bytes([high, low])))
        }
        IpAddr::V6(_) => None,
    }
}

/// Until either hangs up. What goes wrong is seen by who called.
async fn hand_on(caller: TcpStream, to: SocketAddr, back: Arc<AtomicU64>) {
    let Ok(called) = TcpStream::connect(to).await else { return };
    caller.set_nodelay(true).ok();
    called.set_nodelay(true).ok();
    let (mut from, mut into) = caller.into_split();
    let (mut answers, mut asks) = called.into_split();
    let there = async {
        tokio::io::copy(&mut from, &mut asks).await.ok();
        asks.shutdown().await.ok();
    };
    let and_back = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            back.fetch_add(read as u64, Ordering::Relaxed);
            if into.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() {
                break;
            }
        }
        into.shutdown().await.ok();
    };
    tokio::join!(there, and_back);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn what_comes_back_is_counted() {
        let tasks = Tasks::new(Handle::current());
        let mut to = Vec::new();
        for number in 0..3_u8 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            to.push(listener.local_addr().unwrap());
            tasks.spawn(Span::none(), async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let said = stream.read_u8().await.unwrap();
                stream.write_all(&[said, number, number]).await.unwrap();
            });
        }
        let relay = Relay::start(to, &tasks).await.unwrap();
        for number in [2_u8, 0] {
            let mut stream = TcpStream::connect(relay.of(number.into())).await.unwrap();
            stream.write_u8(9).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, [9, number, number]);
        }
        assert_eq!(relay.back.load(Ordering::Relaxed), 6);
        tasks.stop(Duration::from_secs(5)).await.ok();
    }
}
