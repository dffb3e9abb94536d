//! The controller as a program: how it begins, refuses and ends.

#[cfg(test)]
mod world;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::world::{Controller, World};

#[test]
fn it_says_where_it_listens_and_ends_in_order() {
    let world = World::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut controller = Controller::start(&world, &[]);
        let (api, agents) = controller.ready();
        for address in [api, agents] {
            std::net::TcpStream::connect(address).unwrap();
        }
        let (code, said) = controller.end(signal);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn the_first_start_makes_secrets_that_root_alone_can_read() {
    let world = World::new();
    let mut controller = Controller::start(&world, &[]);
    controller.ready();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(world.state().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("credentials"), mode("controller")), (0o600, 0o700));
    assert_eq!((mode("controller/ca.pem"), mode("controller/state.redb")), (0o600, 0o600));
}

#[test]
fn a_second_one_on_the_same_state_is_refused() {
    let world = World::new();
    let mut first = Controller::start(&world, &[]);
    first.ready();
    let (code, said) = Controller::start(&world, &[]).ended();
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("another controller (process {})", first.pid())), "{said}");
    assert_eq!(said.lines().count(), 1, "an error is printed once: {said}");
    // A crash gives the lock back.
    first.end(Signal::SIGKILL);
    Controller::start(&world, &[]).ready();
}

#[test]
fn what_is_in_its_way_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let check = |options: &[&str], expected: [&str; 2]| {
        let world = World::new();
        let (code, said) = Controller::start(&world, options).ended();
        assert_eq!(code, Some(1), "{said}");
        for text in expected {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
    };
    check(&["--api-listen", &taken], [&taken, "--api-listen"]);
    check(&["--agent-listen", &taken], [&taken, "--agent-listen"]);
    check(&["--dev", "--api-listen", "0.0.0.0:0"], ["--dev", "loopback"]);
    check(&["--state-dir", "/proc/nowhere"], ["/proc/nowhere/controller", "--state-dir"]);
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    for name in ["credentials", "controller/ca.pem"] {
        let world = World::new();
        let mut first = Controller::start(&world, &[]);
        first.ready();
        first.end(Signal::SIGTERM);
        let path = world.state().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (code, said) = Controller::start(&world, &[]).ended();
        assert_eq!(code, Some(1), "{said}");
        let shown = path.display().to_string();
        assert!(said.contains(&shown) && said.contains("chmod 600"), "{said}");
    }
}

#[test]
fn another_region_or_account_is_refused_once_arns_exist() {
    let world = World::new();
    let mut first = Controller::start(&world, &[]);
    first.ready();
    first.end(Signal::SIGTERM);
    for options in [["--region", "eu-west-1"], ["--account", "111111111111"]] {
        let (code, said) = Controller::start(&world, &options).ended();
        assert_eq!(code, Some(1), "{said}");
    }
    Controller::start(&world, &[]).ready();
}

#[test]
fn a_broken_store_is_refused_and_left_as_it_is() {
    let world = World::new();
    let folder = world.state().join("controller");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("state.redb");
    std::fs::write(&path, "this is no database").unwrap();
    let (code, said) = Controller::start(&world, &[]).ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "this is no database");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let controller = env!("CARGO_BIN_EXE_loadline-controller");
    let wrong: [&[&str]; 4] = [
        &["--no-such-option"],
        &["--region", "no:colons"],
        &["--account", "1"],
        &["--api-listen", "nowhere"],
    ];
    for options in wrong {
        let ended = Command::new(controller).args(options).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{options:?}");
    }
    let help = Command::new(controller).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for text in ["--agent-listen", "AWS_ENDPOINT_URL_ECS", "SIGTERM"] {
        assert!(help.contains(text), "{text}");
    }
}
