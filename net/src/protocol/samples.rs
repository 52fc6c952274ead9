//! Random valid messages, written straight from the schemas.
//!
//! This is a second, interpreting encoder that shares no code with the generated one: what it writes, the generated
//! code must read, and write back byte for byte. Only tests and fuzzers use it.

use std::ops::RangeInclusive;

/// One message of Kafka, as its schema describes it.
#[derive(Debug, Clone)]
pub struct Schema {
    /// `request`, `response`, `coordinator-key`, `coordinator-value`, `metadata` or `data`.
    pub kind: String,
    /// The API key or record type, for those that have one.
    pub key: Option<i16>,
    /// Kafka's name.
    pub name: String,
    /// The versions that exist.
    pub versions: RangeInclusive<i16>,
    first_flexible: Option<i16>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    kind: String,
    array: bool,
    versions: Option<RangeInclusive<i16>>,
    nullable: Option<RangeInclusive<i16>>,
    tag: Option<u32>,
    default: String,
    fields: Vec<Self>,
}

/// All schemas that the protocol was generated from.
#[must_use]
pub fn schemas() -> Vec<Schema> {
    let mut lines = include_str!("generated/schema.txt").lines().skip(1).peekable();
    let mut schemas = Vec::new();
    while let Some(line) = lines.next() {
        let [kind, key, name, versions, flexible] = words(line);
        schemas.push(Schema {
            kind: kind.into(),
            key: key.parse().ok(),
            name: name.into(),
            versions: range(versions).expect("a message has versions"),
            first_flexible: flexible.parse().ok(),
            fields: fields(&mut lines, 2),
        });
    }
    schemas
}

/// What a random message should be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Null where possible, else empty; no tagged field.
    Smallest,
    /// Nothing null or empty, every tagged field.
    Fullest,
    /// Anything.
    Random,
}

/// A message as bytes.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The body.
    pub bytes: Vec<u8>,
    /// Where the lengths of arrays begin, and how many bytes they have.
    pub array_lengths: Vec<RangeInclusive<usize>>,
}

impl Schema {
    /// Whether lengths are compact and tagged fields exist in `version`.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        self.first_flexible.is_some_and(|first| version >= first)
    }

    /// A random message. With `unknown_tags`, every struct that can carries a tagged field from the future.
    #[must_use]
    pub fn sample(&self, version: i16, seed: u64, shape: Shape, unknown_tags: bool) -> Sample {
        let flexible = self.is_flexible(version);
        let mut sampler = Sampler {
            out: Vec::new(),
            arrays: Vec::new(),
            random: seed,
            version,
            flexible,
            shape,
            unknown_tags,
        };
        sampler.fields(&self.fields, false);
        Sample { bytes: sampler.out, array_lengths: sampler.arrays }
    }
}

struct Sampler {
    out: Vec<u8>,
    arrays: Vec<RangeInclusive<usize>>,
    random: u64,
    version: i16,
    flexible: bool,
    shape: Shape,
    unknown_tags: bool,
}

