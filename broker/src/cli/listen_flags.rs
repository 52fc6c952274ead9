//! What `--listen` and `--advertise` mean as settings.

use super::serve_args::ServeArgs;
use crate::config::{StaticSettings, listener_protocol};

const MAP: &str = "listener.security.protocol.map";

/// The name of a listener that has none.
const UNNAMED: &str = "PLAINTEXT";

/// Adds the settings. A listener that only the command line names is a plain one.
pub(super) fn add(args: &ServeArgs, settings: &mut StaticSettings) {
    if !args.listen.is_empty() {
        let listeners: Vec<String> = args.listen.iter().map(|text| named(text, UNNAMED)).collect();
        settings.add("listeners", &listeners.join(","), "--listen");
        let map = settings.text(MAP).to_owned();
        let is_open = |name: &&str| listener_protocol(&map, &name.to_ascii_uppercase()).is_none();
        let open: Vec<String> =
            names(&listeners).filter(is_open).map(|name| format!("{name}:PLAINTEXT")).collect();
        if !open.is_empty() {
            settings.add(MAP, &format!("{map},{}", open.join(",")), "--listen");
        }
    }
    if !args.advertise.is_empty() {
        let listeners = settings.text("listeners").to_owned();
        let mut listening = listeners.split(',').filter_map(|text| text.split_once("://"));
        // With one listener it is clear which one is meant.
        let name = match (listening.next(), listening.next()) {
            (Some((name, _)), None) => name.trim(),
            _ => UNNAMED,
        };
        let advertised: Vec<String> = args.advertise.iter().map(|text| named(text, name)).collect();
        settings.add("advertised.listeners", &advertised.join(","), "--advertise");
    }
}

fn named(text: &str, name: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("{name}://{text}") }
}

fn names(listeners: &[String]) -> impl Iterator<Item = &str> {
    listeners.iter().filter_map(|text| text.split_once("://")).map(|(name, _)| name.trim())
}
