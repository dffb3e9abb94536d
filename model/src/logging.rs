//! `logConfiguration` of a container, as far as its node acts on it: the drivers `json-file`,
//! `none`, `syslog` and `journald`, with docker's options. Every option is understood or refused
//! by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Driver and options as they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfiguration {
    /// The driver's name.
    pub driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDriver {
    /// To files of the node, which `loadline logs` reads.
    JsonFile {
        /// `max-size`; the node's own where it is absent.
        file_bytes_max: Option<u64>,
        /// `max-file`; the node's own where it is absent.
        files_max: Option<u32>,
    },
    /// Nowhere.
    None,
    /// To a syslog server, and to the node's files.
    Syslog(Syslog),
    /// To the node's journal, and to the node's files.
    Journald(Journald),
}

/// The options of `syslog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// `syslog-address`
    pub address: SyslogAddress,
    /// `syslog-facility`, 0 to 23.
    pub facility: u8,
    /// `syslog-format`
    pub format: SyslogFormat,
    /// `tag`
    pub tag: Tag,
    /// `mode` and `max-buffer-size`
    pub delivery: Delivery,
}

/// The options of `journald`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journald {
    /// `tag`
    pub tag: Tag,
    /// `labels`: the container's labels that become fields.
    pub labels: Vec<String>,
    /// `env`: its environment variables that become fields.
    pub env: Vec<String>,
    /// `mode` and `max-buffer-size`
    pub delivery: Delivery,
}

/// Where a syslog server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// `unixgram:///PATH`
    Unixgram(String),
    /// `unix:///PATH`
    Unix(String),
    /// `udp://HOST:PORT`
    Udp(String),
    /// `tcp://HOST:PORT`
    Tcp(String),
}

/// How a message for a syslog server is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// The BSD one.
    Rfc3164,
    /// With a year and a time zone.
    Rfc5424,
    /// The same to the microsecond.
    Rfc5424Micro,
}

/// What happens to output that can't be delivered as fast as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whether the container is held up; otherwise what finds no room is dropped and counted.
    pub blocks: bool,
    /// Most bytes that wait.
    pub buffer_bytes_max: u64,
}

/// Where `mode` and `max-buffer-size` are absent: ECS's default since June 2025.
pub const DELIVERY: Delivery = Delivery { blocks: false, buffer_bytes_max: 10 * 1024 * 1024 };

/// Most of `max-buffer-size`, bytes: it is memory of the node that no task reserved.
const BUFFER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Least of it: a few of the longest records.
const BUFFER_BYTES_MIN: u64 = 128 * 1024;
/// Longest option, in bytes.
const OPTION_BYTES_MAX: usize = 1024;
/// Most labels or variables that become fields.
const FIELDS_MAX: usize = 32;
/// Most files of `max-file`.
const FILES_MAX: u32 = 1000;

/// syslog's facilities, by number.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
/// docker's default: daemon.
const FACILITY: u8 = 3;

/// A text with docker's words for the container in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// What docker's words in a tag stand for.
#[derive(Clone, Copy, Debug)]
pub struct TagWords<'a> {
    /// The container's id for the runtime.
    pub id: &'a str,
    /// What it is called on the node.
    pub name: &'a str,
    /// Its image.
    pub image: &'a str,
}

/// Longest id in a tag, in characters (docker: 12).
const SHORT_ID_CHARS: usize = 12;

impl Tag {
    fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            let end = rest[at..].find("}}").ok_or("a {{ without its }}")?;
            let word = rest[at + 2..at + end].trim();
            if !matches!(word, ".ID" | ".FullID" | ".Name" | ".ImageName" | ".DaemonName") {
                return Err(format!(
                    "{{{{{word}}}}} is none of .ID, .FullID, .Name, .ImageName and .DaemonName"
                ));
            }
            rest = &rest[at + end + 2..];
        }
        Ok(Self(text.to_owned()))
    }

    /// The tag of one container.
    #[must_use]
    pub fn of(&self, words: TagWords<'_>) -> String {
        let short: String = words.id.chars().take(SHORT_ID_CHARS).collect();
        let (mut out, mut rest) = (String::new(), self.0.as_str());
        while let Some(at) = rest.find("{{") {
            let Some(end) = rest[at..].find("}}") else { break };
            out.push_str(&rest[..at]);
            out.push_str(match rest[at + 2..at + end].trim() {
                ".FullID" => words.id,
                ".Name" => words.name,
                ".ImageName" => words.image,
                ".DaemonName" => "loadline",
                _ => &short,
            });
            rest = &rest[at + end + 2..];
        }
        out + rest
    }
}

