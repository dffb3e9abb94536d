//! A decoded config.json: all of it but, where its filter is kept from an earlier container, the
//! profile of system calls, which is three quarters of what engines write.

use oci_spec::runtime as oci;

use crate::seccomp::{Cache, Filter};
use crate::spec::{Invalid, Spec};
use crate::strict_json::{decode, from_object};

/// A configuration that was decoded and not yet validated.
#[derive(Debug)]
pub struct Config {
    /// What was decoded. Without a profile where there is a filter for it.
    pub oci: oci::Spec,
    profile: Profile,
}

/// What is known of the profile of system calls.
#[derive(Debug)]
enum Profile {
    /// Nothing that could be kept.
    Decoded,
    /// Its filter was compiled before.
    Kept(Filter),
    /// Its text, under which its filter can be kept.
    New(String),
}

impl Config {
    /// Decodes a text.
    ///
    /// # Errors
    /// When it is no configuration.
    pub fn decode(text: &str, cache: &Cache) -> serde_json::Result<Config> {
        let Some((before, profile, after)) = around_profile(text) else {
            return Ok(Config { oci: from_object(text)?, profile: Profile::Decoded });
        };
        if let Some(filter) = cache.get(profile)
            && let Some(oci) = decode_rest(&[before, MARK, after].concat())
        {
            return Ok(Config { oci, profile: Profile::Kept(filter) });
        }
        // In full, so that an error names the right place.
        let oci: oci::Spec = decode(text)?;
        let decoded = oci.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let is_profile = serde_json::from_str(profile).is_ok_and(|found| decoded == Some(&found));
        let profile = match is_profile {
            true => Profile::New(profile.to_owned()),
            false => Profile::Decoded,
        };
        Ok(Config { oci, profile })
    }

    /// Validates it.
    ///
    /// # Errors
    /// All violations, in the order of config.json.
    pub fn validate(&self) -> Result<Spec, Invalid> {
        let mut spec = Spec::validate(&self.oci)?;
        if let Profile::Kept(filter) = &self.profile {
            spec.linux.seccomp = Some(filter.clone());
        }
        Ok(spec)
    }

    /// Keeps the filter of a new profile.
    pub fn keep(&self, spec: &Spec, cache: &Cache) {
        if let (Profile::New(text), Some(filter)) = (&self.profile, &spec.linux.seccomp) {
            cache.put(text, filter);
        }
    }
}

/// What stands in a profile's place when its filter is known: decoded, it proves that the place is
/// `linux.seccomp`.
const MARK: &str = r#"{"defaultAction":"SCMP_ACT_LOG","listenerPath":"loadline's mark"}"#;

/// Decodes a text with the mark in the profile's place, and takes it out. `None` where it is no
/// configuration, or the mark is elsewhere.
fn decode_rest(text: &str) -> Option<oci::Spec> {
    let mut oci: oci::Spec = serde_json::from_str(text).ok()?;
    let linux = oci.linux_mut().as_mut()?;
    let mark: oci::LinuxSeccomp = serde_json::from_str(MARK).ok()?;
    if linux.seccomp().as_ref() != Some(&mark) {
        return None;
    }
    linux.set_seccomp(None);
    Some(oci)
}

/// The text before what seems to be the profile of system calls, the profile, and the text after
/// it. By a look for its name, because reading all of the profile takes longer than all the rest;
/// whether the guess was right, decoding tells.
fn around_profile(text: &str) -> Option<(&str, &str, &str)> {
    const NAME: &str = "\"seccomp\"";
    let name = text.find(NAME)?;
    let value = text.get(name + NAME.len()..)?.trim_ascii_start().strip_prefix(':')?;
    let value = value.trim_ascii_start();
    let (profile, after) = value.split_at_checked(object_bytes(value.as_bytes())?)?;
    let (before, _) = text.split_at_checked(text.len() - value.len())?;
    Some((before, profile, after))
}

