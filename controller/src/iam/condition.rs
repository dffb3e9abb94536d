//! Conditions of statements: operators over the context of a request.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Multivalued context
//! keys". Operators that are not here (binary ones) are refused when the policy is stored.

use std::collections::BTreeMap;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pattern::{ArnPattern, Pattern};

/// What is known about a request: keys in lower case, each with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// Sets a key with one value.
    pub fn put(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.to_ascii_lowercase(), vec![value.into()]);
    }

    /// Sets a key with any number of values; none leaves the key out.
    pub fn put_all(&mut self, key: &str, values: Vec<String>) {
        if !values.is_empty() {
            self.values.insert(key.to_ascii_lowercase(), values);
        }
    }

    /// Takes over another context's keys.
    pub fn extend(&mut self, other: &Self) {
        self.values.extend(other.values.iter().map(|(key, values)| (key.clone(), values.clone())));
    }

    fn all(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The value of a key that has exactly one; `key` in lower case.
    pub(super) fn one(&self, key: &str) -> Option<&str> {
        match self.all(key) {
            Some([one]) => Some(one),
            _ => None,
        }
    }
}

/// One operator with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    test: Test,
    negated: bool,
    if_exists: bool,
    quantifier: Quantifier,
    /// In lower case.
    key: String,
    values: Vec<Pattern>,
    /// The values' own texts.
    texts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    None,
    ForAll,
    ForAny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Text,
    TextAnyCase,
    TextLike,
    Number(Order),
    Date(Order),
    Bool,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

