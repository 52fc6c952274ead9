//! The shape of one row in the table of settings.

/// Everything that is known about one setting. Parsing, validation, DescribeConfigs and the reference page
/// are all computed from this.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Kafka's own key where Kafka has one.
    pub name: &'static str,
    /// Whether it is set on a topic or on the broker.
    pub scope: Scope,
    /// How the value is spelled.
    pub value_type: ValueType,
    /// The value without any configuration; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// What else a value has to satisfy.
    pub rule: Rule,
    /// Who may change it while the broker runs.
    pub mode: UpdateMode,
    /// How often people need it.
    pub importance: Importance,
    /// A secret: never shown.
    pub sensitive: bool,
    /// Broker keys that supply the value where this key itself has none, first match wins.
    pub synonyms: &'static [Synonym],
    /// Whether Millrace acts on it.
    pub effect: Effect,
    /// What it does, for the reference page and DescribeConfigs.
    pub prose: &'static str,
}

/// Where a setting is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// On the broker: command line, file, or dynamically.
    Broker,
    /// On one topic, at creation or later.
    Topic,
}

/// Kafka's config types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32-bit signed.
    Int,
    /// 16-bit signed.
    Short,
    /// 64-bit signed.
    Long,
    /// Floating point.
    Double,
    /// Items separated by commas.
    List,
    /// The name of a Java class; only ever stored.
    Class,
}

impl ValueType {
    /// Kafka's upper-case name, as in its error messages.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Boolean => "BOOLEAN",
            ValueType::String => "STRING",
            ValueType::Int => "INT",
            ValueType::Short => "SHORT",
            ValueType::Long => "LONG",
            ValueType::Double => "DOUBLE",
            ValueType::List => "LIST",
            ValueType::Class => "CLASS",
        }
    }

    /// The number of this type in a DescribeConfigs response.
    pub fn wire_id(self) -> i8 {
        match self {
            ValueType::Boolean => 1,
            ValueType::String => 2,
            ValueType::Int => 3,
            ValueType::Short => 4,
            ValueType::Long => 5,
            ValueType::Double => 6,
            ValueType::List => 7,
            ValueType::Class => 8,
        }
    }
}

/// What a value has to satisfy beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Nothing more.
    Any,
    /// An integer no less than this.
    AtLeast(i64),
    /// An integer within both bounds.
    Between(i64, i64),
    /// An integer within the bounds, or the one exception after them.
    BetweenOr(i64, i64, i64),
    /// A floating-point number from 0 to 1.
    Fraction,
    /// A boolean that cannot be true, for this reason.
    False(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of these words.
    EachOf(&'static [&'static str]),
    /// `*` or a list of `partition:broker`.
    ThrottledReplicas,
    /// `NAME://host:port` entries.
    Listeners,
    /// `host:port`, or empty for off.
    HostPortOrEmpty,
    /// Core numbers such as `0,2-5`, or empty for all.
    Cores,
}

/// Who may change a broker setting while the broker runs. Topic settings can always be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Nobody: it takes a restart.
    ReadOnly,
    /// Each broker for itself.
    PerBroker,
    /// Each broker for itself, or a default for all of them.
    ClusterWide,
}

impl UpdateMode {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            UpdateMode::ReadOnly => "read-only",
            UpdateMode::PerBroker => "per-broker",
            UpdateMode::ClusterWide => "cluster-wide",
        }
    }
}

/// How often people need a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Most installations look at it.
    High,
    /// Some do.
    Medium,
    /// Hardly any.
    Low,
}

/// A broker key that lends its value to another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker key.
    pub name: &'static str,
    /// What its number is multiplied by to become the unit of the key it lends to.
    pub factor: i64,
}

/// The same unit on both sides.
pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// Minutes lent to a key in milliseconds.
pub(super) const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60_000 }
}

/// Hours lent to a key in milliseconds.
pub(super) const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 3_600_000 }
}

/// Whether Millrace acts on a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Active,
    /// Accepted, kept and reported back, so that Kafka's files and tools work; nothing changes.
    Stored(Reason),
}

/// Why a setting of Kafka's has no effect here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Millrace syncs before it acknowledges.
    AlwaysSynced,
    /// No thread pools.
    ThreadPerCore,
    /// Memory is bounded by one budget per shard.
    MemoryBudget,
    /// No replicas on one node.
    OneNode,
    /// No separate controller.
    NoController,
    /// No JVM to load classes.
    NoJvm,
    /// Tiered storage.
    NoTieredStorage,
    /// Log compaction.
    NoCompaction,
    /// Transactions.
    NoTransactions,
    /// KIP-848, share and streams groups.
    ClassicGroupsOnly,
    /// Quotas.
    NoQuotas,
    /// Recompression by the broker.
    PassThrough,
    /// Metrics of the JVM.
    OwnMetrics,
    /// Buffers of the kernel, left to it.
    KernelBuffers,
    /// A detail of Kafka's own implementation.
    KafkaInternal,
}

