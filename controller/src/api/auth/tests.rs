//! The gate against AWS's published signatures, and against every way to tamper with a request.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30 12:36:00 UTC, the time of AWS's test suite.
const SIGNED_AT_S: i64 = 1_440_938_160;

/// Keys that are not of the credentials file: a session's, with the same secret.
struct Others;

impl KeySource for Others {
    fn holder(&self, key_id: &str, token: Option<&str>, _: i64) -> Result<Holder, AuthRefusal> {
        match (key_id, token) {
            ("ASIASESSION", Some("good")) => {
                let (secret, principal) = (SecretKey::new(SECRET), Principal::Root);
                Ok(Holder { secret, principal, in_place_of: None })
            }
            ("ASIASESSION", Some("old")) => Err(AuthRefusal::ExpiredToken),
            _ => Err(AuthRefusal::UnknownKey),
        }
    }
}

/// One request of AWS's test suite ("aws-sig-v4-test-suite"), service `service`.
struct Request {
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Request {
    fn new(method: &'static str, path: &'static str, signed: &str, signature: &str) -> Self {
        let mut request = Self { method, path, query: None, headers: HeaderMap::new(), body: b"" };
        request.set("host", "example.amazonaws.com");
        request.set("x-amz-date", "20150830T123600Z");
        request.authorize(&format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={signed}, Signature={signature}"
        ));
        request
    }

    /// The suite's `get-vanilla`.
    fn vanilla() -> Self {
        let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        Self::new("GET", "/", "host;x-amz-date", signature)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
    }

    fn authorize(&mut self, value: &str) {
        self.set("authorization", value);
    }

    fn authorization(&self) -> String {
        self.headers["authorization"].to_str().unwrap().to_owned()
    }

    fn head(&self) -> Head<'_> {
        let Self { method, path, query, headers, .. } = self;
        Head { method, path, query: *query, headers }
    }

    fn try_at(&self, now_s: i64) -> Result<Caller, AuthRefusal> {
        let keys = AccessKeys::none().with(KEY_ID, SecretKey::new(SECRET));
        let gate = Gate::Keys { keys, region: "us-east-1".into() };
        gate.admit(self.head(), now_s, &Others)?.verify(self.head(), self.body)
    }

    fn check(&self, expected: Result<(), &str>) {
        let got = self.try_at(SIGNED_AT_S).map(drop).map_err(|refusal| refusal.to_string());
        match expected {
            Ok(()) => assert_eq!(got, Ok(())),
            Err(part) => {
                let message = got.unwrap_err();
                assert!(message.contains(part), "{message:?} should contain {part:?}");
            }
        }
    }
}

const MISMATCH: &str = "The request signature we calculated does not match";

