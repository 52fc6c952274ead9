//! Listener addresses: `NAME://host:port`.

use std::fmt;

/// One address to listen on or to advertise. Invariant: the host has no brackets, also for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The name in front, which `listener.security.protocol.map` gives a protocol; in capitals, as Kafka compares it.
    pub name: String,
    /// Host name or address; empty is all interfaces.
    pub host: String,
    /// TCP port; 0 lets the kernel choose.
    pub port: u16,
}

impl Listener {
    /// `host:port` with brackets around an IPv6 address, and all interfaces spelled out.
    pub fn address(&self) -> String {
        match self.host.as_str() {
            "" => format!("0.0.0.0:{}", self.port),
            host if host.contains(':') => format!("[{host}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.name, self.address())
    }
}

/// Parses every entry of `listeners` or `advertised.listeners`.
pub(super) fn parse_all(items: &[String]) -> Result<Vec<Listener>, String> {
    items.iter().map(|item| parse(item)).collect()
}

fn parse(item: &str) -> Result<Listener, String> {
    let Some((name, address)) = item.split_once("://") else {
        return Err(format!("'{item}' is not of the form PLAINTEXT://host:port"));
    };
    if name.is_empty() {
        return Err(format!("'{item}' has no listener name in front of ://"));
    }
    let (host, port) = parse_host_port(address)?;
    Ok(Listener { name: name.to_ascii_uppercase(), host, port })
}

/// Splits `host:port` or `[ipv6]:port`.
pub(super) fn parse_host_port(address: &str) -> Result<(String, u16), String> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(format!("'{address}' has no port; write host:port"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("'{port}' is not a port from 0 to 65535"));
    };
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if bare.is_none() && host.contains([':', '[', ']']) {
        return Err(format!("'{host}' is not a host; write an IPv6 address in brackets"));
    }
    Ok((bare.unwrap_or(host).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (item, expected) in [
            ("PLAINTEXT://127.0.0.1:9092", Ok("PLAINTEXT://127.0.0.1:9092")),
            ("PLAINTEXT://:9092", Ok("PLAINTEXT://0.0.0.0:9092")),
            ("External://broker.example:19092", Ok("EXTERNAL://broker.example:19092")),
            ("PLAINTEXT://[::1]:9092", Ok("PLAINTEXT://[::1]:9092")),
            ("127.0.0.1:9092", Err("'127.0.0.1:9092' is not of the form PLAINTEXT://host:port")),
            ("://127.0.0.1:9092", Err("'://127.0.0.1:9092' has no listener name in front of ://")),
            ("PLAINTEXT://localhost", Err("'localhost' has no port; write host:port")),
            ("PLAINTEXT://localhost:", Err("'' is not a port from 0 to 65535")),
            ("PLAINTEXT://localhost:65536", Err("'65536' is not a port from 0 to 65535")),
            ("PLAINTEXT://::1:9092", Err("'::1' is not a host; write an IPv6 address in brackets")),
            ("PLAINTEXT://[::1:9092", Err("'[::1' is not a host; write an IPv6 address in brackets")),
        ] {
            let parsed = parse(item).map(|listener| listener.to_string());
            assert_eq!(parsed.as_deref().map_err(String::as_str), expected, "{item}");
        }
    }
}
