//! Proves that a broker's settings are checked together, that Kafka's own server.properties is accepted, that what would
//! leave the broker open is not, and that dynamic settings make a new snapshot.

use super::super::{StaticSettings, TopicConfig};
use super::*;

fn build(text: &str) -> Result<BrokerConfig, ConfigError> {
    let mut settings = StaticSettings::default();
    settings.add_text("f", text);
    settings.build()
}

/// The settings of the file that comes with Apache Kafka 4.3.
const KAFKA_SERVER_PROPERTIES: &str = "process.roles=broker,controller\nnode.id=1\n\
    controller.quorum.bootstrap.servers=localhost:9093\n\
    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
    advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
    controller.listener.names=CONTROLLER\n\
    listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT\n\
    num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
    socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
    num.recovery.threads.per.data.dir=2\noffsets.topic.replication.factor=1\n\
    share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
    transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.retention.hours=168\n\
    log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";

#[test]
fn kafkas_own_file_is_accepted_with_one_warning() {
    let config = build(KAFKA_SERVER_PROPERTIES).unwrap();
    let addresses = |listeners: &[Listener]| listeners.iter().map(Listener::to_string).collect::<Vec<_>>();
    assert_eq!(addresses(config.listeners()), ["PLAINTEXT://0.0.0.0:9092"]);
    assert_eq!(addresses(config.advertised_listeners()), ["PLAINTEXT://localhost:9092"]);
    assert_eq!(config.log_dir(), std::path::Path::new("/tmp/kraft-combined-logs"));
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 1);
    for (key, warned) in [
        ("process.roles", true),
        ("num.io.threads", true),
        ("socket.send.buffer.bytes", true),
        ("num.partitions", false),
        ("log.dirs", false),
    ] {
        assert_eq!(warnings[0].contains(key), warned, "{key}: {}", warnings[0]);
    }
}

#[test]
fn the_defaults_are_valid_and_silent() {
    let config = BrokerConfig::default();
    assert!(config.warnings().is_empty());
    assert_eq!(config.node_id(), 1);
    assert!(config.auto_create_topics());
    assert!(config.advertised_listeners().is_empty());
    assert_eq!(config.connection_idle_max(), Some(Duration::from_secs(600)));
    assert_eq!(config.offsets_retention(), Duration::from_secs(7 * 24 * 3600));
    assert_eq!(config.spin(), Duration::from_micros(50));
}

#[test]
fn values_reach_their_getters() {
    let config = build(
        "broker.id=7\nmillrace.fetch.sealed=sendfile\nconnections.max.idle.ms=-1\n\
         millrace.admin.listen=\nbroker.rack=r1\nlog.dir=/d\n",
    )
    .unwrap();
    assert_eq!(config.node_id(), 7);
    assert_eq!(config.sealed_read(), SealedRead::Sendfile);
    assert_eq!(config.connection_idle_max(), None);
    assert_eq!(config.admin_listen(), None);
    assert_eq!(config.rack(), Some("r1"));
    assert_eq!(config.log_dir(), std::path::Path::new("/d"));
}

