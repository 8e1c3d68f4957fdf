//! The folder of the chat's memory.

use std::fs::File;
use std::io;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::{Volume, make_private_dir, read, write_soon, write_whole};

const CHAT: &str = "chat";

/// The folder of the chat's memory, in the node's own state.
#[derive(Debug)]
pub struct ChatDir {
    dir: Dir,
}

impl Volume {
    /// The folder of the chat's memory; made if it is not there.
    ///
    /// # Errors
    /// It can't be made or opened.
    pub fn chat(&self) -> io::Result<ChatDir> {
        make_private_dir(&self.state, CHAT)?;
        Ok(ChatDir { dir: self.state.open_dir(CHAT)? })
    }
}

impl ChatDir {
    /// The content of a file of it; nothing if there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match read(&self.dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(of(name, error)),
            content => content,
        }
    }

    /// Replaces a file, whole, without waiting for the disk.
    ///
    /// # Errors
    /// It can't be written; what was there before stays.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_soon(&self.dir, name, content)
    }

    /// Replaces a file, whole, and waits until the disk has it under its name.
    ///
    /// # Errors
    /// It can't be written; what was there before may be there still.
    pub fn replace_on_disk(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_whole(&self.dir, name, content)?;
        self.sync()
    }

    /// Waits until the disk has the names of all files.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&self) -> io::Result<()> {
        // A handle of its own: this one may be of a kind that can't be synced.
        self.dir.open(".")?.into_std().sync_all()
    }

    /// A file to be added to; made if it is not there.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn append(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        Ok(self.dir.open_with(name, &options).map_err(|error| of(name, error))?.into_std())
    }

    /// A file to be written in place; made if it is not there.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn in_place(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(self.dir.open_with(name, &options).map_err(|error| of(name, error))?.into_std())
    }
}

/// With the name of the file that it is about.
fn of(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let chat = Volume::open(folder.path()).unwrap().chat().unwrap();
        std::fs::create_dir(Volume::state_path(folder.path()).join("chat/outbox")).unwrap();
        let said = [
            chat.read("outbox").unwrap_err(),
            chat.append("outbox").unwrap_err(),
            chat.in_place("outbox").unwrap_err(),
        ];
        for error in said {
            assert!(error.to_string().starts_with("`outbox`: "), "{error}");
        }
    }
}