impl Reason {
    /// The sentence shown to people.
    pub fn prose(self) -> &'static str {
        match self {
            Reason::AlwaysSynced => {
                "records are on stable storage before they are acknowledged (see durability)"
            }
            Reason::ThreadPerCore => {
                "there are no thread pools to size: one thread per core does all the work"
            }
            Reason::MemoryBudget => "memory is bounded by millrace.memory.per.shard.bytes",
            Reason::OneNode => "there is one node, so nothing is replicated",
            Reason::NoController => "there is no separate controller",
            Reason::NoJvm => "there is no JVM that could load a class",
            Reason::NoTieredStorage => "tiered storage is not there yet",
            Reason::NoCompaction => "compaction is not there yet",
            Reason::NoTransactions => "transactions are not there yet",
            Reason::ClassicGroupsOnly => "only classic consumer groups are there yet",
            Reason::NoQuotas => "quotas are not there yet",
            Reason::PassThrough => "record batches are stored as the producer compressed them",
            Reason::OwnMetrics => "metrics are at /metrics of the admin listener",
            Reason::KernelBuffers => "the kernel fits the buffers of a connection to its traffic",
            Reason::KafkaInternal => "it tunes a part of Kafka's implementation that does not exist here",
        }
    }
}

impl Definition {
    /// A topic setting that is in effect.
    pub(super) const fn topic(
        name: &'static str,
        value_type: ValueType,
        default: &'static str,
        prose: &'static str,
    ) -> Definition {
        let mut definition = Definition::broker(name, value_type, default, prose);
        definition.scope = Scope::Topic;
        definition.mode = UpdateMode::ClusterWide;
        definition
    }

    /// A broker setting that is in effect, set at start.
    pub(super) const fn broker(
        name: &'static str,
        value_type: ValueType,
        default: &'static str,
        prose: &'static str,
    ) -> Definition {
        Definition {
            name,
            scope: Scope::Broker,
            value_type,
            default: Some(default),
            rule: Rule::Any,
            mode: UpdateMode::ReadOnly,
            importance: Importance::Medium,
            sensitive: false,
            synonyms: &[],
            effect: Effect::Active,
            prose,
        }
    }

    /// A broker setting of Kafka's that is accepted without effect.
    pub(super) const fn stored_broker(
        name: &'static str,
        value_type: ValueType,
        default: &'static str,
        reason: Reason,
    ) -> Definition {
        Definition::broker(name, value_type, default, "").stored(reason)
    }

    pub(super) const fn null(mut self) -> Definition {
        self.default = None;
        self
    }

    pub(super) const fn rule(mut self, rule: Rule) -> Definition {
        self.rule = rule;
        self
    }

    pub(super) const fn per_broker(mut self) -> Definition {
        self.mode = UpdateMode::PerBroker;
        self
    }

    pub(super) const fn cluster_wide(mut self) -> Definition {
        self.mode = UpdateMode::ClusterWide;
        self
    }

    pub(super) const fn high(mut self) -> Definition {
        self.importance = Importance::High;
        self
    }

    pub(super) const fn low(mut self) -> Definition {
        self.importance = Importance::Low;
        self
    }

    pub(super) const fn from(mut self, synonyms: &'static [Synonym]) -> Definition {
        self.synonyms = synonyms;
        self
    }

    pub(super) const fn stored(mut self, reason: Reason) -> Definition {
        self.effect = Effect::Stored(reason);
        self
    }

    /// What the setting does and, where it does nothing, why.
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Active => self.prose.to_owned(),
            Effect::Stored(reason) if self.prose.is_empty() => {
                format!("Accepted without effect: {}.", reason.prose())
            }
            Effect::Stored(reason) => format!("{} Stored without effect: {}.", self.prose, reason.prose()),
        }
    }

    /// What values are allowed, in words; empty when the type says it all.
    pub fn allowed(&self) -> String {
        match self.rule {
            Rule::Any => String::new(),
            Rule::AtLeast(low) => format!("at least {low}"),
            Rule::Between(low, high) => format!("{low} to {high}"),
            Rule::BetweenOr(low, high, other) => format!("{low} to {high}, or {other}"),
            Rule::Fraction => "0 to 1".to_owned(),
            Rule::False(_) => "false".to_owned(),
            Rule::OneOf(words) | Rule::OneOfIgnoringCase(words) => words.join(", "),
            Rule::EachOf(words) => format!("a list of {}", words.join(", ")),
            Rule::ThrottledReplicas => "* or a list of partition:broker".to_owned(),
            Rule::Listeners => "a list of NAME://host:port".to_owned(),
            Rule::HostPortOrEmpty => "host:port, or empty for off".to_owned(),
            Rule::Cores => "core numbers such as 0,2-5, or empty for all".to_owned(),
        }
    }
}
