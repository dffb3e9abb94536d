//! Images, which are the agent's business.

use serde_json::json;

use crate::world::World;

#[test]
fn an_import_tells_its_progress_and_prints_what_was_imported() {
    let world = World::agent(|asked| {
        assert_eq!(asked.line, "POST /v1/images/import HTTP/1.1");
        let lines = [
            json!({"progress": {"done_bytes": 1, "total_bytes": 2}}),
            json!({"progress": {"done_bytes": 2, "total_bytes": 2}}),
            json!({"imported": [{"reference": "r.io/busybox:1", "digest": "d", "size_bytes": 2}]}),
        ];
        (200, lines.map(|line| line.to_string()).join("\n") + "\n")
    });
    let file = world.file("image.tar", "");
    let path = file.to_str().unwrap();
    let (code, out, err) = world.type_it(&["image", "import", path, "--name", "busybox:1"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "r.io/busybox:1\n", ""));
    let asked = world.asked.lock().unwrap();
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    let path = file.canonicalize().unwrap();
    assert_eq!(body, json!({"path": path, "name": "busybox:1"}));
}

#[test]
fn an_import_that_fails_says_why() {
    let check = |lines: &'static str, code: i32, expected: &str| {
        let world = World::agent(move |_| (200, lines.to_owned()));
        let file = world.file("image.tar", "");
        let ended = world.type_it(&["image", "import", file.to_str().unwrap()]);
        assert_eq!(ended.0, code, "{ended:?}");
        assert!(ended.2.contains(expected), "{ended:?}");
    };
    check("{\"error\":\"no manifest\"}\n", 1, "error: the agent refused: no manifest\n");
    check("{\"progress\":{\"done_bytes\":1,\"total_bytes\":2}}\n", 3, "broke off");
    check("hello\n", 3, "an unknown line");
    let world = World::agent(|_| (200, String::new()));
    let (code, _, err) = world.type_it(&["image", "import", "nowhere.tar"]);
    assert_eq!(code, 1);
    assert!(err.starts_with("error: can't find nowhere.tar: "), "{err}");
}

#[test]
fn images_are_listed_and_removed_by_reference() {
    let world = World::agent(|asked| match asked.line.as_str() {
        "GET /v1/images HTTP/1.1" => {
            let digest = "sha256:0123456789abcdef";
            let image = json!({"reference": "a:1", "digest": digest, "size_bytes": 2048});
            (200, json!({ "images": [image] }).to_string())
        }
        "DELETE /v1/images?reference=a%3A1 HTTP/1.1" => (200, "{}".to_owned()),
        _ => (404, json!({"error": "no such image"}).to_string()),
    });
    let (_, out, _) = world.type_it(&["image", "ls"]);
    assert_eq!(out, "IMAGE  DIGEST        SIZE\na:1    0123456789ab  2.00 KiB\n");
    assert_eq!(world.type_it(&["image", "rm", "a:1"]).0, 0);
    let (code, _, err) = world.type_it(&["image", "rm", "b"]);
    assert_eq!((code, err.as_str()), (1, "error: the agent refused: no such image\n"));
}

#[test]
fn an_agent_that_is_not_there_ends_with_3() {
    let world = World::controller(|_| (200, String::new()));
    let (code, _, err) = world.type_it(&["image", "ls"]);
    assert_eq!(code, 3);
    assert!(err.starts_with("error: can't reach this machine's agent at "), "{err}");
}