#[test]
fn what_does_not_fit_is_refused() {
    for (text, expected) in [
        ("a.b=1", "f:1: Unknown broker config name: a.b"),
        (
            "\n\nnum.partitons=1",
            "f:3: Unknown broker config name: num.partitons (did you mean num.partitions?)",
        ),
        (
            "# x\nnum.partitions=many",
            "f:2: Invalid value many for configuration num.partitions: Not a number of type INT",
        ),
        ("log.dirs=/a,/b", "Invalid value /a,/b for configuration log.dirs: Name exactly one directory"),
        ("log.dirs=", "Invalid value  for configuration log.dirs: Name exactly one directory"),
        ("node.id=1\nbroker.id=2", "node.id is 1 but broker.id is 2; set only node.id"),
        ("broker.id=-2", "Invalid value -2 for configuration node.id: Value must be at least 0"),
        (
            "group.min.session.timeout.ms=20\ngroup.max.session.timeout.ms=10",
            "group.min.session.timeout.ms must not be above group.max.session.timeout.ms",
        ),
        (
            "listeners=CONTROLLER://:1\ncontroller.listener.names=CONTROLLER",
            "Invalid value CONTROLLER://:1 for configuration listeners: At least one listener for clients is needed",
        ),
    ] {
        assert_eq!(build(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn security_that_is_not_there_is_not_pretended() {
    for text in [
        "listeners=SSL://:9092",
        "listeners=PLAINTEXT://:9092,SASL_SSL://:9093",
        "listeners=INTERNAL://:9092\nlistener.security.protocol.map=INTERNAL:SASL_PLAINTEXT",
        "listeners=INTERNAL://:9092",
        "ssl.keystore.location=/x",
        "sasl.enabled.mechanisms=PLAIN",
        "authorizer.class.name=x",
        "listener.name.internal.ssl.keystore.location=/x",
        "super.users=User:x",
        "security.inter.broker.protocol=SSL",
    ] {
        let message = build(text).unwrap_err().to_string();
        assert!(message.contains("PLAINTEXT") || message.contains("no encryption"), "{text}: {message}");
    }
    let named =
        build("listeners=INTERNAL://:9092\nlistener.security.protocol.map=INTERNAL:PLAINTEXT").unwrap();
    assert_eq!(named.listeners()[0].name, "INTERNAL");
}

/// As Kafka judges them; messages are its own where it has one.
#[test]
fn listeners_and_what_is_advertised_fit_together() {
    const MAP: &str = "listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT,PLAINTEXT:PLAINTEXT\n";
    for (text, expected) in [
        (
            "listeners=IN://:1,OUT://:2\nadvertised.listeners=OUT://b.example:9,IN://10.0.0.1:9",
            Ok("OUT://b.example:9"),
        ),
        (
            "listeners=IN://:1,OUT://:2\nadvertised.listeners=out://[2001:db8::1]:9",
            Ok("OUT://[2001:db8::1]:9"),
        ),
        ("listeners=IN://:1,OUT://:2", Ok("none")),
        ("listeners=IN://:1,OUT://:2\nadvertised.listeners=IN://a:1", Ok("none")),
        ("listeners=IN://127.0.0.1:1,OUT://[::1]:1", Ok("none")),
        ("listeners=IN://:0,OUT://:0", Ok("none")),
        (
            "listeners=IN://:1,in://:2",
            Err("Each listener must have a different name, listeners: IN://0.0.0.0:1,IN://"),
        ),
        ("listeners=IN://:1,OUT://:1", Err("Each listener must have a different port unless")),
        (
            "listeners=IN://127.0.0.1:1,OUT://localhost:1",
            Err("Each listener must have a different port unless"),
        ),
        (
            "listeners=IN://127.0.0.1:1,OUT://[::1]:1,PLAINTEXT://:1",
            Err("Each listener must have a different port,"),
        ),
        (
            "listeners=IN://:1,OUT://:2\nadvertised.listeners=IN://a:1,IN://b:1",
            Err("Each listener must have a different name, advertised.listeners: "),
        ),
        (
            "listeners=IN://:1\nadvertised.listeners=OUT://a:1",
            Err(
                "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found OUT. \
                 The valid options based on the current configuration are IN",
            ),
        ),
        (
            "listeners=IN://:1\nadvertised.listeners=IN://0.0.0.0:1",
            Err(
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
            ),
        ),
        ("listeners=IN://:1\nadvertised.listeners=IN://[::]:1", Err("the nonroutable meta-address ::.")),
        ("listeners=IN://:1\nadvertised.listeners=IN://:1", Err("advertised.listeners names no host")),
        ("listeners=IN://:1\nadvertised.listeners=IN://a:0", Err("advertised.listeners names no port")),
        ("listeners=OTHER://:1", Err("No security protocol defined for listener OTHER")),
    ] {
        let second = |config: BrokerConfig| {
            config.advertised_for("OUT").map_or("none".to_owned(), Listener::to_string)
        };
        match (build(&format!("{MAP}{text}")).map(second), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.message().contains(expected), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn dynamic_settings_make_a_new_snapshot() {
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    };
    let fixed = build("message.max.bytes=100").unwrap();
    assert!(BrokerConfig::with_dynamic(&fixed, &of(&[]), &of(&[])).is_none());

    let altered = BrokerConfig::with_dynamic(&fixed, &of(&[("message.max.bytes", "200")]), &of(&[])).unwrap();
    assert_eq!(TopicConfig::resolve(&altered, &of(&[])).max_message_bytes, 200);

    let both = [("message.max.bytes", "200")];
    let own = [("message.max.bytes", "300")];
    let altered = BrokerConfig::with_dynamic(&altered, &of(&both), &of(&own)).unwrap();
    assert_eq!(TopicConfig::resolve(&altered, &of(&[])).max_message_bytes, 300);
    assert!(BrokerConfig::with_dynamic(&altered, &of(&both), &of(&own)).is_none());

    assert_eq!(altered.overridden(), [["message.max.bytes", "300", "100"]]);
    let back = BrokerConfig::with_dynamic(&altered, &of(&[]), &of(&[])).unwrap();
    assert!(back.overridden().is_empty());
    assert_eq!(back, fixed);

    // Not accepted by this version, or settable at start only: left out.
    for stored in [("future.key", "1"), ("message.max.bytes", "many"), ("num.partitions", "9")] {
        assert!(BrokerConfig::with_dynamic(&fixed, &of(&[]), &of(&[stored])).is_none(), "{stored:?}");
    }
    let per_broker = of(&[("cordoned.log.dirs", "/x")]);
    assert!(BrokerConfig::with_dynamic(&fixed, &per_broker, &of(&[])).is_none());
}
