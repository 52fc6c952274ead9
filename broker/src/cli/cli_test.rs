//! Proves that command lines mean what the help says, and that flags, `--set` and the file win in that order.

use clap::{CommandFactory, Parser};

use super::*;
use crate::logging::LogFormat;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(Cli::into_command)
}

fn serve(line: &str) -> ServeArgs {
    match parse(line).unwrap() {
        Command::Serve(args) => args,
        other => panic!("{line} is {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn no_command_is_serve() {
    for line in ["millrace", "millrace serve"] {
        let config = serve(line).broker_config().unwrap();
        assert_eq!(config.log_dir(), std::path::Path::new("./millrace-data"), "{line}");
        assert_eq!(config.listeners()[0].address(), "127.0.0.1:9092", "{line}");
        assert_eq!(config.admin_listen(), Some("127.0.0.1:9644"), "{line}");
        assert!(config.cores().is_empty(), "{line}");
    }
}

#[test]
fn flags_become_settings() {
    for line in ["millrace", "millrace serve"] {
        let line = format!(
            "{line} --data-dir /d --listen [::1]:1234 --admin-listen 0.0.0.0:1 --cores 0,2-3 --set num.partitions=4 \
             --set auto.create.topics.enable=false --set group.initial.rebalance.delay.ms=0 \
             --set group.min.session.timeout.ms=1000 --log-format json --log-level debug"
        );
        let args = serve(&line);
        assert_eq!(args.log_format, LogFormat::Json);
        assert_eq!(args.log_level.as_deref(), Some("debug"));
        let config = args.broker_config().unwrap();
        assert_eq!(config.log_dir(), std::path::Path::new("/d"));
        assert_eq!(config.listeners()[0].address(), "[::1]:1234");
        assert_eq!(config.admin_listen(), Some("0.0.0.0:1"));
        assert_eq!(config.cores(), [0, 2, 3]);
        assert_eq!(config.num_partitions(), 4);
        assert!(!config.auto_create_topics());
        assert!(config.group_initial_rebalance_delay().is_zero());
        assert_eq!(config.group_session_timeout_min().as_millis(), 1000);
    }
}

#[test]
fn listeners_on_the_command_line_may_have_names() {
    let shown = |line: &str| {
        let config = serve(line).broker_config().map_err(|error| error.to_string())?;
        let advertised = |name| config.advertised_for(name).map_or("-".to_owned(), ToString::to_string);
        let told = config.listeners().iter().map(|one| format!("{one} {}", advertised(&one.name)));
        Ok::<_, String>(told.collect::<Vec<_>>().join(" "))
    };
    for (line, expected) in [
        ("millrace --listen 127.0.0.1:1", "PLAINTEXT://127.0.0.1:1 -"),
        ("millrace --listen 127.0.0.1:1 --advertise b:2", "PLAINTEXT://127.0.0.1:1 PLAINTEXT://b:2"),
        ("millrace --advertise b:2", "PLAINTEXT://127.0.0.1:9092 PLAINTEXT://b:2"),
        ("millrace --listen In://:1 --advertise b:2", "IN://0.0.0.0:1 IN://b:2"),
        (
            "millrace --listen IN://:1 --listen [::1]:2 --advertise IN://a:3 --advertise b:4",
            "IN://0.0.0.0:1 IN://a:3 PLAINTEXT://[::1]:2 PLAINTEXT://b:4",
        ),
        ("millrace --set listeners=SSL://:1 --listen IN://:2", "IN://0.0.0.0:2 -"),
    ] {
        assert_eq!(shown(line).as_deref(), Ok(expected), "{line}");
    }
    for (line, word) in [
        ("millrace --listen SSL://:1", "only PLAINTEXT"),
        ("millrace --set listener.security.protocol.map=IN:SSL --listen IN://:1", "only PLAINTEXT"),
        ("millrace --listen :1 --listen :2", "a different name"),
        ("millrace --listen IN://:1 --listen OUT://:2 --advertise b:2", "listener names must be"),
    ] {
        let refusal = shown(line).unwrap_err();
        assert!(refusal.contains(word), "{line}: {refusal}");
    }
}

#[test]
fn flags_win_over_set_and_set_over_the_file() {
    let file = std::env::temp_dir().join(format!("millrace-cli-test-{}", std::process::id()));
    std::fs::write(&file, "num.partitions=2\nlog.dirs=/file\nbroker.rack=file\n").unwrap();
    let line = format!(
        "millrace --config {} --set num.partitions=3 --set log.dirs=/set --data-dir /flag",
        file.display()
    );
    let config = serve(&line).broker_config();
    std::fs::remove_file(&file).unwrap();
    let config = config.unwrap();
    assert_eq!(config.num_partitions(), 3);
    assert_eq!(config.log_dir(), std::path::Path::new("/flag"));
    assert_eq!(config.rack(), Some("file"));
}

#[test]
fn errors_say_where_the_setting_stands() {
    for (line, expected) in [
        ("millrace --set num.partitions", "--set num.partitions: write KEY=VALUE"),
        (
            "millrace --set num.partitons=4",
            "--set num.partitons=4: Unknown broker config name: num.partitons (did you mean num.partitions?)",
        ),
        (
            "millrace --set num.partitions=0",
            "--set num.partitions=0: Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            "millrace --listen localhost",
            "--listen: Invalid value PLAINTEXT://localhost for configuration listeners: 'localhost' has no port; write \
             host:port",
        ),
        (
            "millrace --cores x",
            "--cores: Invalid value x for configuration millrace.cores: 'x' is not a core or a range of cores such as 2-5",
        ),
        ("millrace --config /nowhere/f", "/nowhere/f: No such file or directory (os error 2)"),
    ] {
        assert_eq!(serve(line).broker_config().unwrap_err().to_string(), expected, "{line}");
    }
}

#[test]
fn completions_and_manual_know_every_command() {
    let manual = String::from_utf8(manual().unwrap()).unwrap();
    let bash = String::from_utf8(complete(clap_complete::Shell::Bash)).unwrap();
    for word in ["serve", "doctor", "check", "dump-log", "config", "advertise"] {
        assert!(bash.contains(word), "{word} is not in the completions");
        // roff writes a hyphen as \\-.
        assert!(manual.replace("\\-", "-").contains(word), "{word} is not in the manual");
    }
}

#[test]
fn mistakes_are_told_together_and_values_with_their_place() {
    let checked = |line: &str| match parse(line) {
        Ok(Command::Check(args)) => check(&args),
        other => panic!("{line} is {other:?}"),
    };
    let bad =
        checked("millrace check --set num.partitons=1 --set num.partitions=0 --listen nowhere --cores x");
    assert!(!bad.is_good);
    for word in ["num.partitons", "num.partitions=0", "'nowhere' has no port", "'x' is not a core", "refused"]
    {
        assert!(bad.text.contains(word), "{word} is not in {}", bad.text);
    }
    let also = checked("millrace check --set listeners=A://:1,A://:2 --set log.dirs=/a,/b");
    assert!(
        also.text.contains("different name") && also.text.contains("exactly one directory"),
        "{}",
        also.text
    );
    let good = checked("millrace check --set log.retention.ms=1h --data-dir /d --set num.io.threads=3");
    assert!(good.is_good, "{}", good.text);
    for line in [
        "  log.retention.ms = 3600000   [--set log.retention.ms=1h]\n",
        "  log.dirs = /d   [--data-dir]\n",
        "  millrace.read.cache.bytes.per.shard = ",
        "warning  accepted without effect",
    ] {
        assert!(good.text.contains(line), "{line} is not in {}", good.text);
    }
    assert!(
        !good.text.contains("num.partitions")
            && checked("millrace check --all").text.contains("num.partitions = 1 ")
    );
}

#[test]
fn other_commands() {
    assert!(
        matches!(parse("millrace doctor --data-dir /x"), Ok(Command::Doctor(args)) if args.data_dir.as_deref() == Some(std::path::Path::new("/x")))
    );
    assert!(
        matches!(parse("millrace dump-log --records a b"), Ok(Command::DumpLog(args)) if args.records && args.paths.len() == 2)
    );
    for line in ["millrace dump-log", "millrace gadget", "millrace --no-such-flag", "millrace doctor --all"] {
        assert!(parse(line).is_err(), "{line}");
    }
    let Ok(Command::Config(args)) = parse("millrace config retention.ms") else { panic!("not config") };
    assert!(args.answer().unwrap().contains("log.retention.hours"));
    let Ok(Command::Config(args)) = parse("millrace config retention.mss") else { panic!("not config") };
    assert!(args.answer().unwrap_err().to_string().contains("Unknown"));
}
