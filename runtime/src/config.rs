//! A decoded config.json: all of it but, where its filter is kept from an earlier container, the
//! profile of system calls, which is three quarters of what engines write.

use oci_spec::runtime as oci;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::seccomp::{Cache, Filter};
use crate::spec::{Invalid, Spec};
use crate::strict_json::from_object;

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
        let Some(filter) = cache.get(profile) else {
            let profile = Profile::New(profile.to_owned());
            return Ok(Config { oci: serde_json::from_str(text)?, profile });
        };
        let rest = [before, "null", after].concat();
        match serde_json::from_str(&rest) {
            Ok(oci) => Ok(Config { oci, profile: Profile::Kept(filter) }),
            // Once more in full, so that the error names the right place.
            Err(_) => Ok(Config { oci: serde_json::from_str(text)?, profile: Profile::Decoded }),
        }
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

/// The text before `linux.seccomp`'s value, the value, and the text after it. `None` where it has
/// none, or is no configuration, which decoding will say in full.
fn around_profile(text: &str) -> Option<(&str, &str, &str)> {
    #[derive(Deserialize)]
    struct Outer<'t> {
        #[serde(borrow)]
        linux: Option<Linux<'t>>,
    }
    #[derive(Deserialize)]
    struct Linux<'t> {
        #[serde(borrow)]
        seccomp: Option<&'t RawValue>,
    }
    if !text.contains("\"seccomp\"") {
        return None;
    }
    let profile = serde_json::from_str::<Outer<'_>>(text).ok()?.linux?.seccomp?.get();
    let start = (profile.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let (before, rest) = text.split_at_checked(start)?;
    let (profile, after) = rest.split_at_checked(profile.len())?;
    Some((before, profile, after))
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
        assert!(around_profile(r#"{ "linux": { "seccomp": null } }"#).is_none());
        assert!(around_profile(r#"{ "annotations": { "a": "\"seccomp\"" } }"#).is_none());
        assert!(around_profile(r#"{ "seccomp": 1, "linux": "#).is_none());
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
        let error = Config::decode(&wrong, &cache).unwrap_err();
        assert_eq!(
            error.to_string(),
            serde_json::from_str::<oci_spec::runtime::Spec>(&wrong).unwrap_err().to_string()
        );
    }
}