#[test]
fn requests_signed_by_awss_test_suite_are_let_in() {
    Request::vanilla().check(Ok(()));
    for (method, path, query, signature) in [
        ("POST", "/", None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/",
            Some("Param2=value2&Param1=value1"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            None,
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        ("GET", "/ሴ", None, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ] {
        let mut request = Request::new(method, path, "host;x-amz-date", signature);
        request.query = query;
        request.check(Ok(()));
    }
    let signature = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
    let mut form = Request::new("POST", "/", "content-type;host;x-amz-date", signature);
    form.set("content-type", "application/x-www-form-urlencoded");
    form.body = b"Param1=value1";
    form.check(Ok(()));
}

#[test]
fn header_values_are_trimmed_as_the_suite_says() {
    let signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736";
    let signed = "host;my-header1;my-header2;x-amz-date";
    let mut request = Request::new("GET", "/", signed, signature);
    request.set("my-header1", " value1");
    request.set("my-header2", " \"a   b   c\"");
    request.check(Ok(()));
}

#[test]
fn whatever_is_changed_after_signing_is_noticed() {
    let mut request = Request::vanilla();
    request.body = b"{}";
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    request.method = "POST";
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    request.path = "/x";
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    request.query = Some("a=b");
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    request.set("host", "elsewhere.example");
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    request.set("x-amz-target", "AmazonEC2ContainerServiceV20141113.DeleteCluster");
    request.check(Err("the header x-amz-target must be signed"));
    let mut request = Request::vanilla();
    request.set("x-amz-date", "20150830T123601Z");
    request.check(Err(MISMATCH));
    let mut request = Request::vanilla();
    let flipped = request.authorization().replace("Signature=5f", "Signature=4f");
    request.authorize(&flipped);
    request.check(Err(MISMATCH));
}

#[test]
fn a_signature_lives_for_the_window_on_both_sides_of_now_and_no_longer() {
    let request = Request::vanilla();
    for now_s in [SIGNED_AT_S - CLOCK_SKEW_S_MAX, SIGNED_AT_S + CLOCK_SKEW_S_MAX] {
        assert!(request.try_at(now_s).is_ok(), "{now_s}");
    }
    let late = request.try_at(SIGNED_AT_S + CLOCK_SKEW_S_MAX + 1).unwrap_err().to_string();
    assert_eq!(
        late,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z \
         (20150830T125101Z - 15 min.)"
    );
    let early = request.try_at(SIGNED_AT_S - CLOCK_SKEW_S_MAX - 1).unwrap_err().to_string();
    assert!(early.starts_with("Signature not yet current: 20150830T123600Z"), "{early}");
}

#[test]
fn every_malformed_authorization_is_refused_by_what_is_wrong_with_it() {
    let change = |from: &str, to: &str, expected: &str| {
        let mut request = Request::vanilla();
        let changed = request.authorization().replace(from, to);
        request.authorize(&changed);
        request.check(Err(expected));
    };
    change("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "must use AWS4-HMAC-SHA256");
    change("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "must use AWS4-HMAC-SHA256");
    change(KEY_ID, "AKIDOTHER", "The security token included in the request is invalid.");
    change("/aws4_request", "/aws5_request", "Credential must be");
    change("/aws4_request", "/aws4_request/x", "Credential must be");
    change("us-east-1", "eu-west-1", "Credential should be scoped to a valid region");
    change("20150830/", "20150831/", "Date in Credential scope does not match");
    change("20150830/", "2015/", "Date in Credential scope does not match");
    change("host;x-amz-date", "x-amz-date", "the header host must be signed");
    change("host;x-amz-date", "host", "the header x-amz-date must be signed");
    change("host;x-amz-date", "x-amz-date;host", "SignedHeaders must be");
    change("host;x-amz-date", "Host;x-amz-date", "SignedHeaders must be");
    change("host;x-amz-date", "", "SignedHeaders must be");
    change("host;x-amz-date", "gone;host;x-amz-date", "the signed header \"gone\" is missing");
    change("Signature=5f", "Signature=", "Signature must be 64 hex digits");
    change("Signature=5f", "Signature=zz", "Signature must be 64 hex digits");
    change(", Signature=", ", Sig=", "unknown part");
    change(", SignedHeaders=", ", Signature=", "a part twice");
    let mut request = Request::vanilla();
    request.authorize("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host");
    request.check(Err("requires 'Signature' parameter"));
    request.headers.remove("authorization");
    request.check(Err("Missing Authentication Token"));
    let mut request = Request::vanilla();
    request.headers.remove("x-amz-date");
    request.check(Err("requires existence of an 'X-Amz-Date' header"));
    request.set("x-amz-date", "yesterday");
    request.check(Err("Date must be in ISO-8601"));
}

#[test]
fn a_session_token_belongs_to_its_key() {
    let with = |key_id: &str, token: Option<&str>, expected: &str| {
        let mut request = Request::vanilla();
        let changed = request.authorization().replace(KEY_ID, key_id);
        request.authorize(&changed);
        if let Some(token) = token {
            request.set("x-amz-security-token", token);
        }
        request.check(Err(expected));
    };
    with(KEY_ID, Some("good"), "The security token included in the request is invalid.");
    with("ASIASESSION", None, "The security token included in the request is invalid.");
    with("ASIASESSION", Some("bad"), "The security token included in the request is invalid.");
    with("ASIASESSION", Some("old"), "The security token included in the request is expired");
    with("ASIASESSION", Some("good"), "the header x-amz-security-token must be signed");
}

/// AWS's documented example of a presigned GET, for another host and path than S3's, made with
/// botocore 1.43 (SigV4QueryAuth) for the key and time of the suite.
fn presigned(query: &'static str) -> Request {
    let mut request = Request::vanilla();
    request.headers.clear();
    request.set("host", "example.amazonaws.com");
    request.query = Some(query);
    request
}

const PRESIGNED: &str = "Action=GetCallerIdentity&Version=2011-06-15&\
    X-Amz-Algorithm=AWS4-HMAC-SHA256&\
    X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&\
    X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&\
    X-Amz-Signature=0c5c45e4472b6fa30a235657c8f5ac0d8b0864f2dd92ac7dfe9f9ae61437410a";

#[test]
fn a_presigned_request_holds_for_as_long_as_it_says() {
    let request = presigned(PRESIGNED);
    request.check(Ok(()));
    assert!(request.try_at(SIGNED_AT_S + 60).is_ok());
    let late = request.try_at(SIGNED_AT_S + 61).unwrap_err().to_string();
    assert!(late.starts_with("Signature expired"), "{late}");
    let early = request.try_at(SIGNED_AT_S - CLOCK_SKEW_S_MAX - 1).unwrap_err().to_string();
    assert!(early.starts_with("Signature not yet current"), "{early}");
    let change = |from: &str, to: &str, expected: &str| {
        let changed = PRESIGNED.replace(from, to);
        assert_ne!(changed, PRESIGNED, "{from}");
        presigned(Box::leak(changed.into_boxed_str())).check(Err(expected));
    };
    change("Action=GetCallerIdentity", "Action=AssumeRole", MISMATCH);
    change("X-Amz-Expires=60", "X-Amz-Expires=61", MISMATCH);
    change("X-Amz-Expires=60", "X-Amz-Expires=604801", "X-Amz-Expires must be between");
    change("X-Amz-Expires=60", "X-Amz-Expires=0", "X-Amz-Expires must be between");
    change("X-Amz-Expires=60", "a=b", "must include 'X-Amz-Expires'");
    change("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60", "twice");
    change("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "X-Amz-Algorithm must be");
    change(KEY_ID, "AKIDOTHER", "The security token included in the request is invalid.");
}

#[test]
fn a_claimed_body_hash_must_be_the_bodys() {
    let mut request = Request::vanilla();
    request.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let changed = request.authorization().replace("host;x-amz-date", signed);
    request.authorize(&changed);
    request.check(Err("'x-amz-content-sha256' header does not match"));
}

#[test]
fn development_mode_takes_any_key_but_no_foreign_host() {
    let check = |host: &str, expected: bool| {
        let mut request = Request::vanilla();
        request.set("host", host);
        let head = request.head();
        assert_eq!(Gate::AnyKey.admit(head, 0, &Others).is_ok(), expected, "{host}");
    };
    check("127.0.0.1:7070", true);
    check("localhost:7070", true);
    check("[::1]:7070", true);
    check("ecs.localhost", true);
    check("evil.example:7070", false);
    check("127.0.0.1.evil.example", false);
    check("10.0.0.1:7070", false);
    let mut request = Request::vanilla();
    request.headers.remove("authorization");
    assert_eq!(Gate::AnyKey.admit(request.head(), 0, &Others).unwrap_err(), AuthRefusal::Missing);
}
