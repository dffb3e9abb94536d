//! What the demo claims, and what was seen of it.

use std::fmt::Write as _;

/// One row: a claim, what was seen, and whether they agree.
#[derive(Clone, Debug)]
struct Row {
    /// The letter of the claim.
    letter: &'static str,
    /// What Loadline claims.
    claimed: String,
    /// What was seen.
    seen: String,
    /// Whether they agree.
    agrees: bool,
}

/// The table at the end of the demo.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row and prints it at once: the demo takes a minute, and somebody is watching.
    pub fn add(&mut self, letter: &'static str, claimed: &str, seen: &str, agrees: bool) {
        println!("  ({letter}) {seen}{}", if agrees { "" } else { "   <-- not as claimed" });
        let (claimed, seen) = (claimed.to_owned(), seen.to_owned());
        self.rows.push(Row { letter, claimed, seen, agrees });
    }

    /// Whether every claim was seen to hold.
    #[must_use]
    pub fn agrees(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.agrees)
    }

    /// How many agree and how many do not.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let agree = self.rows.iter().filter(|row| row.agrees).count();
        (agree, self.rows.len() - agree)
    }

    /// The table as text.
    #[must_use]
    pub fn text(&self) -> String {
        let width = |texts: &dyn Fn(&Row) -> usize, least: usize| {
            self.rows.iter().map(texts).max().unwrap_or(0).max(least)
        };
        let claimed = width(&|row| row.claimed.chars().count(), 7);
        let seen = width(&|row| row.seen.chars().count(), 4);
        let mut text = format!("      {:claimed$}  {:seen$}  agree\n", "claimed", "seen");
        for row in &self.rows {
            let letter = format!("({})", row.letter);
            let agree = if row.agrees { "yes" } else { "NO" };
            let _ =
                writeln!(text, "{letter:4}  {:claimed$}  {:seen$}  {agree}", row.claimed, row.seen);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_that_does_not_hold_is_enough() {
        let mut table = Table::default();
        assert!(!table.agrees());
        table.add("a", "one", "1", true);
        assert!(table.agrees());
        table.add("b", "two", "3", false);
        assert!(!table.agrees());
        assert_eq!(table.count(), (1, 1));
        let expected =
            "      claimed  seen  agree\n(a)   one      1     yes\n(b)   two      3     NO\n";
        assert_eq!(table.text(), expected);
    }
}
