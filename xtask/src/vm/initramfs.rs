//! The first file system of the machine: busybox, the modules on the way to the root, and two
//! scripts. Written as a "newc" archive (Linux, Documentation/driver-api/early-userspace).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::{Cgroups, Init, modules_of};
use crate::sh;

/// Modules that must be loaded, by name; what they need is looked up. Missing ones are built in.
const MODULES: &[&str] = &["virtio_pci", "virtiofs", "overlay"];

/// The hierarchies of version 1, as systemd mounts them.
const HIERARCHIES: &str = "cpuset\ncpu,cpuacct\nblkio\nmemory\ndevices\nfreezer\n\
                           net_cls,net_prio\nhugetlb\npids\nrdma\n";

/// What the command's last line on the serial port begins with, before its exit code.
pub(super) const EXIT: &str = "loadline-vm-exit: ";

/// What the machine says once it runs.
pub(super) const READY: &str = "loadline-vm-ready";

const INIT: &str = r#"#!/bin/busybox sh
fail() { echo "vm: $1" >/dev/ttyS1; busybox poweroff -f; }
b=/bin/busybox
$b mkdir -p /proc /sys /dev /lower /memory /new
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b stty -F /dev/ttyS1 raw -echo
while read -r module; do
    $b insmod "/modules/$module" || fail "can't load $module"
done </modules/order
$b mount -t virtiofs -o ro root /lower || fail "can't mount the host's root"
$b mount -t tmpfs -o mode=755,size=75% memory /memory
$b mkdir /memory/upper /memory/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /new \
    || fail "can't lay memory over the host's root"
$b mount --move /dev /new/dev
$b mount --move /sys /new/sys
$b mount --move /proc /new/proc
$b mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue /new/run
$b mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts /new/dev/pts
$b mount -t tmpfs shm /new/dev/shm
$b mount -t mqueue mqueue /new/dev/mqueue
$b mount -t tmpfs -o mode=755 run /new/run
if $b test -s /hierarchies; then
    $b mount -t tmpfs -o mode=755 cgroups /new/sys/fs/cgroup
    while read -r controllers; do
        $b mkdir "/new/sys/fs/cgroup/$controllers"
        $b mount -t cgroup -o "$controllers" cgroup "/new/sys/fs/cgroup/$controllers" \
            || fail "can't mount $controllers"
    done </hierarchies
    $b ln -s cpu,cpuacct /new/sys/fs/cgroup/cpu
    $b ln -s cpu,cpuacct /new/sys/fs/cgroup/cpuacct
    $b ln -s net_cls,net_prio /new/sys/fs/cgroup/net_cls
    $b ln -s net_cls,net_prio /new/sys/fs/cgroup/net_prio
else
    $b mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
