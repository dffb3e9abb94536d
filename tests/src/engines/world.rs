//! What all claims share: the place, the runtime, the image, and the engines, each started when
//! the first claim needs it.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow};
use loadline_fixtures::Image;

use super::Place;
use super::containerd::Containerd;
use super::docker::Docker;
use super::podman::Podman;

/// The name of the image that all engines are given.
pub(super) const IMAGE: &str = "localhost/box:latest";

/// One run of the suite.
#[derive(Debug)]
pub struct World {
    pub(super) runtime: PathBuf,
    /// The image in docker's archive form, which every engine reads.
    pub(super) archive: PathBuf,
    docker: OnceLock<Result<Docker, String>>,
    docker_userns: OnceLock<Result<Docker, String>>,
    containerd: OnceLock<Result<Containerd, String>>,
    podman: OnceLock<Result<Podman, String>>,
    rootless: OnceLock<Result<Podman, String>>,
    /// Dropped last: daemons end before their folders.
    pub(super) place: Place,
}

impl World {
    /// A world around a runtime's program.
    ///
    /// # Errors
    /// Without a busybox, or root.
    pub fn new(runtime: PathBuf) -> anyhow::Result<Self> {
        let image = Image::busybox(IMAGE)?;
        let place = Place::enter()?;
        let archive = place.folder.join("box.tar");
        image.write_docker_archive(&archive)?;
        Ok(Self {
            runtime,
            archive,
            docker: OnceLock::new(),
            docker_userns: OnceLock::new(),
            containerd: OnceLock::new(),
            podman: OnceLock::new(),
            rootless: OnceLock::new(),
            place,
        })
    }

    /// The docker daemon.
    pub(super) fn docker(&self) -> anyhow::Result<&Docker> {
        started(&self.docker, || Docker::start(self, "docker", &[]))
    }

    /// The docker daemon whose containers have user namespaces.
    pub(super) fn docker_userns(&self) -> anyhow::Result<&Docker> {
        started(&self.docker_userns, || Docker::start_userns(self))
    }

    pub(super) fn containerd(&self) -> anyhow::Result<&Containerd> {
        started(&self.containerd, || Containerd::start(self))
    }

    /// podman as root.
    pub(super) fn podman(&self) -> anyhow::Result<&Podman> {
        started(&self.podman, || Podman::new(self))
    }

    /// podman of an ordinary user.
    pub(super) fn rootless(&self) -> anyhow::Result<&Podman> {
        started(&self.rootless, || super::rootless::start(self))
    }

    /// Ends the daemons, then everything else.
    #[must_use]
    pub fn leave(self) -> Vec<String> {
        let Self { docker, docker_userns, containerd, place, .. } = self;
        drop((docker, docker_userns, containerd));
        place.leave()
    }
}

/// Starts an engine once; a start that failed fails for all.
fn started<T>(
    engine: &OnceLock<Result<T, String>>,
    start: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<&T> {
    let engine = engine.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    engine.as_ref().map_err(|why| anyhow!("{why}")).context("the engine did not start")
}
