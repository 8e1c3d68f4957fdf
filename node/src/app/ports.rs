//! The ports of a node, and how many connections each may have.

use std::net::{IpAddr, SocketAddr};

use shoal_common::limits::{MAX_NODE_CONNECTIONS, MAX_TRACKER_GUESTS};
use shoal_common::process::connections;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

use super::node::StartError;

/// Ports that connections come to: for searches, for content, and the control
/// socket.
const PORTS: usize = 3;

/// Descriptors that are kept for files and for calling others.
const DESCRIPTOR_RESERVE: usize = 256;

/// Connections that each port may have, and how many more the search port for the
/// nodes whose tracker this one is: half of the descriptors, or more if the ports
/// do not need theirs. They are not taken from the others, so searches and
/// inquiries are answered, however many nodes there are.
pub(super) fn slots() -> (usize, usize) {
    let each = connections(MAX_NODE_CONNECTIONS, 2 * PORTS, DESCRIPTOR_RESERVE);
    (each, connections(MAX_TRACKER_GUESTS, 1, DESCRIPTOR_RESERVE + PORTS * each))
}

/// Listens on a port whose events go to the threads of `runtime`.
pub(super) fn listen(
    runtime: &Handle,
    ip: IpAddr,
    port: u16,
) -> Result<(TcpListener, SocketAddr), StartError> {
    /// Connections that may wait in the kernel to be accepted.
    const BACKLOG: u32 = 1024;
    let address = SocketAddr::new(ip, port);
    let bind = || {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port of an earlier life may be in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    };
    let _entered = runtime.enter();
    bind().map_err(|cause| StartError::Listen { address, cause })
}
