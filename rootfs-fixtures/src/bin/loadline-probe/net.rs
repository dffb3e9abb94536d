//! The smallest web server and client that tests of networks need. Each connection has one request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Said, number, word};

/// Longest wait for the other side.
const WAIT: Duration = Duration::from_secs(10);
/// How long something is asked for again.
const LONGEST: Duration = Duration::from_secs(60);
/// Largest body that is read, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Does what `verb` asks for; none where it has nothing to do with networks.
pub(super) fn act(words: &[&str]) -> Option<Said> {
    Some(match words[0] {
        "serve" => serve(number(words, 1, 80), word(words, 2)),
        "serve-udp" => serve_udp(number(words, 1, 53), word(words, 2)),
        "fetch" => fetch(&expand(word(words, 1)), words.get(2).copied()),
        "fetch-until-200" => fetch_until_200(&expand(word(words, 1))),
        "resolve" => resolve(word(words, 1)),
        "addresses" => addresses(),
        _ => return None,
    })
}

/// `$NAME` at the beginning stands for a variable of the environment, `$CREDENTIALS` for the
/// address that an SDK of AWS would make of two.
fn expand(text: &str) -> String {
    if text == "$CREDENTIALS" {
        let full = std::env::var("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let relative = std::env::var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let relative = relative.map(|path| format!("http://169.254.170.2{path}"));
        return full.or(relative).unwrap_or_default();
    }
    let Some(rest) = text.strip_prefix('$') else { return text.to_owned() };
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let value = std::env::var(&rest[..end]).unwrap_or_default();
    format!("{value}{}", &rest[end..])
}

/// Answers every request with the text and with who asked, until SIGTERM.
fn serve(port: u16, text: &str) -> Said {
    let any = IpAddr::from([0_u8; 16]);
    // IPv6 takes IPv4 too, where there is IPv6.
    let listener = TcpListener::bind((any, port))
        .or_else(|_| TcpListener::bind((IpAddr::from([0_u8; 4]), port)))
        .map_err(|error| format!("listen on {port}: {error}"))?;
    let text = text.to_owned();
    super::acts::work_until_term(&json!({ "serving": port }), move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &text);
        }
    })
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    let peer = stream.peer_addr()?.ip().to_canonical();
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = json!({ "text": text, "peer": peer.to_string() }).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// Sends every datagram back behind the text, until SIGTERM.
fn serve_udp(port: u16, text: &str) -> Said {
    let socket = UdpSocket::bind((IpAddr::from([0_u8; 4]), port))
        .map_err(|error| format!("listen on {port}: {error}"))?;
    let text = text.to_owned();
    super::acts::work_until_term(&json!({ "serving": port }), move || {
        let mut buffer = [0; 1500];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let back = [text.as_bytes(), &buffer[..count]].concat();
            let _ = socket.send_to(&back, from);
        }
    })
}

/// GET, or a method before the URL: `http://HOST[:PORT]/PATH`.
fn fetch(url: &str, method: Option<&str>) -> Said {
    let failed = |error: &dyn std::fmt::Display| format!("fetch {url}: {error}");
    let rest = url.strip_prefix("http://").ok_or_else(|| failed(&"no http URL"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok())
        && !host.ends_with(']');
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut found = address.to_socket_addrs().map_err(|error| failed(&error))?;
    let address: SocketAddr = found.next().ok_or_else(|| failed(&"no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT).map_err(|error| failed(&error))?;
    let method = method.unwrap_or("GET");
    let request = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let mut text = String::new();
    stream
        .set_read_timeout(Some(WAIT))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.take(BODY_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| failed(&error))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse::<u16>().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
    Ok(json!({ "status": status, "body": body }))
}

/// Asks again and again, and shows the first good answer with the address that gave it.
fn fetch_until_200(url: &str) -> Said {
    let until = Instant::now() + LONGEST;
    loop {
        let told = fetch(url, None);
        match told {
            Ok(mut answer) if answer["status"] == 200 => {
                answer["url"] = url.into();
                return Ok(answer);
            }
            _ if until < Instant::now() => return told,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn resolve(name: &str) -> Said {
    let found = (name, 0).to_socket_addrs().map_err(|error| format!("resolve {name}: {error}"))?;
    let found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    Ok(json!({ "addresses": found }))
}

/// The addresses of all links, by link.
fn addresses() -> Said {
    let found = nix::ifaddrs::getifaddrs().map_err(|errno| format!("list addresses: {errno}"))?;
    let mut by_link = serde_json::Map::new();
    for one in found {
        let Some(address) = one.address else { continue };
        let v4 = address.as_sockaddr_in().map(|own| own.ip().to_string());
        let v6 = address.as_sockaddr_in6().map(|own| own.ip().to_string());
        if let Some(text) = v4.or(v6) {
            let list = by_link.entry(one.interface_name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(text.into());
            }
        }
    }
    Ok(Value::Object(by_link))
}