fn operator(name: &str) -> Option<(Test, bool)> {
    Some(match name {
        "StringEquals" => (Test::Text, false),
        "StringNotEquals" => (Test::Text, true),
        "StringEqualsIgnoreCase" => (Test::TextAnyCase, false),
        "StringNotEqualsIgnoreCase" => (Test::TextAnyCase, true),
        "StringLike" => (Test::TextLike, false),
        "StringNotLike" => (Test::TextLike, true),
        "NumericEquals" => (Test::Number(Order::Equal), false),
        "NumericNotEquals" => (Test::Number(Order::Equal), true),
        "NumericLessThan" => (Test::Number(Order::Less), false),
        "NumericLessThanEquals" => (Test::Number(Order::LessOrEqual), false),
        "NumericGreaterThan" => (Test::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Test::Number(Order::GreaterOrEqual), false),
        "DateEquals" => (Test::Date(Order::Equal), false),
        "DateNotEquals" => (Test::Date(Order::Equal), true),
        "DateLessThan" => (Test::Date(Order::Less), false),
        "DateLessThanEquals" => (Test::Date(Order::LessOrEqual), false),
        "DateGreaterThan" => (Test::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Test::Date(Order::GreaterOrEqual), false),
        "Bool" => (Test::Bool, false),
        "IpAddress" => (Test::Ip, false),
        "NotIpAddress" => (Test::Ip, true),
        // The two spellings of ARN operators mean the same (User Guide).
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

impl Condition {
    /// Reads an operator with one of its keys. `Err` says why it can't be read.
    pub(super) fn read(name: &str, key: &str, texts: Vec<String>) -> Result<Self, String> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::ForAll, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::ForAny, rest),
            _ => (Quantifier::None, name),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let (test, negated) = operator(base)
            .filter(|(test, _)| !(if_exists && *test == Test::Null))
            .ok_or_else(|| format!("the condition operator {name:?} is not supported"))?;
        for text in &texts {
            let good = match test {
                Test::Bool | Test::Null => boolean(text).is_some(),
                Test::Number(_) => text.parse::<f64>().is_ok(),
                Test::Date(_) => date(text).is_some(),
                Test::Ip => network(text).is_some(),
                Test::Arn => ArnPattern::read(text).is_some(),
                Test::Text | Test::TextAnyCase | Test::TextLike => true,
            };
            if !good {
                return Err(format!("{text:?} is no value for the condition operator {name}"));
            }
        }
        let pattern = |text: &String| match test {
            Test::TextLike => Pattern::wild(text),
            _ => Pattern::plain(text),
        };
        Ok(Self {
            test,
            negated,
            if_exists,
            quantifier,
            key: key.to_ascii_lowercase(),
            values: texts.iter().map(pattern).collect(),
            texts,
        })
    }

    /// Whether it holds for this request.
    pub(super) fn holds(&self, context: &Context) -> bool {
        let values = context.all(&self.key);
        if self.test == Test::Null {
            let wanted = self.texts.iter().filter_map(|text| boolean(text));
            return wanted.into_iter().any(|absent| absent == values.is_none());
        }
        let Some(values) = values else {
            return self.if_exists
                || match self.quantifier {
                    Quantifier::ForAll => true,
                    Quantifier::ForAny => false,
                    Quantifier::None => self.negated,
                };
        };
        // A negated operator holds for a value that none of the condition's values matches.
        let one = |value: &String| self.any(value, context) != self.negated;
        match self.quantifier {
            Quantifier::ForAll => values.iter().all(one),
            Quantifier::ForAny => values.iter().any(one),
            Quantifier::None if self.negated => values.iter().all(one),
            Quantifier::None => values.iter().any(one),
        }
    }

    fn any(&self, value: &str, context: &Context) -> bool {
        self.values
            .iter()
            .zip(&self.texts)
            .any(|(pattern, text)| self.matches(pattern, text, value, context))
    }

    fn matches(&self, pattern: &Pattern, text: &str, value: &str, context: &Context) -> bool {
        match self.test {
            Test::Text | Test::TextLike => pattern.matches(value, context),
            Test::TextAnyCase => {
                let filled = pattern.text(context);
                filled.is_some_and(|filled| filled.to_lowercase() == value.to_lowercase())
            }
            Test::Number(order) => match (value.parse::<f64>(), text.parse::<f64>()) {
                (Ok(left), Ok(right)) => order.holds(left, right),
                _ => false,
            },
            Test::Date(order) => match (date(value), date(text)) {
                (Some(left), Some(right)) => order.holds(left, right),
                _ => false,
            },
            Test::Bool => boolean(value).is_some() && boolean(value) == boolean(text),
            Test::Ip => match (value.parse(), network(text)) {
                (Ok(address), Some(network)) => inside(address, network),
                _ => false,
            },
            Test::Arn => {
                ArnPattern::read(text).is_some_and(|pattern| pattern.matches(value, context))
            }
            Test::Null => false,
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Seconds since the Unix epoch: as they are, or from ISO 8601.
fn date(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn inside(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let same = |left: u128, right: u128, width: u32| {
        let ignored = width - u32::from(bits);
        left.checked_shr(ignored).unwrap_or(0) == right.checked_shr(ignored).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => same(a.to_bits().into(), n.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => same(a.to_bits(), n.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let mut context = Context::default();
        context.put("ecs:cluster", "arn:aws:ecs:r:1:cluster/blue");
        context.put("aws:PrincipalArn", "arn:aws:iam::1:role/deploy");
        context.put("aws:SourceIp", "10.1.2.3");
        context.put("aws:SecureTransport", "false");
        context.put("aws:CurrentTime", "2026-11-26T12:00:00Z");
        context.put("s:number", "7");
        context.put_all("aws:TagKeys", vec!["team".into(), "cost".into()]);
        context
    }

    #[track_caller]
    fn check(operator: &str, key: &str, values: &[&str], expected: bool) {
        let values = values.iter().map(ToString::to_string).collect();
        let condition = Condition::read(operator, key, values).unwrap();
        assert_eq!(condition.holds(&context()), expected, "{operator} {key}");
    }

    #[test]
    fn an_operator_holds_as_aws_says() {
        let blue = "arn:aws:ecs:r:1:cluster/blue";
        check("StringEquals", "ecs:cluster", &[blue], true);
        check("StringEquals", "ECS:Cluster", &["x", blue], true);
        check("StringEquals", "ecs:cluster", &["arn:aws:ecs:r:1:cluster/*"], false);
        check("StringNotEquals", "ecs:cluster", &["x", "y"], true);
        check("StringNotEquals", "ecs:cluster", &["x", blue], false);
        check("StringLike", "ecs:cluster", &["*cluster/b*"], true);
        check("StringNotLike", "ecs:cluster", &["*cluster/b*"], false);
        check("StringEqualsIgnoreCase", "ecs:cluster", &["ARN:AWS:ECS:R:1:CLUSTER/BLUE"], true);
        check("ArnLike", "aws:PrincipalArn", &["arn:aws:iam::*:role/*"], true);
        check("ArnEquals", "aws:PrincipalArn", &["arn:aws:iam::2:role/*"], false);
        check("ArnNotLike", "aws:PrincipalArn", &["arn:aws:iam::2:role/*"], true);
        check("Bool", "aws:SecureTransport", &["false"], true);
        check("Bool", "aws:SecureTransport", &["true"], false);
        check("IpAddress", "aws:SourceIp", &["10.0.0.0/8"], true);
        check("IpAddress", "aws:SourceIp", &["10.1.2.0/31"], false);
        check("NotIpAddress", "aws:SourceIp", &["10.0.0.0/8"], false);
        check("IpAddress", "aws:SourceIp", &["0.0.0.0/0"], true);
        check("NumericLessThan", "s:number", &["8"], true);
        check("NumericGreaterThanEquals", "s:number", &["8"], false);
        check("DateLessThan", "aws:CurrentTime", &["2026-11-26T12:00:01Z"], true);
        check("DateGreaterThan", "aws:CurrentTime", &["2027-01-01T00:00:00Z"], false);
    }

    #[test]
    fn a_key_that_is_not_there_fails_what_is_asserted_and_not_what_is_denied() {
        check("StringEquals", "no:key", &["a"], false);
        check("StringNotEquals", "no:key", &["a"], true);
        check("StringEqualsIfExists", "no:key", &["a"], true);
        check("StringEqualsIfExists", "ecs:cluster", &["a"], false);
        check("ArnLike", "no:key", &["*"], false);
        check("Null", "no:key", &["true"], true);
        check("Null", "no:key", &["false"], false);
        check("Null", "ecs:cluster", &["false"], true);
        check("Null", "ecs:cluster", &["true"], false);
    }

    #[test]
    fn many_values_are_quantified() {
        check("ForAllValues:StringEquals", "aws:TagKeys", &["team", "cost", "more"], true);
        check("ForAllValues:StringEquals", "aws:TagKeys", &["team"], false);
        check("ForAllValues:StringEquals", "no:key", &["team"], true);
        check("ForAnyValue:StringEquals", "aws:TagKeys", &["team"], true);
        check("ForAnyValue:StringEquals", "aws:TagKeys", &["other"], false);
        check("ForAnyValue:StringEquals", "no:key", &["team"], false);
    }

    #[test]
    fn what_can_not_be_judged_is_refused_when_it_is_read() {
        let refused = |operator: &str, value: &str| {
            Condition::read(operator, "k", vec![value.to_owned()]).unwrap_err()
        };
        assert!(refused("BinaryEquals", "x").contains("BinaryEquals"));
        assert!(refused("StringEqual", "x").contains("StringEqual"));
        assert!(refused("NullIfExists", "true").contains("NullIfExists"));
        for (operator, value) in [
            ("Bool", "yes"),
            ("NumericEquals", "many"),
            ("DateEquals", "soon"),
            ("IpAddress", "10.0.0.0/33"),
            ("ArnLike", "role/x"),
        ] {
            assert!(refused(operator, value).contains(value), "{operator}");
        }
    }
}
