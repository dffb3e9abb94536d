//! `loadline-fuzz`: one program for all targets under libFuzzer; `LOADLINE_FUZZ_TARGET` names the
//! one. Without the feature `libfuzzer` it only says how it is built.

#![cfg_attr(feature = "libfuzzer", no_main)]
#![forbid(unsafe_code)]

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use std::sync::LazyLock;

    static TARGET: LazyLock<loadline_fuzz::Target> = LazyLock::new(|| {
        let name = std::env::var("LOADLINE_FUZZ_TARGET").unwrap_or_default();
        let known = loadline_fuzz::TARGETS;
        loadline_fuzz::Target::named(&name)
            .unwrap_or_else(|| panic!("LOADLINE_FUZZ_TARGET is {name:?}, and must be of {known:?}"))
    });
    (TARGET.run)(bytes);
});

#[cfg(not(feature = "libfuzzer"))]
fn main() {
    eprintln!("loadline-fuzz: built without libFuzzer; type `cargo xtask fuzz`");
    std::process::exit(2);
}
