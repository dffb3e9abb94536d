//! Whether a connection over the host's loopback comes from a process of a task.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::network::netlink::diag;
use crate::task::workshop::Workshop;

/// Whether a process in the cgroup of `task_id` holds the socket that is connected from `peer` to
/// `own`. What can't be found out is a no.
pub(super) fn is_of_task(
    workshop: &Workshop,
    task_id: &str,
    peer: SocketAddr,
    own: SocketAddr,
) -> bool {
    let inode = match diag::socket_inode(peer, own) {
        Ok(inode) => inode,
        Err(error) => {
            let error = crate::text::chain(&error);
            tracing::warn!(error, "the owner of a connection can't be found");
            return false;
        }
    };
    let pids = workshop.processes(task_id);
    0 < inode && pids.into_iter().any(|pid| holds(pid, u64::from(inode)))
}

fn holds(pid: i32, inode: u64) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.into_iter().any(|fd| is_socket(&fd.path(), inode))
}

/// Links to sockets lead nowhere in the file system: what counts is what the kernel opens.
fn is_socket(fd: &Path, inode: u64) -> bool {
    std::fs::metadata(fd).is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt as _;
        found.file_type().is_socket() && found.ino() == inode
    })
}