/// How long the JSON object is that a text begins with.
fn object_bytes(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            b'"' => loop {
                match bytes.next()?.1 {
                    b'\\' => drop(bytes.next()?),
                    b'"' => break,
                    _ => {}
                }
            },
            _ => continue,
        }
        if depth == 0 {
            return (*byte == b'}').then_some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Config, Profile, around_profile};
    use crate::seccomp::Cache;

    const CONFIG: &str = r#"{ "ociVersion": "1.0.2", "root": { "path": "r" },
        "process": { "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "linux": { "seccomp": { "defaultAction": "SCMP_ACT_LOG" }, "namespaces": [] } }"#;

    #[test]
    fn the_profile_is_cut_out_at_its_ends() {
        let (before, profile, after) = around_profile(CONFIG).unwrap();
        assert_eq!(profile, r#"{ "defaultAction": "SCMP_ACT_LOG" }"#);
        assert_eq!([before, profile, after].concat(), CONFIG);
        for none in [
            r#"{ "linux": { "seccomp": null } }"#,
            r#"{ "seccomp": 1, "linux": "#,
            r#"{ "seccomp": { "a": "}" "#,
            r#"{ "seccomp" : { "a\"#,
            "{}",
        ] {
            assert_eq!(around_profile(none), None, "{none}");
        }
        let odd = r#"{"seccomp" : {"a\"}":{"b":"\\"},"c":["}"]} , 1}"#;
        assert_eq!(around_profile(odd).unwrap().1, r#"{"a\"}":{"b":"\\"},"c":["}"]}"#);
    }

    /// A filter is for what is decoded as `linux.seccomp`, and nothing else of that name.
    #[test]
    fn what_only_looks_like_the_profile_has_no_filter_of_it() {
        let records = tempfile::tempdir().unwrap();
        let cache = Cache::at(records.path().join("filters"));
        let first = Config::decode(CONFIG, &cache).unwrap();
        first.keep(&first.validate().unwrap(), &cache);
        let profile = r#""seccomp": { "defaultAction": "SCMP_ACT_LOG" }"#;
        let without = CONFIG.replace(&format!("{profile},"), "");
        let elsewhere = without.replace(r#""root":"#, &format!(r#""x": {{ {profile} }}, "root":"#));
        assert_ne!(without, elsewhere);
        let other = elsewhere.replace(
            r#""linux": {"#,
            r#""linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" },"#,
        );
        for (config, filters) in [(elsewhere, false), (other, true)] {
            let decoded = Config::decode(&config, &cache).unwrap();
            assert!(matches!(decoded.profile, Profile::Decoded), "{decoded:?}");
            let spec = decoded.validate().unwrap();
            assert_eq!(spec.linux.seccomp.is_some(), filters, "{config}");
            assert_ne!(spec.linux.seccomp, first.validate().unwrap().linux.seccomp);
        }
    }

    #[test]
    fn a_filter_is_the_same_from_the_cache() {
        let records = tempfile::tempdir().unwrap();
        let cache = Cache::at(records.path().join("filters"));
        let first = Config::decode(CONFIG, &cache).unwrap();
        assert!(matches!(first.profile, Profile::New(_)));
        let spec = first.validate().unwrap();
        first.keep(&spec, &cache);
        let second = Config::decode(CONFIG, &cache).unwrap();
        assert!(matches!(second.profile, Profile::Kept(_)));
        assert!(spec.linux.seccomp.is_some());
        assert_eq!(second.validate().unwrap().linux.seccomp, spec.linux.seccomp);
    }

    #[test]
    fn a_mistake_elsewhere_is_found_where_it_is() {
        let records = tempfile::tempdir().unwrap();
        let cache = Cache::at(records.path().join("filters"));
        let config = Config::decode(CONFIG, &cache).unwrap();
        config.keep(&config.validate().unwrap(), &cache);
        let wrong = CONFIG.replace(r#""namespaces": []"#, r#""namespaces": 7"#);
        let error = Config::decode(&wrong, &cache).unwrap_err().to_string();
        assert!(error.starts_with("linux.namespaces: "), "{error}");
    }
}
