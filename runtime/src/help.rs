//! What `--help` prints: of the program, and of each verb.

/// Of the program.
pub const PROGRAM: &str = include_str!("help.txt");

/// Sections that begin with `# VERB`.
const VERBS: &str = include_str!("help_verbs.txt");

/// Of a verb; `None` where there is none of this name.
pub fn of(verb: &str) -> Option<&'static str> {
    let title = format!("# {verb}\n");
    let start = match VERBS.starts_with(&title) {
        true => title.len(),
        false => VERBS.find(&format!("\n{title}"))? + 1 + title.len(),
    };
    let section = &VERBS[start..];
    Some(section.find("\n\n# ").map_or(section, |end| &section[..=end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Flag;
    use crate::{criu, live, verb};

    fn verbs() -> Vec<&'static str> {
        VERBS.lines().filter_map(|line| line.strip_prefix("# ")).collect()
    }

    #[test]
    fn every_verb_has_usage_exit_codes_and_an_example() {
        let listed = PROGRAM.split("verbs:").nth(1).unwrap().split("flags of").next().unwrap();
        for verb in verbs() {
            let text = of(verb).unwrap();
            let usage = format!("usage: loadline-runtime {verb}");
            for part in [usage.as_str(), "\nexit codes: ", "\nexample:    loadline-runtime "] {
                assert!(text.contains(part), "{verb} has no {part:?}: {text}");
            }
            assert!(listed.contains(&format!(" {verb} ")), "{verb} is not in the list");
            assert!(!text.contains("\n# "), "{verb}: {text}");
        }
        assert_eq!(of("nosuch"), None);
    }

    #[test]
    fn every_flag_of_a_verb_is_in_its_help() {
        let is_told = |verb: &str, flag: &Flag| {
            let text = of(verb).unwrap();
            // One is for tests only, and the other is this.
            ["fail-step", "help"].contains(&flag.name) || text.contains(&format!("--{}", flag.name))
        };
        for verb in verbs() {
            let flags = verb::flags(verb).or(live::flags(verb)).or(criu::verb::flags(verb));
            for flag in flags.unwrap_or_default() {
                assert!(is_told(verb, &flag), "{verb} --{}", flag.name);
            }
        }
    }
}
