//! Signals by name, as images write them.

/// The first real-time signal that programs may use (glibc keeps two of the kernel's 32).
const SIGRTMIN: i32 = 34;
/// The last.
const SIGRTMAX: i32 = 64;

/// The number of a signal given as `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
#[must_use]
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let number = SIGRTMIN + offset(rest, '+')?;
        return (number <= SIGRTMAX).then_some(number);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let number = SIGRTMAX - offset(rest, '-')?;
        return (SIGRTMIN <= number).then_some(number);
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// The number behind `sign`; nothing at all is 0.
fn offset(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix(sign)?.parse().ok().filter(|offset| (0..=30).contains(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_form_that_images_use() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("3", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX", Some(64)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGRTMIN+31", None),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
