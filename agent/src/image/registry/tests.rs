//! Pulls from registries that behave and that do not. Need root, to unpack.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::testing::{Manners, Registry};
use super::*;
use crate::image::CleanupRules;
use crate::image::testing::{Archive, Layer, Layout, gzip, here};

struct World {
    dir: tempfile::TempDir,
    store: Arc<ImageStore>,
    layout: Layout,
    manifest: String,
}

impl World {
    /// A store, and an image of two layers that can be served.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        Some(Self::in_folder(tempfile::tempdir().unwrap()))
    }

    fn in_folder(dir: tempfile::TempDir) -> Self {
        let store = Arc::new(ImageStore::open(&dir.path().join("images")).unwrap());
        let layout = Layout::new(&dir.path().join("layout"));
        // It must not compress well: a download is cut in its middle.
        let word = |n: u32| format!("{:x} ", n.wrapping_mul(2_654_435_761));
        let large: String = (0..20_000).map(word).collect();
        let layers = ["one", &large].map(|text| {
            let plain = Archive::new().file(&format!("file-{}", text.len()), text).bytes();
            Layer { diff_id: Digest::of(&plain), blob: gzip(&plain) }
        });
        let manifest = layout.image(&layers, &here())["digest"].as_str().unwrap().to_owned();
        Self { dir, store, layout, manifest }
    }

    async fn registry(&self, manners: Manners) -> Registry {
        Registry::serve(&self.layout, &self.manifest, manners).await
    }

    fn puller(&self, options: PullOptions) -> Puller {
        Puller::new(Arc::clone(&self.store), options).unwrap()
    }

    /// A docker `config.json` with a password for `registry`.
    fn docker_config(&self, registry: &Registry) -> PullOptions {
        let path = self.dir.path().join("config.json");
        let auths = json!({registry.address.to_string(): {"username": "me", "password": "pw"}});
        std::fs::write(&path, json!({ "auths": auths }).to_string()).unwrap();
        PullOptions { docker_config: Some(path), ..PullOptions::default() }
    }

    fn partial(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.store.partial_dir()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn words(error: &PullError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn an_image_is_pulled_once_and_its_layers_are_not_asked_for_again() {
    let test = "an_image_is_pulled_once_and_its_layers_are_not_asked_for_again";
    let Some(world) = World::new(test) else { return };
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let seen = Mutex::new(Progress::default());
    let report = |progress| *seen.lock().unwrap() = progress;
    let imported = puller.pull(&registry.reference(), &report).await.unwrap();
    assert_eq!(imported.digest.to_string(), world.manifest);
    let seen = *seen.lock().unwrap();
    assert!(0 < seen.total_bytes && seen.done_bytes == seen.total_bytes);
    let image = world.store.resolve(&registry.reference()).unwrap();
    assert!(image.layer_dirs[0].join("file-3").exists() && world.partial().is_empty());
    let blobs = |asked: Vec<testing::Asked>| {
        asked.into_iter().filter(|(path, _, _)| path.contains("/blobs/")).count()
    };
    assert_eq!(blobs(registry.asked()), 3);
    puller.pull(&registry.reference(), &|_| {}).await.unwrap();
    assert_eq!(blobs(registry.asked()), 1, "only the configuration is read again");
    let by_digest = format!("{}/team/app@{}", registry.address, world.manifest);
    puller.pull(&by_digest, &|_| {}).await.unwrap();
    assert_eq!(world.store.resolve(&by_digest).unwrap().digest, image.digest);
}

#[tokio::test]
async fn an_index_leads_to_this_platforms_manifest() {
    let Some(mut world) = World::new("an_index_leads_to_this_platforms_manifest") else { return };
    let entry = |digest: &str, architecture: &str| {
        let platform = json!({"os": "linux", "architecture": architecture});
        json!({"digest": digest, "size": 1, "platform": platform})
    };
    let other = format!("sha256:{}", "0".repeat(64));
    let index = json!({"manifests": [entry(&other, "s390x"), entry(&world.manifest, &here())]});
    let index = world.layout.blob(index.to_string().as_bytes());
    let platform =
        std::mem::replace(&mut world.manifest, index["digest"].as_str().unwrap().to_owned());
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let imported = puller.pull(&registry.reference(), &|_| {}).await.unwrap();
    assert_eq!(imported.digest.to_string(), platform);
    let by_index = format!("{}/team/app@{}", registry.address, world.manifest);
    puller.pull(&by_index, &|_| {}).await.unwrap();
    assert!(world.store.resolve(&by_index).is_ok());
}

#[tokio::test]
async fn a_name_and_password_are_sent_by_basic_and_for_a_token() {
    let test = "a_name_and_password_are_sent_by_basic_and_for_a_token";
    let Some(world) = World::new(test) else { return };
    for bearer in [false, true] {
        let manners = Manners { password: Some(("me", "pw")), bearer, ..Manners::default() };
        let registry = world.registry(manners).await;
        let anonymous = world.puller(PullOptions::default());
        let error = anonymous.pull(&registry.reference(), &|_| {}).await.unwrap_err();
        assert!(words(&error).contains("refused team/app without credentials"), "{error}");
        registry.asked();
        let puller = world.puller(world.docker_config(&registry));
        puller.pull(&registry.reference(), &|_| {}).await.unwrap();
        let tokens = registry.asked().into_iter().filter(|(p, _, _)| p.starts_with("/token?"));
        let tokens: Vec<_> = tokens.map(|(path, _, _)| path).collect();
        let expected = "/token?service=test%20registry&scope=repository%3Ateam%2Fapp%3Apull";
        assert_eq!(tokens, if bearer { vec![expected] } else { vec![] });
        registry.change(|manners| manners.password = Some(("me", "changed")));
        let error = puller.pull(&registry.reference(), &|_| {}).await.unwrap_err();
        assert!(words(&error).contains("as \"me\""), "{error}");
    }
}

#[tokio::test]
async fn cve_2020_15157_credentials_do_not_follow_a_redirect_to_another_host() {
    let test = "cve_2020_15157_credentials_do_not_follow_a_redirect_to_another_host";
    let Some(world) = World::new(test) else { return };
    let storage = world.registry(Manners::default()).await;
    let manners = Manners {
        password: Some(("me", "pw")),
        redirect_to: Some(format!("http://{}", storage.address)),
        ..Manners::default()
    };
    let registry = world.registry(manners).await;
    let puller = world.puller(world.docker_config(&registry));
    puller.pull(&registry.reference(), &|_| {}).await.unwrap();
    let asked = storage.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|(_, authorization, _)| authorization.is_none()), "{asked:?}");
    // Asked who it is by the storage host, it does not answer.
    storage.change(|manners| manners.password = Some(("me", "pw")));
    let again = puller.pull(&registry.reference(), &|_| {}).await.unwrap_err();
    assert!(matches!(again, PullError::Unauthorized { .. }));
    assert!(storage.asked().iter().all(|(_, authorization, _)| authorization.is_none()));
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_ended() {
    let Some(world) = World::new("a_download_that_is_cut_goes_on_where_it_ended") else { return };
    let manners = Manners { cut_after: Some(30_000), busy: 2, ..Manners::default() };
    let registry = world.registry(manners).await;
    let puller = world.puller(PullOptions::default());
    puller.pull(&registry.reference(), &|_| {}).await.unwrap();
    let ranges: Vec<_> = registry.asked().into_iter().filter_map(|(_, _, range)| range).collect();
    assert!(ranges.contains(&"bytes=30000-".to_owned()), "{ranges:?}");
    assert!(world.partial().is_empty());
}

#[tokio::test]
async fn a_registry_without_ranges_is_begun_anew_and_in_the_end_given_up() {
    let test = "a_registry_without_ranges_is_begun_anew_and_in_the_end_given_up";
    let Some(world) = World::new(test) else { return };
    let manners = Manners { cut_after: Some(30_000), no_ranges: true, ..Manners::default() };
    let registry = world.registry(manners).await;
    let puller = world.puller(PullOptions::default());
    let error = puller.pull(&registry.reference(), &|_| {}).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(world.store.list().is_empty());
    // What came of it stays, and the whole is begun anew once the registry has recovered.
    assert!(!world.partial().is_empty());
    registry.change(|manners| manners.cut_after = None);
    puller.pull(&registry.reference(), &|_| {}).await.unwrap();
    assert!(world.partial().is_empty());
}

#[tokio::test]
async fn a_registry_that_lies_is_found_out_and_nothing_stays() {
    let test = "a_registry_that_lies_is_found_out_and_nothing_stays";
    let Some(world) = World::new(test) else { return };
    for path in std::fs::read_dir(world.layout.path.join("blobs/sha256")).unwrap() {
        let path = path.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let is_layer = bytes.starts_with(&[0x1f, 0x8b]);
        if is_layer && 10_000 < bytes.len() {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
        }
    }
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let error = puller.pull(&registry.reference(), &|_| {}).await.unwrap_err();
    assert!(words(&error).contains("is truncated or altered: expected sha256:"), "{error}");
    assert!(world.store.list().is_empty() && world.partial().is_empty());
    let missing = format!("{}/team/app:2", registry.address);
    let error = puller.pull(&missing, &|_| {}).await.unwrap_err();
    assert!(words(&error).ends_with("does not exist: MANIFEST_UNKNOWN no such"), "{error}");
}

#[tokio::test]
async fn what_is_here_serves_where_the_registry_does_not() {
    let Some(world) = World::new("what_is_here_serves_where_the_registry_does_not") else { return };
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let reference = registry.reference();
    let obtain = |behaviour| puller.obtain(&reference, behaviour, &|_| {});
    obtain(PullBehaviour::PreferCached).await.unwrap();
    registry.asked();
    obtain(PullBehaviour::PreferCached).await.unwrap();
    assert!(registry.asked().is_empty());
    registry.change(|manners| manners.password = Some(("other", "pw")));
    obtain(PullBehaviour::Default).await.unwrap();
    assert!(obtain(PullBehaviour::Always).await.is_err());
    let nowhere = puller.obtain("127.0.0.1:1/no:1", PullBehaviour::Default, &|_| {}).await;
    let words = words(&nowhere.unwrap_err());
    assert!(words.starts_with("image 127.0.0.1:1/no:1 is not on this node (`loadline"), "{words}");
    assert!(words.contains("connect to 127.0.0.1:1: Connection refused"), "{words}");
}

#[tokio::test]
async fn pulls_of_the_same_image_at_once_download_it_once() {
    let test = "pulls_of_the_same_image_at_once_download_it_once";
    let Some(world) = World::new(test) else { return };
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let reference = registry.reference();
    let pulls = (0..4).map(|_| puller.pull(&reference, &|_| {}));
    let pulled: Vec<_> = futures_util::future::join_all(pulls).await;
    assert!(pulled.iter().all(Result::is_ok));
    let layers = registry.asked().into_iter().filter(|(path, _, _)| path.contains("/blobs/"));
    // Two layers once, and the configuration for each pull.
    assert_eq!(layers.count(), 2 + 4);
}

#[tokio::test]
async fn a_pulled_image_that_is_idle_is_cleaned_up_and_an_imported_one_is_not() {
    let test = "a_pulled_image_that_is_idle_is_cleaned_up_and_an_imported_one_is_not";
    let Some(world) = World::new(test) else { return };
    let registry = world.registry(Manners::default()).await;
    world.puller(PullOptions::default()).pull(&registry.reference(), &|_| {}).await.unwrap();
    let own = Layout::new(&world.dir.path().join("own"));
    let layer = Layer::plain(&Archive::new().file("own", "x"));
    own.index(own.image(&[layer], &here()), "own:1");
    world.store.import(&own.path, None, &mut |_| {}).unwrap();
    let rules = CleanupRules { idle_ms_min: 1000, images_per_cycle_max: 5 };
    let clean = |used: &[Digest], now_ms| {
        let used = used.iter().copied().collect::<std::collections::BTreeSet<_>>();
        world.store.clean_up(|| Ok(used.clone()), now_ms, &rules).unwrap()
    };
    let image = world.store.resolve(&registry.reference()).unwrap();
    let (later, layers) = (crate::clock::now_ms() + 2000, image.layers.clone());
    assert!(clean(&[], later - 2000).is_empty(), "it was used a moment ago");
    assert!(clean(&layers, later).is_empty(), "a container uses it");
    drop(image);
    assert_eq!(clean(&[], later), [registry.reference()]);
    let left: Vec<_> = world.store.list().into_iter().map(|image| image.reference).collect();
    assert_eq!(left, ["docker.io/library/own:1"]);
    assert!(!world.store.layer_dir(layers[0]).exists());
}

/// A small disk at `DIR/images`, in a mount namespace that this thread, and what it starts, has for
/// itself: it goes with the thread.
fn small_disk(dir: &Path) -> std::io::Result<()> {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let disk = dir.join("images");
    std::fs::create_dir(&disk)?;
    mount(none, &disk, Some("tmpfs"), MsFlags::empty(), Some("size=4m,mode=700"))?;
    Ok(())
}

/// Fills the disk of `filler` but for so many bytes.
fn leave(filler: &Path, bytes: u64) {
    let disk = rustix::fs::statvfs(filler.parent().unwrap()).unwrap();
    let zeros = vec![0; usize::try_from(disk.f_bavail * disk.f_frsize - bytes).unwrap()];
    std::fs::write(filler, zeros).unwrap();
}

#[test]
fn a_disk_that_fills_during_a_pull_is_told_with_what_to_do_and_the_next_pull_takes_the_whole() {
    let test =
        "a_disk_that_fills_during_a_pull_is_told_with_what_to_do_and_the_next_pull_takes_the_whole";
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {test}: needs root");
        return;
    }
    // A thread of its own: the namespace is no other test's.
    let run = move || {
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = small_disk(dir.path()) {
            eprintln!("SKIPPED {test}: needs a mount namespace with a small disk: {error}");
            return;
        }
        let world = World::in_folder(dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fill_and_pull(&world));
    };
    std::thread::spawn(run).join().unwrap();
}