impl LogConfiguration {
    /// What the words mean.
    ///
    /// # Errors
    /// The option that is wrong or not known, and why.
    pub fn driver(&self) -> Result<LogDriver, String> {
        let mut options = Options { left: self.options.clone() };
        let driver = match self.driver.as_str() {
            "json-file" => {
                let file_bytes_max = options.take("max-size")?.map(|text| bytes(&text));
                let files_max = options.take("max-file")?.map(|text| count(&text));
                LogDriver::JsonFile {
                    file_bytes_max: file_bytes_max.transpose().map_err(of("max-size"))?,
                    files_max: files_max.transpose().map_err(of("max-file"))?,
                }
            }
            "none" => LogDriver::None,
            "syslog" => LogDriver::Syslog(options.syslog()?),
            "journald" => LogDriver::Journald(Journald {
                tag: options.tag()?,
                labels: options.names("labels")?,
                env: options.names("env")?,
                delivery: options.delivery()?,
            }),
            other => return Err(format!("{other:?} is no log driver of a node")),
        };
        match options.left.keys().next() {
            None => Ok(driver),
            Some(name) => Err(format!("{} has no option {name:?} here", self.driver)),
        }
    }
}

fn of(option: &'static str) -> impl Fn(String) -> String {
    move |why| format!("{option}: {why}")
}

struct Options {
    left: BTreeMap<String, String>,
}

impl Options {
    /// `None` for one that is absent or empty.
    fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.left.remove(name).filter(|value| !value.is_empty());
        let is_plain =
            |text: &String| text.len() <= OPTION_BYTES_MAX && !text.chars().any(char::is_control);
        if value.as_ref().is_some_and(|value| !is_plain(value)) {
            return Err(format!("{name}: longer than {OPTION_BYTES_MAX} bytes, or not plain text"));
        }
        Ok(value)
    }

    fn syslog(&mut self) -> Result<Syslog, String> {
        let address = self.take("syslog-address")?;
        let address =
            address.as_deref().map_or(Ok(SyslogAddress::Unixgram("/dev/log".to_owned())), |text| {
                syslog_address(text).map_err(of("syslog-address"))
            });
        let facility = self.take("syslog-facility")?;
        let facility = facility.as_deref().map_or(Ok(FACILITY), facility_number);
        let format = match self.take("syslog-format")?.as_deref() {
            None | Some("rfc3164") => SyslogFormat::Rfc3164,
            Some("rfc5424") => SyslogFormat::Rfc5424,
            Some("rfc5424micro") => SyslogFormat::Rfc5424Micro,
            Some(other) => {
                return Err(format!(
                    "syslog-format: {other:?} is none of rfc3164, rfc5424 and rfc5424micro"
                ));
            }
        };
        Ok(Syslog {
            address: address?,
            facility: facility?,
            format,
            tag: self.tag()?,
            delivery: self.delivery()?,
        })
    }

    fn tag(&mut self) -> Result<Tag, String> {
        let text = self.take("tag")?.unwrap_or_else(|| "{{.ID}}".to_owned());
        Tag::parse(&text).map_err(of("tag"))
    }

    fn names(&mut self, option: &'static str) -> Result<Vec<String>, String> {
        let text = self.take(option)?.unwrap_or_default();
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        if FIELDS_MAX < names.len() {
            return Err(format!("{option}: more than {FIELDS_MAX} names"));
        }
        Ok(names)
    }

    fn delivery(&mut self) -> Result<Delivery, String> {
        let mut delivery = DELIVERY;
        match self.take("mode")?.as_deref() {
            None | Some("non-blocking") => {}
            Some("blocking") => delivery.blocks = true,
            Some(other) => {
                return Err(format!("mode: {other:?} is neither blocking nor non-blocking"));
            }
        }
        if let Some(text) = self.take("max-buffer-size")? {
            let size = bytes(&text).map_err(of("max-buffer-size"))?;
            if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&size) {
                return Err("max-buffer-size: not within 128k and 64m".to_owned());
            }
            delivery.buffer_bytes_max = size;
        }
        Ok(delivery)
    }
}

fn syslog_address(text: &str) -> Result<SyslogAddress, String> {
    let (scheme, rest) = text.split_once("://").ok_or("not of the form SCHEME://ADDRESS")?;
    let path = || {
        let is_path = rest.starts_with('/');
        is_path.then(|| rest.to_owned()).ok_or("the path of a socket begins with /")
    };
    Ok(match scheme {
        "unixgram" => SyslogAddress::Unixgram(path()?),
        "unix" => SyslogAddress::Unix(path()?),
        "udp" => SyslogAddress::Udp(host_and_port(rest)?),
        "tcp" => SyslogAddress::Tcp(host_and_port(rest)?),
        other => return Err(format!("{other} is none of unixgram, unix, udp and tcp")),
    })
}

