//! What a registry asks for when it says 401 (RFC 7235, and the distribution specification's
//! token authentication). No I/O in here.

/// Longest challenge that is read, in bytes.
const CHALLENGE_BYTES_MAX: usize = 8 * 1024;

/// How a registry wants to know who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token that another service gives.
    Bearer {
        /// That service's URL.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

/// Reads the value of `WWW-Authenticate`: the first scheme that is known.
pub(super) fn parse(text: &str) -> Option<Challenge> {
    if CHALLENGE_BYTES_MAX < text.len() {
        return None;
    }
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters(rest) {
        match &name.to_ascii_lowercase()[..] {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `name="value"` or `name=value`, separated by commas; a backslash quotes in a quoted value.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, tail) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), tail)
            }
        };
        found.push((name, value));
        rest = tail;
    }
    found
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_its_parameters() {
        let docker = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                      scope=\"repository:library/busybox:pull,push\"";
        assert_eq!(
            parse(docker),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:library/busybox:pull,push".into()),
            })
        );
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("basic"), Some(Challenge::Basic));
        let odd = parse("BEARER error=x, realm=\"a\\\"b\" , service=s");
        let expected =
            Challenge::Bearer { realm: "a\"b".into(), service: Some("s".into()), scope: None };
        assert_eq!(odd, Some(expected));
    }

    #[test]
    fn what_is_not_known_is_no_challenge() {
        let long = format!("Bearer realm=\"{}\"", "x".repeat(CHALLENGE_BYTES_MAX));
        for text in ["", "Digest realm=\"x\"", "Bearer service=\"x\"", "Bearer realm", &long] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
