//! What is to be moved, and a contestant that is a program.

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use crate::failure::{Attempt, Outcome};
use crate::place::{Place, delete, same};
use crate::process::{program, timed, timed_together};
use crate::race::Contestant;
use crate::setting::Setting;

/// A file, or a folder of files, at its owners.
#[derive(Debug)]
pub struct Course<'a> {
    /// How to measure.
    pub setting: &'a Setting,
    /// Where.
    pub place: &'a Place,
    /// The name of the file or the folder.
    pub name: String,
    /// Bytes in all.
    pub bytes: u64,
    /// How many have it.
    pub owners: u8,
    /// How many shall have it.
    pub guests: u8,
}

impl<'a> Course<'a> {
    /// A file of reproducible bytes at so many owners, for one guest. On one
    /// machine it is one file with many names: its pages are in memory once,
    /// for whoever serves it.
    ///
    /// # Errors
    /// The disk's.
    pub fn file(setting: &'a Setting, place: &'a Place, bytes: u64, owners: u8) -> Outcome<Self> {
        let name = "file.deb".to_owned();
        let course = Self { setting, place, name, bytes, owners, guests: 1 };
        let mut sample = program(setting.program("shoal-node"));
        sample.arg("sample").arg(course.source());
        timed(sample.args(["--size", &bytes.to_string(), "--seed", "file.deb"]))?;
        course.link()?;
        Ok(course)
    }

    /// A folder of `count` files of `size` bytes, each another content.
    ///
    /// # Errors
    /// The disk's.
    pub fn folder(setting: &'a Setting, place: &'a Place, count: u32, size: u32) -> Outcome<Self> {
        let bytes = u64::from(count) * u64::from(size);
        let name = "small".to_owned();
        let course = Self { setting, place, name, bytes, owners: 1, guests: 1 };
        fs::create_dir_all(course.source())?;
        let mut all = blake3::Hasher::new().update(b"small").finalize_xof();
        let mut content = vec![0; usize::try_from(size)?];
        for k in 0..count {
            all.fill(&mut content);
            fs::write(course.source().join(format!("file{k:06}")), &content)?;
        }
        course.link()?;
        Ok(course)
    }

    fn link(&self) -> Outcome<()> {
        for k in 0..self.owners {
            let to = self.place.folder(format!("owner{k}"))?.join(&self.name);
            if !self.source().is_dir() {
                fs::hard_link(self.source(), to)?;
                continue;
            }
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(self.source())? {
                let entry = entry?;
                fs::hard_link(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Where the content is that all others are compared with.
    pub fn source(&self) -> PathBuf {
        self.place.path("source").join(&self.name)
    }

    /// The folder of an owner.
    pub fn owner(&self, k: u8) -> PathBuf {
        self.place.path(format!("owner{k}"))
    }

    /// One of our programs.
    pub fn program(&self, name: &str) -> Command {
        program(self.setting.program(name))
    }
}

/// How a program is started for a guest whose folder this is.
type Start = Box<dyn Fn(u8, &Path) -> Command>;

/// A contestant that is a program: it is started anew for each run, once for
/// each guest.
pub struct Program {
    source: PathBuf,
    folders: Vec<PathBuf>,
    start: Start,
    /// What serves it; ended with it.
    _serving: Rc<dyn Any>,
}

impl Program {
    /// A program that puts the content into the folder that it is given, under
    /// its name.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(
        course: &Course<'_>,
        name: &str,
        serving: Rc<dyn Any>,
        start: impl Fn(u8, &Path) -> Command + 'static,
    ) -> Outcome<Self> {
        let folder = |guest| course.place.folder(format!("{name}-guest{guest}"));
        Ok(Self {
            source: course.source(),
            folders: (0..course.guests).map(folder).collect::<Outcome<_>>()?,
            start: Box::new(start),
            _serving: serving,
        })
    }
}

impl Contestant for Program {
    fn run(&mut self) -> Outcome<f64> {
        let each = (0..).zip(&self.folders);
        timed_together(each.map(|(guest, folder)| (self.start)(guest, folder)).collect())
    }

    fn check(&self) -> Outcome<()> {
        let name = self.source.file_name().unwrap_or_default();
        self.folders.iter().try_for_each(|folder| same(&self.source, &folder.join(name)))
    }

    fn clear(&mut self) -> Outcome<()> {
        self.folders.iter().try_for_each(|folder| {
            delete(folder)?;
            fs::create_dir_all(folder).attempt(format!("`{}`", folder.display()))
        })
    }
}
