//! Checks `listeners` and `advertised.listeners` against each other, as Kafka does and in its words.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::{ConfigError, ConfigErrorKind};
use super::listener::{self, Listener};
use super::read::Reader;

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";

/// The listeners for clients. Never empty.
pub(super) fn open(reader: &Reader<'_>) -> Result<Vec<Listener>, ConfigError> {
    let all = parse(reader, LISTENERS)?;
    distinct_names(&all, LISTENERS)?;
    distinct_ports(&all)?;
    let listeners = for_clients(reader, LISTENERS, all)?;
    if listeners.is_empty() {
        let text = reader.list(LISTENERS).join(",");
        let problem = "At least one listener for clients is needed";
        return Err(ConfigError::invalid_value(LISTENERS, &text, problem));
    }
    Ok(listeners)
}

/// What clients are told instead of the addresses that they have connected to; each is of one of `listeners`.
pub(super) fn advertised(reader: &Reader<'_>, listeners: &[Listener]) -> Result<Vec<Listener>, ConfigError> {
    let all = parse(reader, ADVERTISED)?;
    distinct_names(&all, ADVERTISED)?;
    let advertised = for_clients(reader, ADVERTISED, all)?;
    for told in &advertised {
        // Without any there is another mistake already.
        if !listeners.is_empty() && !listeners.iter().any(|listener| listener.name == told.name) {
            return Err(refused(format!(
                "{ADVERTISED} listener names must be equal to or a subset of the ones defined in {LISTENERS}. Found {}. The \
                 valid options based on the current configuration are {}",
                names(&advertised),
                names(listeners)
            )));
        }
        let is_meta = |host: &str| {
            host.parse() == Ok(Ipv4Addr::UNSPECIFIED) || host.parse() == Ok(Ipv6Addr::UNSPECIFIED)
        };
        if is_meta(&told.host) {
            return Err(refused(format!(
                "{ADVERTISED} cannot use the nonroutable meta-address {}. Use a routable IP address.",
                told.host
            )));
        }
        if told.host.is_empty() || told.port == 0 {
            let what = if told.host.is_empty() { "host" } else { "port" };
            return Err(refused(format!(
                "{ADVERTISED} names no {what} that clients could connect to: {}://{}:{}",
                told.name, told.host, told.port
            )));
        }
    }
    Ok(advertised)
}

fn parse(reader: &Reader<'_>, key: &str) -> Result<Vec<Listener>, ConfigError> {
    let text = reader.list(key);
    listener::parse_all(&text).map_err(|problem| ConfigError::invalid_value(key, &text.join(","), problem))
}

/// Leaves out those for a controller; an error where one would have to be encrypted or authenticated.
fn for_clients(
    reader: &Reader<'_>,
    key: &str,
    mut listeners: Vec<Listener>,
) -> Result<Vec<Listener>, ConfigError> {
    let controllers = reader.list("controller.listener.names");
    listeners.retain(|listener| !controllers.iter().any(|name| name.eq_ignore_ascii_case(&listener.name)));
    let protocols = reader.optional_text("listener.security.protocol.map").unwrap_or_default();
    for listener in &listeners {
        let name = &listener.name;
        let problem = match protocol(&protocols, name) {
            Some(protocol) if protocol.eq_ignore_ascii_case("PLAINTEXT") => continue,
            Some(protocol) => {
                format!("Listener {name} has the protocol {protocol}, but only PLAINTEXT is there yet")
            }
            None => format!(
                "No security protocol defined for listener {name}; add {name}:PLAINTEXT to listener.security.protocol.map"
            ),
        };
        return Err(ConfigError::invalid_value(key, &reader.list(key).join(","), problem));
    }
    Ok(listeners)
}

/// The protocol of a listener: what `listener.security.protocol.map` says, or its name where that is one.
pub(crate) fn protocol<'a>(map: &'a str, name: &'a str) -> Option<&'a str> {
    const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let mapped = map.split(',').find_map(|pair| {
        let (known, protocol) = pair.trim().split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then_some(protocol.trim())
    });
    mapped.or_else(|| PROTOCOLS.contains(&name).then_some(name))
}

fn distinct_names(listeners: &[Listener], key: &str) -> Result<(), ConfigError> {
    let is_new =
        |(index, one): (usize, &Listener)| !listeners[..index].iter().any(|other| other.name == one.name);
    if listeners.iter().enumerate().all(is_new) {
        return Ok(());
    }
    Err(refused(format!("Each listener must have a different name, {key}: {}", shown(listeners))))
}

/// Two listeners may share a port if one has an IPv4 and the other an IPv6 address. Port 0 is any free one.
fn distinct_ports(listeners: &[Listener]) -> Result<(), ConfigError> {
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        let same: Vec<&Listener> = listeners.iter().filter(|other| other.port == listener.port).collect();
        let [one, other] = same.as_slice() else {
            if same.len() == 1 {
                continue;
            }
            return Err(refused(format!(
                "Each listener must have a different port, {LISTENERS}: {}",
                shown(listeners)
            )));
        };
        if !(is_v4(one) && is_v6(other) || is_v6(one) && is_v4(other)) {
            return Err(refused(format!(
                "Each listener must have a different port unless one has an IPv4 address and the other an IPv6 address, \
                 {LISTENERS}: {}",
                shown(listeners)
            )));
        }
    }
    Ok(())
}

fn is_v4(listener: &Listener) -> bool {
    listener.host.parse::<Ipv4Addr>().is_ok()
}

fn is_v6(listener: &Listener) -> bool {
    listener.host.parse::<Ipv6Addr>().is_ok()
}

fn names(listeners: &[Listener]) -> String {
    listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(",")
}

fn shown(listeners: &[Listener]) -> String {
    listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn refused(message: String) -> ConfigError {
    ConfigError::new(ConfigErrorKind::InvalidValue, message)
}