async fn fill_and_pull(world: &World) {
    let registry = world.registry(Manners::default()).await;
    let puller = world.puller(PullOptions::default());
    let (reference, disk) = (registry.reference(), world.dir.path().join("images"));
    let filler = disk.join("filler");
    let blobs = std::fs::read_dir(world.dir.path().join("layout/blobs/sha256")).unwrap();
    let largest = blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).max().unwrap();
    let pages = 16 * 1024;
    // Full in the middle of the download, and full while what was downloaded is unpacked.
    for (step, room) in [("download", largest / 2), ("unpack", largest + pages)] {
        leave(&filler, room);
        let error = puller.pull(&reference, &|_| {}).await.unwrap_err();
        let text = crate::text::chain_of_images(&error);
        assert!(text.contains("No space left on device (os error 28): free some space"), "{text}");
        assert_eq!(text.contains("unpack the layer"), step == "unpack", "{step}: {text}");
        assert!(world.store.resolve(&reference).is_err(), "nothing of it can be used: {step}");
        for folder in ["layers", "scratch"] {
            let left: Vec<_> = std::fs::read_dir(disk.join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{step}: {folder}: {left:?}");
        }
        std::fs::remove_file(&filler).unwrap();
    }
    puller.pull(&reference, &|_| {}).await.unwrap();
    let image = world.store.resolve(&reference).unwrap();
    let sizes = image.layer_dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten());
    let is_whole = |entry: std::fs::DirEntry| {
        let said = entry.file_name().into_string().unwrap().replace("file-", "");
        said == entry.metadata().unwrap().len().to_string()
    };
    assert_eq!(
        sizes
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(is_whole)
            .collect::<Vec<_>>(),
        [true, true]
    );
    assert!(world.partial().is_empty());
}
