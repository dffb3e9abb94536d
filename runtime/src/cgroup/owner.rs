//! Handing a v2 group down to the user who runs in it (config-linux.md, "Cgroup ownership").

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use super::Group;
use super::error::Error;

/// The files that go with the directory where the kernel does not list them (before Linux 4.15).
const FILES_DEFAULT: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Group {
    /// Gives the v2 directory, and the files in it that the kernel says are the owner's, to a user.
    /// The limits are in other files, and stay the runtime's.
    ///
    /// # Errors
    /// The file that could not be given away; one that is not there is none.
    pub fn give_to(&self, uid: u32) -> Result<(), Error> {
        let Some(member) = self.v2_member() else { return Ok(()) };
        let (dir, path) = (member.dir.as_fd(), member.dir.path());
        let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate");
        let listed = listed.as_deref().unwrap_or(FILES_DEFAULT);
        let give =
            |name: &str, flags| match fchownat(dir, name, Some(Uid::from_raw(uid)), None, flags) {
                Err(errno) if errno != Errno::ENOENT => {
                    Err(Error::io("give away", &path.join(name), errno))
                }
                _ => Ok(()),
            };
        give("", AtFlags::AT_EMPTY_PATH)?;
        let files = listed.lines().filter(|name| !name.is_empty() && !name.contains('/'));
        files.into_iter().try_for_each(|name| give(name, AtFlags::AT_SYMLINK_NOFOLLOW))
    }
}