fi
$b mount -t securityfs securityfs /new/sys/kernel/security
$b ip link set lo up
$b mkdir -p /new/run/tmp /new/run/vm /new/run/systemd/system
# systemd would empty /tmp, which can be large and can hold what the command needs.
$b mkdir -p /new/run/tmpfiles.d
$b ln -s /dev/null /new/run/tmpfiles.d/tmp.conf
$b mount -t tmpfs -o mode=1777 tmp /new/run/tmp
$b cp /command /first.sh /bin/busybox /new/run/vm/
$b cp /units/* /new/run/systemd/system/
echo loadline-vm-ready >/new/dev/ttyS1
exec $b switch_root /new $(cat /first)
"#;

/// Process 1 of the simple machine: it reaps what the command leaves behind.
const FIRST: &str = "#!/bin/sh
/bin/sh /run/vm/command
/run/vm/busybox poweroff -f
";

const SERVICE: &str = "[Unit]
Description=The command of this virtual machine
DefaultDependencies=no
Wants=dbus.socket dbus.service
After=dbus.socket dbus.service
[Service]
Type=oneshot
Delegate=yes
ExecStart=/bin/sh /run/vm/command
ExecStopPost=/run/vm/busybox poweroff -f
TimeoutStartSec=infinity
";

const TARGET: &str = "[Unit]
Description=Only what the command needs
DefaultDependencies=no
Requires=loadline-vm.service
AllowIsolate=yes
";

/// Makes the archive for `kernel`. `script` is a shell script that runs the command.
pub(super) fn make(
    kernel: &str,
    init: Init,
    cgroups: Cgroups,
    script: &str,
) -> anyhow::Result<Vec<u8>> {
    let busybox = sh::find("busybox").context("find busybox (apt-get install busybox-static)")?;
    let busybox = fs::read(&busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "units", "new"] {
        archive.add(folder, 0o040_755, &[]);
    }
    archive.add("bin/busybox", 0o100_755, &busybox);
    archive.add("bin/cat", 0o120_777, b"busybox");
    archive.add("init", 0o100_755, INIT.as_bytes());
    archive.add("command", 0o100_755, script.as_bytes());
    let hierarchies = match cgroups {
        Cgroups::Unified => "",
        Cgroups::V1 => HIERARCHIES,
    };
    archive.add("hierarchies", 0o100_644, hierarchies.as_bytes());
    let first = match init {
        Init::Script => "/run/vm/first.sh",
        Init::Systemd => "/lib/systemd/systemd --unit=loadline-vm.target",
    };
    archive.add("first", 0o100_644, first.as_bytes());
    archive.add("first.sh", 0o100_755, FIRST.as_bytes());
    archive.add("units/loadline-vm.service", 0o100_644, SERVICE.as_bytes());
    archive.add("units/loadline-vm.target", 0o100_644, TARGET.as_bytes());
    let mut order = String::new();
    for module in modules(&modules_of(kernel))? {
        let bytes = fs::read(&module).with_context(|| format!("read {module}"))?;
        let name = module.rsplit('/').next().unwrap_or(&module).to_owned();
        archive.add(&format!("modules/{name}"), 0o100_644, &bytes);
        order.push_str(&name);
        order.push('\n');
    }
    archive.add("modules/order", 0o100_644, order.as_bytes());
    Ok(archive.finish())
}

/// The files of [`MODULES`] and of all they need, in an order in which they can be loaded.
fn modules(folder: &Path) -> anyhow::Result<Vec<String>> {
    let path = folder.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut order: Vec<String> = Vec::new();
    for module in MODULES {
        let ending = format!("/{module}.ko:");
        let Some(line) = text.lines().find(|line| line.contains(&ending)) else { continue };
        let (file, needs) = line.split_once(':').unwrap_or((line, ""));
        // modules.dep names the nearest need first.
        for part in needs.split_whitespace().rev().chain([file]) {
            let full = folder.join(part).to_string_lossy().into_owned();
            if !order.contains(&full) {
                order.push(full);
            }
        }
    }
    Ok(order)
}

/// The script that runs `command` in `folder` with `environment`, its output on the second serial
/// port, followed by its exit code.
pub(super) fn script(folder: &str, environment: &[(String, String)], command: &[String]) -> String {
    let mut text = String::from("exec >/dev/ttyS1 2>&1 </dev/null\n");
    for (name, value) in environment {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    let _ = writeln!(text, "cd {} || exit 1", quoted(folder));
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(text, "{}\necho \"{EXIT}$?\"\nsync", words.join(" "));
    text
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.count += 1;
        // Inode, mode, uid, gid, links, time, size, four device numbers, length of name, sum.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_keeps_words_whole() {
        let command = ["echo", "it's $HOME"].map(str::to_owned);
        let script = script("/a b", &[("A".to_owned(), "1 2".to_owned())], &command);
        assert!(script.contains("export A='1 2'\n"), "{script}");
        assert!(script.contains("'echo' 'it'\\''s $HOME'\n"), "{script}");
        assert!(script.contains("cd '/a b'"), "{script}");
    }

    #[test]
    fn every_entry_of_the_archive_begins_at_four_bytes() {
        let mut archive = Archive::default();
        archive.add("abc", 0o100_644, b"12345");
        assert_eq!(archive.bytes.len() % 4, 0);
        assert!(archive.bytes.starts_with(b"070701"));
        assert!(archive.finish().windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
