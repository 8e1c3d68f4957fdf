//! Where the control socket lies: `.shoal/control` in the shared folder.
//!
//! The address of a Unix socket holds 108 bytes at most, far less than a path
//! may have. So the folder is opened, and the socket reached through the
//! descriptor of the folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::volume::Volume;

/// The socket in it.
const SOCKET: &str = "control";

/// A bound control socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket of the node that shares `files`. Only its owner can
    /// open it.
    ///
    /// The caller holds the lock of the volume, so a socket that lies there
    /// already was left by a dead node, and is replaced.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn bind(files: &Path) -> io::Result<Self> {
        let folder = Volume::state_path(files);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        let path = folder.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let opened = File::open(&folder)?;
        let listener = UnixListener::bind(through(&opened))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of the system; no descriptors left, for one.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A socket file that stays is replaced by the next node.
        fs::remove_file(&self.path).ok();
    }
}

/// Connects to the node that shares `files`.
///
/// # Errors
/// No node runs there ([`is_absent`]), or its socket can't be opened.
pub async fn connect(files: &Path) -> io::Result<UnixStream> {
    let folder = File::open(Volume::state_path(files))?;
    UnixStream::connect(through(&folder)).await
}

/// Whether this error of [`connect`] means that no node is running there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A short path to the socket in an open folder.
fn through(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).into()
}
