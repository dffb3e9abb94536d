//! The process's terminal: made from the container's own devpts, by descriptors only.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::message;
use super::rooted::{self, Make};
use super::sync::Cause;
use super::{Done, Init};
use crate::sys::mount::{OPEN_TREE_CLONE, move_mount, open_tree};
use crate::sys::term;

/// The device number of a devpts multiplexer.
const PTMX: (u64, u64) = (5, 2);

impl Init<'_> {
    pub(super) fn terminal(
        &mut self,
        size: Option<(u16, u16)>,
        bind: bool,
        in_foreground: bool,
    ) -> Done {
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let master = rooted::open_with(self.root()?, Path::new("dev/pts/ptmx"), flags)?;
        let stat = fstat(&master)?;
        let is_character = stat.st_mode & libc::S_IFMT == SFlag::S_IFCHR.bits();
        if !is_character || stat.st_rdev != makedev(PTMX.0, PTMX.1) {
            return Err(Cause::OtherDevice);
        }
        term::unlock(master.as_fd())?;
        let terminal = term::peer(master.as_fd())?;
        if let Some((rows, columns)) = size {
            term::set_size(terminal.as_fd(), rows, columns)?;
        }
        if in_foreground && !term::is_between_terminals() {
            // A file or a pipe gets what the program wrote.
            let mut settings = tcgetattr(&terminal)?;
            settings.output_flags.remove(OutputFlags::ONLCR);
            tcsetattr(&terminal, SetArg::TCSANOW, &settings)?;
        }
        if bind {
            // Never through a link, which could lead to a file that is hidden later, or that
            // must not be a terminal (CVE-2025-52565).
            let (dir, name) = rooted::parent_of(self.root()?, Path::new("dev/console"))?;
            let place = rooted::open_or_make_child(dir.as_fd(), name, Make::File)?;
            let place = place.ok_or(Cause::Kernel(Errno::ELOOP))?;
            let mount = open_tree(terminal.as_fd(), c"", OPEN_TREE_CLONE)?;
            self.cut_off(mount.as_fd())?;
            move_mount(mount.as_fd(), place.as_fd())?;
        }
        let console = self.start.console.take().ok_or(Cause::Kernel(Errno::EBADF))?;
        // The data is its name, as runc's clients expect.
        message::send_fd(console.as_fd(), b"/dev/ptmx", master.as_fd())?;
        dup2_stdin(&terminal)?;
        dup2_stdout(&terminal)?;
        dup2_stderr(&terminal)?;
        Ok(term::control(terminal.as_fd())?)
    }
}