/// With syslog's own port where none is given.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
            port.parse::<u16>().map(|_| text.to_owned()).map_err(|_| "no such port".to_owned())
        }
        _ if text.is_empty() => Err("no host".to_owned()),
        _ => Ok(format!("{text}:514")),
    }
}

fn facility_number(text: &str) -> Result<u8, String> {
    let named = FACILITIES.iter().position(|name| *name == text);
    let number = named.or_else(|| text.parse().ok().filter(|number| *number < FACILITIES.len()));
    let number = number.and_then(|number| u8::try_from(number).ok());
    number.ok_or_else(|| format!("syslog-facility: there is no {text:?}"))
}

/// docker's sizes: a number, and perhaps k, m or g for powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, unit) = match plain.as_bytes().last() {
        Some(b'k') => (&plain[..plain.len() - 1], 1 << 10),
        Some(b'm') => (&plain[..plain.len() - 1], 1 << 20),
        Some(b'g') => (&plain[..plain.len() - 1], 1 << 30),
        _ => (plain, 1_u64),
    };
    let number: Option<u64> = digits.parse().ok();
    let size = number.and_then(|number| number.checked_mul(unit)).filter(|size| 0 < *size);
    size.ok_or_else(|| format!("{text:?} is no size, as 10m is one"))
}

fn count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=FILES_MAX).contains(count));
    count.ok_or_else(|| format!("{text:?} is not within 1 and {FILES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &[(&str, &str)]) -> Result<LogDriver, String> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        LogConfiguration { driver: driver.into(), options: options.collect() }.driver()
    }

    fn syslog(options: &[(&str, &str)]) -> Syslog {
        match parse("syslog", options) {
            Ok(LogDriver::Syslog(syslog)) => syslog,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_read_as_docker_reads_them() {
        let plain = syslog(&[]);
        assert_eq!(plain.address, SyslogAddress::Unixgram("/dev/log".into()));
        assert_eq!((plain.facility, plain.format), (3, SyslogFormat::Rfc3164));
        assert_eq!(plain.delivery, DELIVERY);
        let full = syslog(&[
            ("syslog-address", "tcp://[::1]:601"),
            ("syslog-facility", "local7"),
            ("syslog-format", "rfc5424micro"),
            ("tag", "{{.Name}}/{{ .ID }}"),
            ("mode", "blocking"),
            ("max-buffer-size", "1m"),
        ]);
        assert_eq!(full.address, SyslogAddress::Tcp("[::1]:601".into()));
        assert_eq!((full.facility, full.format), (23, SyslogFormat::Rfc5424Micro));
        assert_eq!(full.delivery, Delivery { blocks: true, buffer_bytes_max: 1 << 20 });
        let words = TagWords { id: "0123456789abcdef-0", name: "web", image: "nginx" };
        assert_eq!(full.tag.of(words), "web/0123456789ab");
        let udp = syslog(&[("syslog-address", "udp://logs")]).address;
        assert_eq!(udp, SyslogAddress::Udp("logs:514".into()));
        let sizes = LogDriver::JsonFile { file_bytes_max: Some(10 << 20), files_max: Some(3) };
        assert_eq!(parse("json-file", &[("max-size", "10m"), ("max-file", "3")]), Ok(sizes));
        assert_eq!(parse("none", &[]), Ok(LogDriver::None));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (driver, options, expected) in [
            ("gelf", &[][..], "gelf"),
            ("none", &[("mode", "blocking")], "mode"),
            ("json-file", &[("max-size", "0")], "max-size"),
            ("json-file", &[("max-file", "0")], "max-file"),
            ("json-file", &[("compress", "true")], "compress"),
            ("syslog", &[("syslog-address", "tcp+tls://x:1")], "tcp+tls"),
            ("syslog", &[("syslog-address", "/dev/log")], "syslog-address"),
            ("syslog", &[("syslog-address", "udp://x:99999")], "port"),
            ("syslog", &[("syslog-facility", "local8")], "local8"),
            ("syslog", &[("syslog-format", "json")], "syslog-format"),
            ("syslog", &[("tag", "{{.Nonsense}}")], ".Nonsense"),
            ("syslog", &[("tag", "a\nb")], "tag"),
            ("journald", &[("labels-regex", "x")], "labels-regex"),
            ("journald", &[("mode", "sometimes")], "mode"),
            ("journald", &[("max-buffer-size", "1g")], "max-buffer-size"),
        ] {
            let refused = parse(driver, options).unwrap_err();
            assert!(refused.contains(expected), "{driver} {options:?}: {refused}");
        }
    }
}