impl Sampler {
    /// Writes the fields of one struct. With `speaking`, none has its default, so that the struct differs from its own.
    fn fields(&mut self, fields: &[Field], speaking: bool) {
        let here = |range: &Option<RangeInclusive<i16>>, version| {
            range.as_ref().is_some_and(|r| r.contains(&version))
        };
        let present: Vec<&Field> =
            fields.iter().filter(|field| here(&field.versions, self.version)).collect();
        for field in present.iter().filter(|field| field.tag.is_none()) {
            self.field(field, speaking);
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<&Field> = present.into_iter().filter(|field| field.tag.is_some()).collect();
        tagged.retain(|_| match self.shape {
            Shape::Smallest => false,
            Shape::Fullest => true,
            Shape::Random => self.chance(2),
        });
        tagged.sort_by_key(|field| field.tag);
        self.varint(tagged.len() + usize::from(self.unknown_tags));
        for field in tagged {
            self.varint(field.tag.unwrap_or(0) as usize);
            let start = self.out.len();
            self.field(field, true);
            let content = self.out.split_off(start);
            let arrays = self.arrays.iter().rposition(|range| *range.start() < start).map_or(0, |at| at + 1);
            self.varint(content.len());
            let moved = self.out.len() - start;
            for range in &mut self.arrays[arrays..] {
                *range = range.start() + moved..=range.end() + moved;
            }
            self.out.extend(content);
        }
        if self.unknown_tags {
            self.out.extend([0xff, 0x7f, 3, 1, 2, 3]);
        }
    }

    fn field(&mut self, field: &Field, speaking: bool) {
        let nullable = field.nullable.as_ref().is_some_and(|range| range.contains(&self.version));
        let null = match self.shape {
            Shape::Smallest => nullable,
            Shape::Fullest => false,
            Shape::Random => nullable && self.chance(3),
        };
        let null = null && !speaking;
        if field.array {
            let start = self.out.len();
            let count = match (self.shape, null) {
                (Shape::Smallest, _) => usize::from(speaking),
                (Shape::Fullest, _) => 2,
                (Shape::Random, _) => self.below(4).max(usize::from(speaking)),
            };
            self.length((!null).then_some(count), 4);
            if !null {
                self.arrays.push(start..=self.out.len() - 1);
                (0..count).for_each(|_| self.value(field, speaking));
            }
        } else if field.kind == "struct" {
            if nullable {
                self.out.push(if null { 0xff } else { 1 });
            }
            if !null {
                self.fields(&field.fields, speaking);
            }
        } else if null {
            self.length(None, if field.kind == "string" { 2 } else { 4 });
        } else {
            self.value(field, speaking);
        }
    }

    fn value(&mut self, field: &Field, speaking: bool) {
        match field.kind.as_str() {
            "struct" => self.fields(&field.fields, speaking),
            "string" => {
                let text = "Ωmega-".repeat(self.size(speaking));
                self.length(Some(text.len()), 2);
                self.out.extend(text.as_bytes());
            }
            "bytes" | "records" => {
                let size = self.size(speaking);
                self.length(Some(size), 4);
                (0..size).for_each(|_| self.number(1, 0));
            }
            "bool" => {
                let value = if speaking { field.default == "false" } else { self.chance(2) };
                self.out.push(u8::from(value));
            }
            "int8" => self.number(1, default_number(field)),
            "int16" | "uint16" => self.number(2, default_number(field)),
            "int32" | "uint32" => self.number(4, default_number(field)),
            "int64" => self.number(8, default_number(field)),
            "float64" => self.out.extend(1.5_f64.to_be_bytes()),
            "uuid" => (0..2).for_each(|_| self.number(8, 0)),
            other => panic!("the schema has a type that this sampler does not know: {other}"),
        }
    }

    /// A number of `width` bytes other than `default`.
    fn number(&mut self, width: usize, default: i64) {
        let default = &default.to_be_bytes()[8 - width..];
        loop {
            let random = self.next();
            let bytes = &random.to_be_bytes()[8 - width..];
            if bytes != default {
                return self.out.extend(bytes);
            }
        }
    }

    fn length(&mut self, length: Option<usize>, width: usize) {
        if self.flexible {
            return self.varint(length.map_or(0, |length| length + 1));
        }
        let length = length.map_or(-1, |length| i64::try_from(length).expect("samples are small"));
        self.out.extend(&length.to_be_bytes()[8 - width..]);
    }

    fn varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.out.push((value & 0x7f).to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_le_bytes()[0]);
    }

    /// How many units a string or byte string has; now and then enough for a length of two bytes.
    fn size(&mut self, speaking: bool) -> usize {
        match self.shape {
            Shape::Smallest => usize::from(speaking),
            Shape::Fullest => 1,
            Shape::Random => match self.below(24) {
                0 | 1 => 40 + self.below(100),
                size => (size % 3).max(usize::from(speaking)),
            },
        }
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        split_mix(&mut self.random)
    }
}

/// The next number of the `SplitMix64` generator: enough for tests, and the same everywhere for one seed.
pub const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn default_number(field: &Field) -> i64 {
    field.default.parse().unwrap_or(0)
}

/// The lines that are indented by `indent`, with what is below each of them.
fn fields<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, indent: usize) -> Vec<Field> {
    let mut found = Vec::new();
    while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() == indent) {
        let [_, kind, versions, nullable, tag, default] = words(line);
        found.push(Field {
            kind: kind.trim_start_matches("[]").into(),
            array: kind.starts_with("[]"),
            versions: range(versions),
            nullable: range(nullable),
            tag: tag.parse().ok(),
            default: default.into(),
            fields: fields(lines, indent + 2),
        });
    }
    found
}

fn words<const N: usize>(line: &str) -> [&str; N] {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.try_into().expect("a schema line has a fixed number of words")
}

fn range(text: &str) -> Option<RangeInclusive<i16>> {
    let (low, high) = text.split_once("..")?;
    Some(low.parse().ok()?..=high.parse().ok()?)
}
